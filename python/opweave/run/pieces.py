"""The pieces that a plan made with blocks runs (docs/blocks.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opweave.run.segments import phase_of, positions

Place = tuple[int, int, int, int]


def place_of_piece(graph: dict[str, Any], plan: dict[str, Any]) -> Callable[[dict[str, Any]], Place]:
    """What sorts the pieces of a plan by time, of a task of it: start and end of its piece, then a number of its own.
    The same for all tasks where the plan has no blocks."""
    rule = plan.get("settings", {}).get("blocks")
    if rule is None:
        return lambda task: (0, 0, 0, 0)
    operators = {op["name"]: op for op in graph["operators"]}
    whole = {op.get(rule) for op in graph["operators"] if phase_of(op) == "B"}
    position = positions(graph)

    def piece_of(task: dict[str, Any]) -> tuple[Any, str, int]:
        op = operators[task["operator"]]
        block, phase = op.get(rule), phase_of(op)
        if block in (None, ""):
            block = ("operator", op["name"])
        if block in whole and phase in "IW":
            phase = "B"
        return (block, phase, task["microbatch"] if "microbatch" in task else task["replica"])

    places: dict[tuple[Any, str, int], Place] = {}
    for task in plan["tasks"]:
        key = piece_of(task)
        here = (task["start_ns"], task["end_ns"], position[task["operator"]])
        start, end, first, _ = places.get(key, (*here, 0))
        places[key] = (min(start, here[0]), max(end, here[1]), min(first, here[2]), key[2])
    return lambda task: places[piece_of(task)]
