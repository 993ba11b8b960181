"""Times measured on this machine, one per distinct call."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from opweave.arguments import expect
from opweave.costs.attention import is_attention, portable
from opweave.costs.call import Call
from opweave.costs.call_records import TensorSpec
from opweave.costs.calls import calls_of
from opweave.errors import InputError
from opweave.graph import Graph


def measured(
    graph: Graph,
    *,
    device: str | None = None,
    device_type: str = "",
    seconds_per_call: float = 0.05,
    cache: str | os.PathLike[str] | None = None,
) -> Graph:
    """The captured graph with durations measured on *device*: every distinct call is run with random values.

    A call is warmed up once, then repeated for *seconds_per_call* (at least 3 times); its time is the median. Equal
    calls of different layers are measured once, so a model of many equal layers costs no more than one. Optimizer steps
    are measured with torch.optim on as many parameters.

    Args:
        graph: From opweave.capture.
        device: "cuda", "cpu", ...; None takes a GPU if there is one. A CPU is measured with the threads of torch in
            this process: call torch.set_num_threads with what the processes of a run will have (1 by `launch`).
        device_type: The type of devices that the durations hold for; "" stands for every type.
        seconds_per_call: Of repetition.
        cache: A JSON file of times by device and call, read first and written at the end.

    Raises InputError for a graph that was not captured and for an unknown device.
    """
    import torch

    expect(graph, Graph, "graph", "an opweave.Graph")
    if not hasattr(graph, "calls"):
        raise InputError("measured: the graph has no calls to repeat, expected one from opweave.capture")
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    stopwatch = _Stopwatch(torch.device(device), seconds_per_call)
    known = _read(cache)
    name = torch.cuda.get_device_name() if stopwatch.device.type == "cuda" else f"cpu x {torch.get_num_threads()}"
    times = known.setdefault(name, {})

    def time_of(signature: str, run: Callable[[], Callable[[], Any]]) -> float:
        if signature not in times:
            times[signature] = stopwatch.median_ns(run())
        return times[signature]

    durations: dict[str, dict[str, int]] = {}
    for op in graph.operators:
        if op.get("phase") == "O":
            elements = max(1, int(op["flops"]) // _FLOPS_PER_ELEMENT[op["kind"]])
            signature = f"{op['kind']}({elements})"
            total = time_of(signature, lambda op=op, n=elements: _optimizer_step(op["kind"], n, stopwatch.device))  # type: ignore[misc]
        else:
            calls = calls_of(graph, op["name"])
            total = sum(time_of(call.signature, lambda call=call: _repeat(call, stopwatch.device)) for call in calls)  # type: ignore[misc]
        durations[op["name"]] = {device_type: math.ceil(total)}
    _write(cache, known)
    return graph.with_durations(durations, f"measured call by call on {name}")


_FLOPS_PER_ELEMENT = {"adam": 12, "adamw": 12, "sgd": 2}  # as capture counts them


class _Stopwatch:
    def __init__(self, device: Any, seconds: float) -> None:
        self.device = device
        self._seconds = seconds

    def median_ns(self, run: Callable[[], Any]) -> float:
        """Median of repeated runs; on a GPU, of the time between events on its stream."""
        import torch

        run()
        samples: list[float] = []
        end = time.perf_counter() + self._seconds
        while len(samples) < 3 or (time.perf_counter() < end and len(samples) < 1000):
            if self.device.type == "cuda":
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
                first.record()
                run()
                last.record()
                last.synchronize()
                samples.append(first.elapsed_time(last) * 1e6)
            else:
                start = time.perf_counter_ns()
                run()
                samples.append(time.perf_counter_ns() - start)
        return statistics.median(samples)


def _repeat(call: Call, device: Any) -> Callable[[], Any]:
    """The call on new tensors: random floats, and integers of 0, which are valid indices everywhere."""
    import torch
    from torch.utils._pytree import tree_map, tree_map_only

    def make(spec: TensorSpec) -> torch.Tensor:
        # Elements may share memory (expanded tensors), so the memory is filled, not the elements.
        extent = 1 + sum((size - 1) * step for size, step in zip(spec.shape, spec.stride, strict=True) if size)
        memory = torch.empty(extent, dtype=spec.dtype, device=device)
        memory = memory.normal_() if spec.dtype.is_floating_point else memory.zero_()
        return memory.as_strided(spec.shape, spec.stride)

    def here(value: Any) -> Any:
        return device if isinstance(value, torch.device) else value

    args, kwargs = tree_map(here, tree_map_only(TensorSpec, make, (call.args, call.kwargs)))
    if is_attention(call) and device.type != "cpu":
        return portable(call, args, kwargs)

    def run() -> Any:
        with torch.no_grad():
            return call.target(*args, **kwargs)

    return run


def _optimizer_step(kind: str, elements: int, device: Any) -> Callable[[], Any]:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(elements, device=device))
    parameter.grad = torch.ones_like(parameter)
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    return classes[kind]([parameter], lr=1e-3).step


def _read(cache: str | os.PathLike[str] | None) -> dict[str, dict[str, float]]:
    if cache is None or not os.path.exists(cache):
        return {}
    try:
        with open(cache, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise InputError(f"{os.fspath(cache)}: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(times, dict) for times in content.values()):
        raise InputError(f"{os.fspath(cache)}: expected an object of times by device and call")
    return content


def _write(cache: str | os.PathLike[str] | None, known: dict[str, dict[str, float]]) -> None:
    if cache is not None:
        from opweave import _core

        _core.write_file(os.fspath(cache), json.dumps(known, indent=1) + "\n")
