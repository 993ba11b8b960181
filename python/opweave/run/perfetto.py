"""Prediction and measurement in one picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from opweave.run.program import ActionTiming, Message, Program

_PLANNED, _MEASURED = 1, 2


def trace(program: Program, timings: Sequence[ActionTiming], path: str | os.PathLike[str]) -> None:
    """Writes a trace for Perfetto (ui.perfetto.dev): prediction and measurement side by side.

    A process per device with the planned actions on one track and the measured ones on another, and arrows for the
    messages of each. `timings` are those of all ranks (`gather_timings`).
    """
    events: list[dict[str, Any]] = []
    for rank, device in enumerate(program.devices):
        _name(events, rank, None, device, rank)
        _name(events, rank, _PLANNED, "planned", 0)
        _name(events, rank, _MEASURED, "measured", 1)
    planned = {(rank, action.key): (action.start_ns, action.end_ns) for rank, action in program.actions()}
    measured = {(timing.rank, timing.action.key): (timing.start_ns, timing.end_ns) for timing in timings}
    waits = {(timing.rank, timing.action.key): timing.wait_ns for timing in timings}
    for track, times in ((_PLANNED, planned), (_MEASURED, measured)):
        for rank, action in program.actions():
            if (rank, action.key) not in times:
                continue
            start, end = times[rank, action.key]
            arguments: dict[str, Any] = {"microbatch": action.microbatch, "operators": ", ".join(action.operators)}
            if track == _MEASURED:
                arguments["waited_us"] = waits[rank, action.key] / 1000
            events.append(
                {
                    **_place(rank, track, start),
                    "ph": "X",
                    "dur": (end - start) / 1000,
                    "name": str(action),
                    "cat": action.phase,
                    "args": arguments,
                }
            )
        _arrows(events, program, track, times)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"traceEvents":[\n')
        file.write(",\n".join(json.dumps(event) for event in events))
        file.write('\n],"otherData":' + json.dumps({"generator": "opweave", "plan": program.name}) + "}\n")


def _place(rank: int, track: int, time_ns: int | float) -> dict[str, Any]:
    # Process 0 and thread 0 stand for the idle task of a machine in Perfetto; thread ids are unique over all processes.
    return {"pid": rank + 1, "tid": (rank + 1) * 100 + track, "ts": time_ns / 1000}


def _name(events: list[dict[str, Any]], rank: int, track: int | None, name: str, position: int) -> None:
    where: dict[str, Any] = {"ph": "M", "pid": rank + 1}
    what = "process"
    if track is not None:
        where["tid"] = (rank + 1) * 100 + track
        what = "thread"
    events.append({**where, "name": f"{what}_name", "args": {"name": name}})
    events.append({**where, "name": f"{what}_sort_index", "args": {"sort_index": position}})


def _arrows(
    events: list[dict[str, Any]], program: Program, track: int, times: dict[tuple[int, Any], tuple[int, int]]
) -> None:
    """From the middle of the sending action to the middle of the receiving one: ends of a flow lie inside of slices."""
    ends: dict[Message, dict[str, tuple[int, Any]]] = {}
    for rank, steps in enumerate(program.ranks):
        for step in steps:
            for message in step.send:
                ends.setdefault(message, {})["s"] = (rank, step.action.key)
            for message in step.receive:
                ends.setdefault(message, {})["f"] = (rank, step.action.key)
    for message, pair in ends.items():
        if any(pair[end] not in times for end in ("s", "f")):
            continue
        for end in ("s", "f"):
            start, stop = times[pair[end]]
            event = {
                **_place(pair[end][0], track, (start + stop) / 2),
                "ph": end,
                "id": 2 * message.tag + (track == _MEASURED),
                "name": str(message),
                "cat": "message",
            }
            events.append({**event, "bp": "e"} if end == "f" else event)
