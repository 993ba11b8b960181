"""Which share of its data sheet a device reaches, every number with its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opweave.hardware.curves import Curve

_MEASURED = "measured with benchmarks/gpu_layer on one H200, torch 2.11, 2026-11-29"
_FITS = "fitted to published steps (docs/strategies.md)"
_MAMF = "largest rate of bf16 products found by S. Bekman, Machine Learning Engineering, accelerator chapter"

# Relative to large products, to memory-bound calls of any size, to sequences of 8192 tokens.
_PRODUCTS = ((1e7, 0.05), (1e8, 0.12), (5e8, 0.28), (2e9, 0.55), (1.6e10, 0.92), (7e10, 1.0))
_TRAFFIC = ((1e5, 0.10), (1e6, 0.25), (1e7, 0.62), (3e7, 0.80), (1e8, 0.87), (1e9, 0.915))
_FORWARD = ((512, 0.55), (1024, 0.73), (2048, 0.86), (4096, 0.95), (8192, 1.0), (16384, 1.02))
_BACKWARD = ((512, 0.37), (1024, 0.57), (2048, 0.75), (4096, 0.90), (8192, 1.0), (16384, 1.05))


@dataclass(frozen=True)
class Efficiencies:
    """Shares of peak rate and bandwidth, and the time between kernels."""

    matrix: Curve
    """Share of the peak rate by operations of one call."""
    memory: Curve
    """Share of the memory bandwidth by bytes of one kernel."""
    attention_forward: Curve
    """Share of the peak rate by tokens of a sequence. What causal attention leaves out is no operation here."""
    attention_backward: Curve
    optimizer: float
    """Share of the memory bandwidth that a step of the optimizer reaches."""
    overhead_ns: int
    """Of a kernel in a full stream."""


def _scaled(points: Sequence[tuple[float, float]], factor: float, source: str) -> Curve:
    return Curve(tuple((size, share * factor) for size, share in points), f"{source}; by size: {_MEASURED}")


def _efficiencies(matrix: float, forward: float, backward: float, source: str) -> Efficiencies:
    """From the shares of large products and of attention over 8192 tokens."""
    return Efficiencies(
        matrix=_scaled(_PRODUCTS, matrix, source),
        memory=Curve(_TRAFFIC, _MEASURED),
        attention_forward=_scaled(_FORWARD, forward, source),
        attention_backward=_scaled(_BACKWARD, backward, source),
        optimizer=0.67,  # AdamW in one kernel on fp32: 28 bytes of 218 million parameters in 1.90 ms of 4.8 TB/s
        overhead_ns=2000,  # measured there, too
    )


HOPPER = _efficiencies(
    0.60, 0.44, 0.374, f"mean of NeMo's 0.684, 0.52, 0.442 and torchtitan's 0.514, 0.36, 0.306 on H100, {_FITS}"
)
"""In training: beside communication, at the clock that the power limit leaves. The default of other devices, too."""
AMPERE = _efficiencies(0.755, 0.58, 0.493, f"mean of Megatron's 0.78 and fms-fsdp's 0.73 on A100, {_FITS}")
# Without fits: Hopper's share of what is largest for it (0.803) of what is largest here.
BLACKWELL = _efficiencies(0.58, 0.425, 0.36, f"{_MAMF}: 0.776 of peak; the rest as on Hopper")
CDNA3 = _efficiencies(0.385, 0.28, 0.24, f"{_MAMF}: 0.514 of peak; the rest as on Hopper")

# Of 8192^3, and of attention over 8192 tokens without a pause; in short runs 0.81, 0.65 and 0.55.
ALONE = _efficiencies(0.67, 0.55, 0.47, f"{_MEASURED}, at its power limit of 700 W")
"""One Hopper device without others: what a layer takes that runs again and again, with nothing beside it."""
