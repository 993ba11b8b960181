"""Quantities that depend on size piecewise."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass


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
        index = bisect.bisect_right(self.points, (size, math.inf))
        if index == 0:
            return self.points[0][1]
        if index == len(self.points):
            return self.points[-1][1]
        (low, first), (high, second) = self.points[index - 1 : index + 1]
        return first + (second - first) * math.log(size / low) / math.log(high / low)


def constant(efficiency: float, source: str) -> Curve:
    """The same efficiency at every size."""
    return Curve(((1.0, efficiency),), source)
