"""Prediction and measurement in one picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from opweave.run.program import ActionTiming, Message, Program

_Key = tuple[int, Any]  # rank and key of an action
_Times = dict[_Key, tuple[int, int]]  # start and end


def trace(program: Program, timings: Sequence[ActionTiming], path: str | os.PathLike[str]) -> None:
    """Writes a trace for Perfetto (ui.perfetto.dev): prediction and measurement side by side.

    A process per device with the planned actions on one track and the measured ones on another, and arrows for the
    messages of each. `timings` are those of all ranks (`gather_timings`). Where a plan overlaps actions of a device,
    on several streams of it, the later one is on a further track.
    """
    planned: _Times = {(rank, action.key): (action.start_ns, action.end_ns) for rank, action in program.actions()}
    measured: _Times = {(timing.rank, timing.action.key): (timing.start_ns, timing.end_ns) for timing in timings}
    waits = {(timing.rank, timing.action.key): timing.wait_ns for timing in timings}
    places, events = _tracks(program, {"planned": planned, "measured": measured})
    for parity, (what, times) in enumerate((("planned", planned), ("measured", measured))):
        for rank, action in program.actions():
            key = rank, action.key
            if key not in times:
                continue
            start, end = times[key]
            arguments: dict[str, Any] = {"microbatch": action.microbatch, "operators": ", ".join(action.operators)}
            if what == "measured":
                arguments["waited_us"] = waits[key] / 1000
            events.append(
                {
                    **places[what][key],
                    "ph": "X",
                    "ts": start / 1000,
                    "dur": (end - start) / 1000,
                    "name": str(action),
                    "cat": action.phase,
                    "args": arguments,
                }
            )
        _arrows(events, program, places[what], times, parity)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"traceEvents":[\n')
        file.write(",\n".join(json.dumps(event) for event in events))
        file.write('\n],"otherData":' + json.dumps({"generator": "opweave", "plan": program.name}) + "}\n")


def _tracks(
    program: Program, times_of: dict[str, _Times]
) -> tuple[dict[str, dict[_Key, dict[str, int]]], list[dict[str, Any]]]:
    """Process and thread of every action, by kind of time, and the events that name them.

    Perfetto drops a slice that overlaps another one of its track without lying inside of it. Process 0 and thread 0
    stand for the idle task of a machine there, the thread of a process's own number for its main thread; thread ids are
    unique over all processes.
    """
    places: dict[str, dict[_Key, dict[str, int]]] = {what: {} for what in times_of}
    events: list[dict[str, Any]] = []
    thread = len(program.devices)
    for rank, device in enumerate(program.devices):
        _name(events, "process", {"pid": rank + 1}, device, rank)
        position = 0
        for what, times in times_of.items():
            tracks: list[tuple[dict[str, int], int]] = []  # with the end of its last slice
            for key in sorted((key for key in times if key[0] == rank), key=times.__getitem__):
                start, end = times[key]
                free = next((i for i, (_, last) in enumerate(tracks) if last <= start), len(tracks))
                if free == len(tracks):
                    thread += 1
                    place = {"pid": rank + 1, "tid": thread}
                    _name(events, "thread", place, what if free == 0 else f"{what}, overlap {free}", position)
                    position += 1
                    tracks.append((place, end))
                tracks[free] = tracks[free][0], end
                places[what][key] = tracks[free][0]
    return places, events


def _name(events: list[dict[str, Any]], what: str, place: dict[str, int], name: str, position: int) -> None:
    events.append({"ph": "M", **place, "name": f"{what}_name", "args": {"name": name}})
    events.append({"ph": "M", **place, "name": f"{what}_sort_index", "args": {"sort_index": position}})


def _arrows(
    events: list[dict[str, Any]], program: Program, places: dict[_Key, dict[str, int]], times: _Times, parity: int
) -> None:
    """From the middle of the sending action to the middle of the receiving one: ends of a flow lie inside of slices."""
    ends: dict[Message, dict[str, _Key]] = {}
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
                **places[pair[end]],
                "ph": end,
                "ts": (start + stop) / 2000,
                "id": 2 * message.tag + parity,
                "name": str(message),
                "cat": "message",
            }
            events.append({**event, "bp": "e"} if end == "f" else event)
