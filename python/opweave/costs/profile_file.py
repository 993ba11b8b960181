"""What a trace of the PyTorch profiler says about times."""

from __future__ import annotations

import gzip
import json
import statistics
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opweave.document import read_text
from opweave.errors import InputError

Key = tuple[str, tuple[tuple[int, ...], ...]]
"""Name and shapes of the tensors among the arguments."""


@dataclass(frozen=True)
class Profile:
    """Times of one training step, in nanoseconds."""

    times_ns: Mapping[Key, float]
    """Of operators: the median of those that are alike."""
    optimizer_ns: float | None
    """Of all steps of optimizers in one training step; None where there is none in the trace."""


def read_profile(path: str) -> Profile:
    """Reads a trace, packed by gzip or not. Raises InputError naming the file."""
    text = _text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    events = content.get("traceEvents") if isinstance(content, dict) else None
    if not isinstance(events, list):
        raise InputError(f'{path}: key "traceEvents" is missing, expected a trace of the PyTorch profiler')
    events = [event for event in events if isinstance(event, dict)]
    operators = [event for event in events if event.get("cat") == "cpu_op" and "dur" in event]
    if not any("Input Dims" in event.get("args", {}) for event in operators):
        raise InputError(f"{path}: its operators have no shapes\nhint: profile with record_shapes=True")
    kernels = _kernel_times(events)
    samples: dict[Key, list[float]] = {}
    for event in operators:
        arguments = event.get("args", {})
        on_device = kernels.get(arguments.get("External id"))
        time = on_device if on_device is not None else event["dur"]
        samples.setdefault((event["name"], _shapes(arguments.get("Input Dims", ()))), []).append(1000 * time)
    times = {key: statistics.median(values) for key, values in samples.items()}
    return Profile(times, _optimizer_time(events, operators, kernels))


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        if is_packed:
            with gzip.open(path, "rt", encoding="utf-8") as unpacked:
                return unpacked.read()
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be unpacked: {error}") from None
    except OSError:
        pass  # the reader below says why
    return read_text(path)


def _kernel_times(events: Iterable[dict[str, Any]]) -> dict[Any, float]:
    """Microseconds of the kernels that each operator started, by its external id."""
    times: dict[Any, float] = {}
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset") and "dur" in event:
            identity = event.get("args", {}).get("External id")
            if identity is not None:
                times[identity] = times.get(identity, 0.0) + event["dur"]
    return times


def _optimizer_time(
    events: Iterable[dict[str, Any]], operators: Iterable[dict[str, Any]], kernels: Mapping[Any, float]
) -> float | None:
    """The profiler marks every `Optimizer.step`; its time is that of the kernels started within, if there are any."""
    marks = [
        event
        for event in events
        if event.get("cat") in ("cpu_op", "user_annotation")
        and "dur" in event
        and str(event.get("name", "")).startswith("Optimizer.step#")
    ]
    if not marks:
        return None
    started = [
        (event.get("tid"), event["ts"], kernels[identity])
        for event in operators
        if "ts" in event and (identity := event.get("args", {}).get("External id")) in kernels
    ]
    samples: dict[str, list[float]] = {}
    for mark in marks:
        first, last = mark.get("ts", 0), mark.get("ts", 0) + mark["dur"]
        within = [time for thread, start, time in started if thread == mark.get("tid") and first <= start <= last]
        samples.setdefault(mark["name"], []).append(1000 * (sum(within) if within else mark["dur"]))
    steps = {event["name"] for event in events if str(event.get("name", "")).startswith("ProfilerStep#")}
    if steps:
        return sum(map(sum, samples.values())) / len(steps)
    return sum(map(statistics.median, samples.values()))


def _shapes(dims: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """Shapes of the tensors among the arguments; lists of tensors are lists of shapes."""
    shapes: list[tuple[int, ...]] = []
    for entry in dims:
        if entry and isinstance(entry[0], list):
            shapes.extend(_shapes(entry))
        elif entry:
            shapes.append(tuple(entry))
    return tuple(shapes)
