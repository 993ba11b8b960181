"""Times read from a trace of the PyTorch profiler."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from opweave.costs.attention import is_attention, profiler_names
from opweave.costs.call import Call
from opweave.costs.call_records import TensorSpec
from opweave.costs.calls import calls_of
from opweave.document import read_text
from opweave.errors import InputError
from opweave.graph import Graph

_Key = tuple[str, tuple[tuple[int, ...], ...]]


def profiled(
    graph: Graph, trace: str | os.PathLike[str], *, device_type: str = "", fallback: Graph | None = None
) -> Graph:
    """The captured graph with durations from a trace of a training step.

    The trace is what ``torch.profiler.profile(record_shapes=True)`` exports (``export_chrome_trace``). A call takes the
    median time of the operators of the trace with its name and tensor shapes: of the kernels that they started, where
    there are any, else of the operators themselves.

    Args:
        graph: From opweave.capture, of the model with the shapes that were profiled.
        trace: The file.
        device_type: The type of devices that the durations hold for; "" stands for every type.
        fallback: The same graph with durations, for operators with calls that the trace does not have.

    Raises InputError for a file that is no such trace and for a call that is in neither.
    """
    if not hasattr(graph, "calls"):
        raise InputError("profiled: the graph has no calls to look up, expected one from opweave.capture")
    times = _times(os.fspath(trace))
    known = {} if fallback is None else {op["name"]: op.get("duration_ns") for op in fallback.operators}
    durations: dict[str, Any] = {}
    for op in graph.operators:
        calls = calls_of(graph, op["name"])
        found = [_find(times, call) for call in calls]
        if calls and None not in found:
            durations[op["name"]] = {device_type: math.ceil(sum(time for time in found if time is not None))}
        elif known.get(op["name"]) is not None:
            durations[op["name"]] = known[op["name"]]
        else:
            what = next((call.signature for call, time in zip(calls, found, strict=True) if time is None), op["kind"])
            raise InputError(
                f'{os.fspath(trace)}: no operator for "{what}" of operator "{op["name"]}"'
                "\nhint: give fallback, for example the graph with costs.analytic"
            )
    return graph.with_durations(durations)


def _key(call: Call) -> _Key:
    from torch.utils._pytree import tree_leaves

    shapes = [leaf.shape for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, TensorSpec)]
    return call.kind.replace(".", "::"), tuple(shape for shape in shapes if shape)


def _find(times: Mapping[_Key, float], call: Call) -> float | None:
    key = _key(call)
    if key in times or not is_attention(call):
        return times.get(key)
    names, tensors = profiler_names(call)
    return next(
        (
            time
            for (other, other_shapes), time in times.items()
            if other in names and other_shapes[:tensors] == key[1][:tensors]
        ),
        None,
    )


def _times(path: str) -> dict[_Key, float]:
    """Nanoseconds by operator and shapes."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    events = content.get("traceEvents") if isinstance(content, dict) else None
    if not isinstance(events, list):
        raise InputError(f'{path}: key "traceEvents" is missing, expected a trace of the PyTorch profiler')
    operators = [event for event in events if event.get("cat") == "cpu_op" and "dur" in event]
    if not any("Input Dims" in event.get("args", {}) for event in operators):
        raise InputError(f"{path}: its operators have no shapes\nhint: profile with record_shapes=True")
    kernels = _kernel_times(events)
    samples: dict[_Key, list[float]] = {}
    for event in operators:
        arguments = event.get("args", {})
        on_device = kernels.get(arguments.get("External id"))
        time = on_device if on_device is not None else event["dur"]
        samples.setdefault((event["name"], _shapes(arguments.get("Input Dims", ()))), []).append(1000 * time)
    return {key: statistics.median(values) for key, values in samples.items()}


def _kernel_times(events: Iterable[dict[str, Any]]) -> dict[Any, float]:
    """Microseconds of the kernels that each operator started, by its external id."""
    times: dict[Any, float] = {}
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset") and "dur" in event:
            identity = event.get("args", {}).get("External id")
            if identity is not None:
                times[identity] = times.get(identity, 0.0) + event["dur"]
    return times


def _shapes(dims: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    """Shapes of the tensors among the arguments; lists of tensors are lists of shapes."""
    shapes: list[tuple[int, ...]] = []
    for entry in dims:
        if entry and isinstance(entry[0], list):
            shapes.extend(_shapes(entry))
        elif entry:
            shapes.append(tuple(entry))
    return tuple(shapes)
