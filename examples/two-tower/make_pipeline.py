#!/usr/bin/env python3
"""Writes pipeline.json: CLIP ViT-L/14 and its text tower. README.md explains the numbers."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from transformer_costs import Device, Width, block, component, embedding, linear, write  # noqa: E402

A100 = Device(peak_flops_per_s=312e12, efficiency=0.5)
PAIRS = 256
PATCHES = 16 * 16 + 1
TEXT = 77
IMAGE_TOWER = Width(hidden=1024, heads=16, head_dim=64, key_heads=16, feed_forward=4096, gated=False)
TEXT_TOWER = Width(hidden=768, heads=12, head_dim=64, key_heads=12, feed_forward=3072, gated=False)

loss = linear(A100, "similarity", PAIRS, 768, PAIRS, loss=True)
del loss["operators"][0]["weight_gradient_ns"]  # a product of two activations: both gradients are I
loss["operators"][0]["input_gradient_ns"] *= 2
loss["weights_bytes"] = 0

write(
    HERE / "pipeline.json", "CLIP ViT-L/14",
    "Analytic: README.md and make_pipeline.py beside this file.",
    {"microbatches": 16, "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 6},
    [
        component("image", [], linear(A100, "patches", PAIRS * PATCHES, 3 * 14 * 14, 1024, input_gradient=False),
                  block(A100, "layer", 24, IMAGE_TOWER, PAIRS * PATCHES, PATCHES),
                  linear(A100, "projection", PAIRS, 1024, 768)),
        component("text", [], embedding("embedding", PAIRS * TEXT, 49408, 768),
                  block(A100, "layer", 12, TEXT_TOWER, PAIRS * TEXT, TEXT / 2),
                  linear(A100, "projection", PAIRS, 768, 768)),
        component("contrast", ["image", "text"], loss),
    ])
