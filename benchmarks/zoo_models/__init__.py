"""The models of benchmarks/zoo, by name. A row gives a function that builds the model, its arguments and its loss."""

from __future__ import annotations

from collections.abc import Callable

from zoo_models import layers, pictures, texts
from zoo_models.common import BATCH, LENGTH, Row

__all__ = ["BATCH", "EXPLAINED", "LENGTH", "ROWS", "Row"]

ROWS: dict[str, Callable[[], Row]] = {**texts.ROWS, **pictures.ROWS, **layers.ROWS}

EXPLAINED: dict[str, str] = {
    "qwen3-next": "the state after the last chunk, which nothing uses, is left out",
    "kimi-linear": "the state after the last chunk, which nothing uses, is left out",
    "llava": "the last layer of the vision tower, which nothing uses, is left out",
    "wav2vec2": "training asks for a gradient of the sound itself, which nothing uses",
}
"""Rows whose flops are not the counter's, with the reason."""
