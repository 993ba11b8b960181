"""Where the time of a measured step went, for a calibration profile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from opweave.run.parallel.check import groups_of
from opweave.run.parallel.program import Collective, Compute, Instruction, ParallelProgram
from opweave.run.parallel.step import Timing
from opweave.run.parallel.within import Within

Meeting = tuple[str, int, str]  # an instruction, and the how manyth collective inside of it
_DATA = ("gather", "scatter", "reduce")


def step_parts(program: ParallelProgram, timings: Sequence[Timing]) -> dict[str, int]:
    """Nanoseconds of a step by part, on the rank whose parts sum up to most: what `opweave.calibrate` tells slow
    products from slow collectives by (docs/formats.md, `parts_ns`).

    compute: actions without their collectives, and what is made again with them. tensor: collectives inside of actions,
    of the tensor and context axes, and sums of gradients over the tensor axis alone. expert: exchanges of tokens. data:
    gathers and reductions of parameters, those inside of updates among them. A part that takes no time is left out.
    What ranks do together takes as long as on the one that waits least, so the wait for a late one is in no part.

    The executor must have recorded collectives (`records_collectives`): without that, those inside of actions count as
    compute.

    Args:
        program: That ran.
        timings: Of all ranks in one step (`gather_results`).
    """
    by_rank: dict[int, list[Timing]] = defaultdict(list)
    for timing in timings:
        by_rank[timing.rank].append(timing)
    inside = {rank: _inside(of_rank) for rank, of_rank in by_rank.items()}
    shortest: dict[tuple[Meeting, int], int] = {}  # by rank that takes part
    for found in inside.values():
        for meeting, (outer, inner) in found.items():
            for rank in {rank for group in groups_of(outer.instruction) for rank in group}:  # type: ignore[arg-type]
                time = inner.end_ns - inner.start_ns
                shortest[meeting, rank] = min(shortest.get((meeting, rank), time), time)
    together = _together(timings)
    best: dict[str, int] = {}
    for rank, of_rank in by_rank.items():
        parts = _parts(program, of_rank, inside[rank], shortest, together)
        if sum(parts.values()) > sum(best.values()):
            best = parts
    return {part: time for part, time in best.items() if time > 0}


def _inside(of_rank: Sequence[Timing]) -> dict[Meeting, tuple[Timing, Timing]]:
    """The collectives inside of a rank's instructions, each with the instruction that it lies in."""
    outer = sorted((t for t in of_rank if not isinstance(t.instruction, Within)), key=lambda t: t.start_ns)
    inner = sorted((t for t in of_rank if isinstance(t.instruction, Within)), key=lambda t: t.start_ns)
    found: dict[Meeting, tuple[Timing, Timing]] = {}
    at = 0
    for timing in outer:
        count = 0
        while at < len(inner) and inner[at].end_ns <= timing.end_ns:
            if inner[at].start_ns >= timing.start_ns:
                found[str(timing.instruction), count, str(inner[at].instruction)] = timing, inner[at]
                count += 1
            at += 1
    return found


def _together(timings: Sequence[Timing]) -> dict[tuple[str, int], int]:
    """Of collectives of parameters, by rank: how long they take on the member that waits least."""
    shortest: dict[tuple[str, int], int] = {}
    for timing in timings:
        if isinstance(timing.instruction, Collective):
            for rank in {timing.rank, *(rank for group in groups_of(timing.instruction) for rank in group)}:
                key, time = (str(timing.instruction), rank), timing.end_ns - timing.start_ns
                shortest[key] = min(shortest.get(key, time), time)
    return shortest


def _parts(
    program: ParallelProgram,
    of_rank: Sequence[Timing],
    inside: dict[Meeting, tuple[Timing, Timing]],
    shortest: dict[tuple[Meeting, int], int],
    together: dict[tuple[str, int], int],
) -> dict[str, int]:
    parts = {"compute": 0, "tensor": 0, "expert": 0, "data": 0}
    rank = of_rank[0].rank
    peers = program.grid.tensor_peers(rank)

    def axis(step: Instruction) -> str | None:
        """Of a collective of parameters; None for one rank alone."""
        groups = [group for group in groups_of(step) if len(group) > 1]
        return ("tensor" if all(group == peers for group in groups) else "data") if groups else None

    for timing in of_rank:
        step = timing.instruction
        if isinstance(step, Compute):
            parts["compute"] += timing.end_ns - timing.start_ns
        elif isinstance(step, Collective) and step.kind in _DATA and (of := axis(step)):
            parts[of] += together[str(step), rank]
    for part, meeting, (outer, inner) in _named(inside):
        step = outer.instruction
        time = shortest[meeting, rank]
        if not isinstance(step, Compute):  # an update
            parts[axis(step) or "data"] += time  # type: ignore[arg-type]
            continue
        again = time if step.kind == "again" else 0
        parts["compute"] -= inner.end_ns - inner.start_ns - again
        parts[part] += time - again
    return parts


def _named(
    inside: dict[Meeting, tuple[Timing, Timing]],
) -> Iterator[tuple[str, Meeting, tuple[Timing, Timing]]]:
    """With the part that a collective inside of an action belongs to; a wait, to that of what it waits for."""
    part = "tensor"
    for meeting, pair in inside.items():
        name = meeting[2]
        if name != "wait_tensor":
            part = "expert" if "alltoall" in name or "all_to_all" in name else "tensor"
        yield part, meeting, pair
