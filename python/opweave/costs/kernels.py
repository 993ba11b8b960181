"""Kernels of several calls, as a compiler fuses chains of element-wise operators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A call in a kernel."""

    operator: str
    index: int
    """Of the call among those of the operator."""
    bytes: float
    """That it reads and writes outside of the kernel."""


@dataclass(frozen=True)
class Kernel:
    """Calls that run as one: what only they make and use stays in registers."""

    parts: tuple[Part, ...]

    @property
    def bytes(self) -> float:
        """Read and written."""
        return sum(part.bytes for part in self.parts)

    def to_record(self) -> list[list[Any]]:
        """The kernel in the file of a graph (docs/formats.md)."""
        return [[part.operator, part.index, part.bytes] for part in self.parts]

    @staticmethod
    def from_record(record: Iterable[Iterable[Any]]) -> Kernel:
        """The kernel of a record that to_record wrote."""
        return Kernel(tuple(Part(str(operator), int(index), float(size)) for operator, index, size in record))
