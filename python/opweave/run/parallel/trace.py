"""Prediction beside measurement, of every rank, for Perfetto."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from opweave.run.parallel.check import groups_of
from opweave.run.parallel.program import Collective, Communicate, Compute, Copy, Instruction, ParallelProgram
from opweave.run.parallel.step import Timing
from opweave.run.parallel.within import Within


def parallel_trace(
    program: ParallelProgram, predicted: Sequence[Timing], measured: Sequence[Timing], path: str | os.PathLike[str]
) -> None:
    """Writes a trace for ui.perfetto.dev: a process per rank, with what was predicted (`predict`) on one track and what
    was measured (`gather_results`) on another: actions, collectives (also those inside of actions, where the executor
    has recorded them), copies, messages waited for; and arrows for messages."""
    events: list[dict[str, Any]] = []
    place = program.grid.place_of
    for rank in range(program.processes):
        device = program.base.devices[program.grid.device_of(rank)]
        at = place(rank)
        name = f"rank {rank}: {device}, data {at.data}, context {at.context}, tensor {at.tensor}"
        events.append({"ph": "M", "pid": rank + 1, "name": "process_name", "args": {"name": name}})
    thread = program.processes
    for parity, (what, timings) in enumerate((("predicted", predicted), ("measured", measured))):
        for rank in range(program.processes):
            thread += 1
            track = {"pid": rank + 1, "tid": thread}
            events.append({"ph": "M", **track, "name": "thread_name", "args": {"name": what}})
            for timing in timings:
                if timing.rank == rank:
                    events += _events(timing, track, parity)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": events, "otherData": {"generator": "opweave", "plan": program.base.name}}, file)


def kind_of(step: Instruction | Within) -> str:
    """Category of an instruction in the trace."""
    if isinstance(step, Within):
        return "collective"
    if isinstance(step, Compute):
        return "made again" if step.kind == "again" else step.action.phase
    if isinstance(step, Collective):
        return "collective"
    return "copy" if isinstance(step, Copy) else step.kind


def _events(timing: Timing, track: dict[str, int], parity: int) -> list[dict[str, Any]]:
    step = timing.instruction
    start, length = timing.start_ns / 1000, (timing.end_ns - timing.start_ns) / 1000
    arguments: dict[str, Any] = {}
    if groups := () if isinstance(step, Within) else groups_of(step):
        arguments["groups"] = [list(group) for group in groups]
    if isinstance(step, Compute) and step.action.operators:
        arguments["operators"] = ", ".join(step.action.operators)
    events = [
        {
            **track,
            "ph": "X",
            "ts": start,
            "dur": length,
            "name": str(step),
            "cat": kind_of(step),
            "args": arguments,
        }
    ]
    if isinstance(step, Communicate) and step.kind in ("send", "receive"):
        flow: dict[str, Any] = {
            **track,
            "ph": "s" if step.kind == "send" else "f",
            "ts": start + length / 2,
            "id": 2 * step.piece.tag + parity,
            "name": str(step.piece),
            "cat": "message",
        }
        events.append({**flow, "bp": "e"} if step.kind == "receive" else flow)
    return events
