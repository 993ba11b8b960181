#!/usr/bin/env python3
"""Writes pipeline.json: Qwen2.5-Omni-7B on video clips with sound. README.md explains the numbers."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from transformer_costs import Device, Width, block, component, embedding, linear, write  # noqa: E402

H100 = Device(peak_flops_per_s=989e12, efficiency=0.5)
SECONDS = 30
AUDIO_POSITIONS = 50 * SECONDS  # 100 mel frames per second, halved by a convolution
AUDIO_TOKENS = 25 * SECONDS
FRAME_PATCHES = 32 * 18  # 448 x 252 pixels in patches of 14
FRAMES = SECONDS  # 2 frames per second, 2 frames to a patch
PATCHES = FRAMES * FRAME_PATCHES
VIDEO_TOKENS = PATCHES // 4
TEXT = 512
TOKENS = AUDIO_TOKENS + VIDEO_TOKENS + TEXT
SPEECH = 1000
TALKER_TOKENS = TOKENS + SPEECH
AUDIO = Width(hidden=1280, heads=20, head_dim=64, key_heads=20, feed_forward=5120, gated=False)
VISION = Width(hidden=1280, heads=16, head_dim=80, key_heads=16, feed_forward=3420, gated=True)
THINKER = Width(hidden=3584, heads=28, head_dim=128, key_heads=4, feed_forward=18944, gated=True)
TALKER = Width(hidden=896, heads=12, head_dim=128, key_heads=4, feed_forward=18944, gated=True)


def vision_layers() -> list:
    """Windows of 8 x 8 patches, but in layers 7, 15, 23 and 31 a frame attends to itself."""
    layers = []
    for part in range(4):
        layers.append(block(H100, f"window{part}", 7, VISION, PATCHES, 64))
        layers.append(block(H100, f"full{part}", 1, VISION, PATCHES, FRAME_PATCHES))
    return layers


write(
    HERE / "pipeline.json", "Qwen2.5-Omni-7B",
    "Analytic: README.md and make_pipeline.py beside this file.",
    {"microbatches": 16, "gradient_bytes_per_weight_byte": 1, "optimizer_bytes_per_weight_byte": 6},
    [
        component("audio", [], block(H100, "layer", 32, AUDIO, AUDIO_POSITIONS, 100),
                  linear(H100, "projector", AUDIO_TOKENS, 1280, 3584)),
        component("vision", [], *vision_layers(),
                  linear(H100, "merger_up", VIDEO_TOKENS, 5120, 5120),
                  linear(H100, "merger_down", VIDEO_TOKENS, 5120, 3584)),
        component("text", [], embedding("embedding", TEXT, 152064, 3584)),
        component("thinker", ["audio", "vision", "text"], block(H100, "layer", 28, THINKER, TOKENS, TOKENS / 2)),
        component("text_head", ["thinker"], linear(H100, "head", TOKENS, 3584, 152064, loss=True)),
        component("talker", ["thinker"], linear(H100, "projector", TALKER_TOKENS, 3584, 896),
                  block(H100, "layer", 24, TALKER, TALKER_TOKENS, TALKER_TOKENS / 2),
                  linear(H100, "head", TALKER_TOKENS, 896, 8448, loss=True)),
    ])
