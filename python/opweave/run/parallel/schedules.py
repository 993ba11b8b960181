"""Published schedules of a pipeline (docs/experts.md), as a plan that `compile_plan` reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opweave import _core
from opweave.run.errors import ProgramError

Unit = tuple[str, int, int]  # phase, stage, microbatch

_ACTION = re.compile(r"(\d+)([FIWB])(\d+)")
# Of a stage: forward, gradients of inputs and of weights, a hop. Equal phases are what the schedules are published for.
_STAGE_NS = (1000, 1000, 1000, 0)


@dataclass(frozen=True)
class StageOrder:
    """What every rank does, stage by stage."""

    rows: tuple[tuple[Unit, ...], ...]
    """By rank."""
    homes: tuple[int, ...]
    """Rank of each stage; of its first copy, where there are two."""

    @property
    def splits_backward(self) -> bool:
        """Gradients of inputs and of weights are made apart."""
        return any(phase in "IW" for row in self.rows for phase, _, _ in row)


def published(schedule: str, ranks: int, chunks: int, microbatches: int) -> StageOrder:
    """The order of a published schedule. Raises ProgramError where there is none of this name or for these numbers.

    A pair of a forward and a backward is two actions, one after the other: a rank does one thing at a time.
    """
    try:
        shape, rows = _core.expert_schedule(schedule, ranks, microbatches, chunks, _STAGE_NS)
    except _core.InputError as error:
        raise ProgramError(f'strategy: schedule "{schedule}" {error}') from None
    expected = {"linear": "1", "two-way": "1", "V": "2"}.get(shape, str(chunks))
    if str(chunks) != expected:
        raise ProgramError(f'strategy: schedule is "{schedule}" with {chunks} chunks, expected {expected}')
    splits = any(phase in "IW" for row in rows for cell in row for _, phase, _ in _ACTION.findall(cell))

    def units_of(cell: str) -> list[Unit]:
        """Where a schedule has both, a B is its two halves: an operator has the same phases for all microbatches."""
        found = [(phase, int(stage), int(b)) for stage, phase, b in _ACTION.findall(cell)]
        return [(half, s, b) for phase, s, b in found for half in ("IW" if splits and phase == "B" else phase)]

    units = tuple(tuple(unit for cell in row for unit in units_of(cell)) for row in rows)
    first = {stage: rank for rank, row in enumerate(units) for phase, stage, b in row if (phase, b) == ("F", 0)}
    return StageOrder(units, tuple(first[stage] for stage in range(len(first))))


def scheduled(graph: dict[str, Any], stages: Sequence[Sequence[str]], order: StageOrder) -> dict[str, Any]:
    """A plan of *graph*, of which stage s is the segments of *stages[s]*, in this order.

    A stage's backward goes through its segments from the last to the first. Times are those of the graph's operators,
    one after the other.
    """
    duration = {op["name"]: int(op.get("duration_ns", 1)) for op in graph["operators"]}
    ranks = len(order.rows)
    end: dict[Unit, int] = {}
    free, position = [0] * ranks, [0] * ranks
    tasks: list[dict[str, Any]] = []
    moved = True
    while moved:
        moved = False
        for rank, row in enumerate(order.rows):
            while position[rank] < len(row):
                unit = row[position[rank]]
                needed = _needed(unit, len(stages), order.splits_backward)
                if any(key not in end for key in needed):
                    break
                now = max([free[rank], *(end[key] for key in needed)])
                phase, stage, b = unit
                for name in stages[stage] if phase == "F" else reversed(stages[stage]):
                    operator = f"{name}.{phase}"
                    tasks.append(
                        {
                            "operator": operator,
                            "microbatch": b,
                            "devices": [f"stage{rank}"],
                            "start_ns": now,
                            "end_ns": now + duration[operator],
                        }
                    )
                    now += duration[operator]
                end[unit] = free[rank] = now
                position[rank] += 1
                moved = True
    assert all(at == len(row) for at, row in zip(position, order.rows, strict=True))
    return {
        "format": "opweave.plan",
        "version": 1,
        "graph": graph["name"],
        "settings": {"training": graph["training"]},
        "statistics": {"devices": [{"device": f"stage{rank}"} for rank in range(ranks)]},
        "tasks": sorted(tasks, key=lambda task: (task["start_ns"], task["end_ns"])),
    }


def _needed(unit: Unit, stages: int, splits_backward: bool) -> list[Unit]:
    phase, stage, b = unit
    if phase == "F":
        return [("F", stage - 1, b)] if stage else []
    if phase == "W":
        return [("I", stage, b)]
    gradient = "I" if splits_backward else "B"
    return [("F", stage, b), *([(gradient, stage + 1, b)] if stage + 1 < stages else [])]
