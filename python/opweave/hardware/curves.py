"""Quantities that depend on size piecewise."""

from __future__ import annotations

from dataclasses import dataclass

from opweave import _core


@dataclass(frozen=True)
class Curve:
    """Efficiency by size: linear in the logarithm of the size between the points, constant outside of them."""

    points: tuple[tuple[float, float], ...]
    """(size, efficiency), sizes positive and ascending, efficiencies above 0."""
    source: str
    """Where the points come from."""

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.points]
        if not sizes or sizes[0] <= 0 or sizes != sorted(set(sizes)) or any(value <= 0 for _, value in self.points):
            raise ValueError("points of a curve need positive, ascending sizes and positive efficiencies")

    def at(self, size: float) -> float:
        """Efficiency at a size."""
        return _core.curve_at(list(self.points), size)


def constant(efficiency: float, source: str) -> Curve:
    """The same efficiency at every size."""
    return Curve(((1.0, efficiency),), source)
