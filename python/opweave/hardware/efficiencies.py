"""Which share of its data sheet a device reaches, every number with its source."""

from __future__ import annotations

from dataclasses import dataclass

from opweave import _core
from opweave.hardware.curves import Curve


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
    overhead_ns: float
    """Of a kernel in a full stream."""

    def to_core(self) -> _core.Efficiencies:
        """For the model of costs, which computes in the core."""
        matrix, memory, forward, backward = (
            (curve.points, curve.source)
            for curve in (self.matrix, self.memory, self.attention_forward, self.attention_backward)
        )
        return _core.Efficiencies(matrix, memory, forward, backward, self.optimizer, self.overhead_ns)


def _of(core: _core.Efficiencies) -> Efficiencies:
    matrix, memory, forward, backward = (Curve(tuple(points), source) for points, source in core.curves)
    return Efficiencies(matrix, memory, forward, backward, core.optimizer, core.overhead_ns)


def efficiencies_of(device_type: str) -> Efficiencies:
    """In training: beside communication, at the clock that the power limit leaves.

    Those of Hopper for a type of device that is not known.
    """
    return _of(_core.efficiencies_of(device_type))


ALONE = _of(_core.efficiencies_alone())
"""One Hopper device without others: what a layer takes that runs again and again, with nothing beside it."""
