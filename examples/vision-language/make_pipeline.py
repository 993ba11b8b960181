#!/usr/bin/env python3
"""Writes pipeline.json: InternVL2-26B under its published fine-tuning recipe. README.md explains the numbers."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from transformer_costs import Device, Width, block, component, embedding, linear, write  # noqa: E402

H100 = Device(peak_flops_per_s=989e12, efficiency=0.5)
SAMPLES = 2
TILES = 7 * SAMPLES  # 6 tiles and a thumbnail per sample
PATCHES = 32 * 32 + 1  # 448 / 14 squared, and the class token
VISION_TOKENS = 256 * TILES  # pixel shuffle: 4 patches to a token
TOKENS = 2048 * SAMPLES
VISION = Width(hidden=3200, heads=25, head_dim=128, key_heads=25, feed_forward=12800, gated=False)
LANGUAGE = Width(hidden=6144, heads=48, head_dim=128, key_heads=8, feed_forward=16384, gated=True)
VOCABULARY = 92553
GRADIENT = 1  # bf16
OPTIMIZER = 1.5  # 12 bytes per weight of 2, divided among 4 data-parallel pipelines

write(
    HERE / "pipeline.json", "InternVL2-26B",
    "Analytic: README.md and make_pipeline.py beside this file.",
    {"microbatches": 16, "gradient_bytes_per_weight_byte": GRADIENT, "optimizer_bytes_per_weight_byte": OPTIMIZER},
    [
        component("vision", [], block(H100, "layer", 45, VISION, TILES * PATCHES, PATCHES, frozen_share=1 / (1 + GRADIENT + OPTIMIZER))),
        component("projector", [("vision", 2 * VISION_TOKENS * 12800)],
                  linear(H100, "up", VISION_TOKENS, 12800, 6144, input_gradient=False),
                  linear(H100, "down", VISION_TOKENS, 6144, 6144)),
        component("text", [], embedding("embedding", TOKENS - VISION_TOKENS, VOCABULARY, 6144)),
        component("language", ["projector", "text"],
                  block(H100, "layer", 48, LANGUAGE, TOKENS, TOKENS / SAMPLES / 2),
                  linear(H100, "head", TOKENS, 6144, VOCABULARY, loss=True)),
    ])
