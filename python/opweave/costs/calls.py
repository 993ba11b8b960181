"""The calls behind operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opweave.graph import Graph

if TYPE_CHECKING:
    from opweave.costs.call import Call


def calls_of(graph: Graph, operator: str) -> list[Call]:
    """The calls behind an operator of a captured graph; none for other graphs and for optimizer steps."""
    calls: Mapping[str, list[Call]] = getattr(graph, "calls", {})
    return calls.get(operator, [])
