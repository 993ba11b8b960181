"""Times read from a trace of the PyTorch profiler."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

from opweave.arguments import expect
from opweave.costs.attention import is_attention, profiler_names
from opweave.costs.call import Call
from opweave.costs.call_records import TensorSpec
from opweave.costs.calls import calls_of
from opweave.costs.profile_file import Key, read_profile
from opweave.errors import InputError
from opweave.graph import Graph


def profiled(
    graph: Graph,
    trace: str | os.PathLike[str],
    *,
    device_type: str = "",
    fallback: Graph | None = None,
    most_fallback: float = 0.5,
) -> Graph:
    """The captured graph with durations from a trace of a training step.

    The trace is what ``torch.profiler.profile(record_shapes=True)`` exports (``export_chrome_trace``), also as
    ``.json.gz``. A call takes the median time of the operators of the trace with its name and tensor shapes: of the
    kernels that they started, where there are any, else of the operators themselves. The operators of the optimizer
    (phase O) share the time of ``optimizer.step()`` by the bytes that they move.

    Args:
        graph: From opweave.capture, of the model with the shapes that were profiled.
        trace: The file.
        device_type: The type of devices that the durations hold for; "" stands for every type.
        fallback: The same graph with durations, for operators that the trace does not have. A warning says how many.
        most_fallback: Largest share of the time of all operators that may come from *fallback*, 0 to 1.

    Raises InputError for a file that is no such trace, for an operator that is in neither, and where more than
    *most_fallback* of the time comes from *fallback*.
    """
    expect(graph, Graph, "graph", "an opweave.Graph")
    if not hasattr(graph, "calls"):
        raise InputError("profiled: the graph has no calls to look up, expected one from opweave.capture")
    if not 0 <= most_fallback <= 1:
        raise InputError(f"most_fallback: value is {most_fallback}, expected 0 to 1")
    path = os.fspath(trace)
    profile = read_profile(path)
    optimizer = _optimizer_times(graph, profile.optimizer_ns)
    known = {} if fallback is None else {op["name"]: op.get("duration_ns") for op in fallback.operators}
    durations: dict[str, Any] = {}
    guessed: list[str] = []
    for op in graph.operators:
        name, calls = op["name"], calls_of(graph, op["name"])
        found = [_find(profile.times_ns, call) for call in calls] or [optimizer.get(name)]
        if None not in found:
            durations[name] = {device_type: math.ceil(sum(time for time in found if time is not None))}
        elif known.get(name) is not None:
            durations[name] = known[name]
            guessed.append(name)
        else:
            raise _missing(path, op, next((c for c, time in zip(calls, found, strict=False) if time is None), None))
    if guessed:
        _judge(path, durations, guessed, most_fallback)
    rest = f", {len(guessed)} operators {fallback.times_from}" if guessed and fallback is not None else ""
    return graph.with_durations(durations, f"profile {os.path.basename(path).removesuffix('.gz')}{rest}")


def _optimizer_times(graph: Graph, step_ns: float | None) -> dict[str, float]:
    """The time of a step of the optimizer, shared among its operators by the bytes that they move."""
    moved = {op["name"]: op.get("bytes_accessed", 0) for op in graph.operators if op.get("phase") == "O"}
    total = sum(moved.values())
    return {} if step_ns is None or not total else {name: step_ns * size / total for name, size in moved.items()}


def _missing(path: str, op: Mapping[str, Any], call: Call | None) -> InputError:
    if call is None and op.get("phase") == "O":
        return InputError(
            f'{path}: no step of an optimizer for operator "{op["name"]}" ({op["kind"]})'
            "\nhint: give fallback, or profile optimizer.step() as well, or capture with optimizer=None"
        )
    what = op["kind"] if call is None else call.signature
    return InputError(
        f'{path}: no operator for "{what}" of operator "{op["name"]}"'
        "\nhint: give fallback, for example the graph with costs.analytic"
    )


def _judge(path: str, durations: Mapping[str, Any], guessed: list[str], most: float) -> None:
    """Says what comes from the fallback; too much of it is an error."""
    length = {name: max(time.values()) if isinstance(time, Mapping) else time for name, time in durations.items()}
    total = sum(length.values())
    share = sum(length[name] for name in guessed) / total if total else 1.0
    said = (
        f"{path}: {len(guessed)} of {len(durations)} operators, {share:.1%} of the time, are not in the trace and come "
        f'from fallback, the first is "{guessed[0]}"'
    )
    if share > most:
        raise InputError(f"{said}; expected at most {most:.0%} of the time\nhint: most_fallback=1 takes any share")
    warnings.warn(said, stacklevel=3)


def _key(call: Call) -> Key:
    from torch.utils._pytree import tree_leaves

    shapes = [leaf.shape for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, TensorSpec)]
    return call.kind.replace(".", "::"), tuple(shape for shape in shapes if shape)


def _find(times: Mapping[Key, float], call: Call) -> float | None:
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
