"""Published schedules of a pipeline, as a plan that `compile_plan` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opweave.run.errors import ProgramError

SCHEDULES = ("1F1B", "Interleaved-1F1B")


def scheduled(graph: dict[str, Any], stages: Sequence[Sequence[str]], ranks: int, schedule: str) -> dict[str, Any]:
    """A plan of *graph* in which stage s, the segments of *stages[s]*, lives on device s modulo *ranks*.

    The order of each device is that of the schedule (1F1B: arXiv 2104.04473, section 2.2, with more chunks its
    interleaved form); a stage's backward goes through its segments from the last to the first. Times are those of the
    graph's operators, one after the other. Raises ProgramError where the schedule is not one of SCHEDULES or not
    defined for these numbers.
    """
    microbatches = graph["training"]["microbatches"]
    if schedule not in SCHEDULES:
        raise ProgramError(f"schedule is {schedule!r}, expected {' or '.join(SCHEDULES)}, or a plan of your own")
    chunks = len(stages) // ranks
    if schedule == "1F1B" and chunks > 1:
        raise ProgramError(f"schedule is '1F1B' with {chunks} chunks, expected 'Interleaved-1F1B'")
    if chunks > 1 and microbatches % ranks:
        raise ProgramError(f"{microbatches} microbatches, expected a multiple of {ranks} ranks for 'Interleaved-1F1B'")
    orders = [_order(rank, ranks, chunks, microbatches) for rank in range(ranks)]
    return _plan(graph, stages, ranks, orders)


def _order(rank: int, ranks: int, chunks: int, microbatches: int) -> list[tuple[str, int, int]]:
    """Phase, stage and microbatch, one after the other."""
    total = microbatches * chunks

    def unit(number: int, backward: bool) -> tuple[str, int, int]:
        if chunks == 1:
            return ("B" if backward else "F", rank, number)
        chunk = number % (ranks * chunks) // ranks
        microbatch = number // (ranks * chunks) * ranks + number % ranks
        if backward:
            chunk = chunks - 1 - chunk
        return ("B" if backward else "F", chunk * ranks + rank, microbatch)

    ahead = ranks - rank - 1
    if chunks > 1:
        ahead = 2 * ahead + (chunks - 1) * ranks
    ahead = min(ahead, total)
    order = [unit(number, False) for number in range(ahead)]
    for number in range(total):
        if ahead + number < total:
            order.append(unit(ahead + number, False))
        order.append(unit(number, True))
    return order


def _plan(
    graph: dict[str, Any], stages: Sequence[Sequence[str]], ranks: int, orders: list[list[tuple[str, int, int]]]
) -> dict[str, Any]:
    duration = {op["name"]: int(op.get("duration_ns", 1)) for op in graph["operators"]}
    end: dict[tuple[str, int, int], int] = {}
    free, position = [0] * ranks, [0] * ranks
    tasks: list[dict[str, Any]] = []
    moved = True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while position[rank] < len(order):
                phase, stage, b = order[position[rank]]
                needed = [("F", stage, b), ("B", stage + 1, b)] if phase == "B" else [("F", stage - 1, b)]
                needed = [key for key in needed if 0 <= key[1] < len(stages)]
                if any(key not in end for key in needed):
                    break
                now = max([free[rank], *(end[key] for key in needed)])
                names = stages[stage] if phase == "F" else reversed(stages[stage])
                for name in names:
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
                end[phase, stage, b] = free[rank] = now
                position[rank] += 1
                moved = True
    assert all(at == len(order) for at, order in zip(position, orders, strict=True))
    return {
        "format": "opweave.plan",
        "version": 1,
        "graph": graph["name"],
        "settings": {"training": graph["training"]},
        "statistics": {"devices": [{"device": f"stage{rank}"} for rank in range(ranks)]},
        "tasks": sorted(tasks, key=lambda task: (task["start_ns"], task["end_ns"])),
    }
