"""Adding up the times of the calls behind an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opweave.errors import InputError
from opweave.graph import Graph

if TYPE_CHECKING:
    from opweave.costs.call import Call

Times = Callable[[float, float, str], float]
"""Nanoseconds from operations, bytes and dtype of one call."""


def calls_of(graph: Graph, operator: str) -> list[Call]:
    """The calls behind an operator of a captured graph; none for other graphs and for optimizer steps."""
    calls: Mapping[str, list[Call]] = getattr(graph, "calls", {})
    return calls.get(operator, [])


def total(graph: Graph, op: Mapping[str, Any], time_ns: Times) -> float:
    """Nanoseconds of all calls of an operator one after the other."""
    calls = calls_of(graph, op["name"])
    if calls:
        return sum(time_ns(call.flops, call.bytes, call.dtype) for call in calls)
    if "flops" not in op and "bytes_accessed" not in op:
        raise InputError(f'operator "{op["name"]}" has neither flops nor bytes_accessed')
    return time_ns(op.get("flops", 0.0), op.get("bytes_accessed", 0.0), op.get("dtype", "bf16"))
