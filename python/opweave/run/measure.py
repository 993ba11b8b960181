"""From modules and how they are wired to a graph with measured times and bytes, ready to be planned."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from opweave.graph import Graph
from opweave.run.backward import BackwardSplit, SegmentBackward, boundary
from opweave.run.clock import Clock
from opweave.run.errors import ProgramError
from opweave.run.step import LossFunction


@dataclass
class _Costs:
    """Of one segment and one microbatch; times in nanoseconds, one entry per repetition."""

    times: dict[str, list[int]] = field(default_factory=lambda: {"F": [], "I": [], "W": []})
    output_bytes: list[int] = field(default_factory=list)
    has_gradient: list[bool] = field(default_factory=list)  # of each output
    kept_bytes: int = 0  # from F to W
    flow_bytes: int = 0  # from I to W


def measured_graph(
    segments: Mapping[str, nn.Module],
    wiring: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Any],
    target: Any,
    loss_fn: LossFunction | Mapping[str, LossFunction],
    *,
    microbatches: int,
    repeats: int = 5,
    split: BackwardSplit = "graph",
    gradient_bytes_per_weight_byte: float = 1,
    optimizer_bytes_per_weight_byte: float = 0,
    name: str = "model",
) -> Graph:
    """Runs one microbatch of a model in this process, `repeats` times after a warm-up, and returns its graph.

    `wiring` gives for every segment, in an order in which they can run, where its arguments come from: "encoder" (the
    output of that segment), "encoder:1" (its second output), or the name of an entry of `inputs` (one microbatch).
    The graph has the operators "<segment>.F", ".I" and ".W" with the median of their times on this machine, tensors
    with their bytes (what F keeps for I and W, and I for W, too) and parameters. Segments without parameters have no W,
    those that no gradient reaches F alone. All operators of a segment share a device.

    Gradients and buffers of the modules are as before afterwards. torch uses as many threads as it has in this process:
    call torch.set_num_threads with what the processes of the run will have (1 by `launch`).
    """
    _check(segments, wiring, inputs)
    costs = {segment: _Costs() for segment in wiring}
    with unchanged(segments.values()):
        for repeat in range(repeats + 1):
            _microbatch(segments, wiring, inputs, target, loss_fn, split, costs)
            if repeat == 0:  # the warm-up
                for cost in costs.values():
                    cost.times = {phase: [] for phase in cost.times}
    training = {
        "microbatches": microbatches,
        "gradient_bytes_per_weight_byte": gradient_bytes_per_weight_byte,
        "optimizer_bytes_per_weight_byte": optimizer_bytes_per_weight_byte,
    }
    graph = Graph.from_dict({"name": name, "training": training, **_content(segments, wiring, inputs, costs)})
    graph.times_from = "measured module by module in this process"
    return graph


@contextlib.contextmanager
def unchanged(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Gradients and buffers are afterwards what they were before."""
    modules = list(modules)
    gradients = {parameter: parameter.grad for module in modules for parameter in module.parameters()}
    buffers = {buffer: buffer.clone() for module in modules for buffer in module.buffers()}
    for parameter in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)


def _check(segments: Mapping[str, nn.Module], wiring: Mapping[str, Sequence[str]], inputs: Mapping[str, Any]) -> None:
    placed: set[str] = set()
    for segment, sources in wiring.items():
        if segment not in segments:
            raise ProgramError(f"segment {segment!r} has no module")
        if len(set(sources)) < len(sources):
            raise ProgramError(f"segment {segment!r} takes a tensor twice, expected different ones")
        for source in sources:
            if source not in inputs and source.split(":")[0] not in placed:
                raise ProgramError(
                    f"segment {segment!r} takes {source!r}, expected an input or the output of a segment before it"
                )
        placed.add(segment)


def _tensor(source: str) -> tuple[str, int]:
    """Segment and number of an output."""
    segment, _, number = source.partition(":")
    return segment, int(number or 0)


def _microbatch(
    segments: Mapping[str, nn.Module],
    wiring: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Any],
    target: Any,
    loss_fn: LossFunction | Mapping[str, LossFunction],
    split: BackwardSplit,
    costs: dict[str, _Costs],
) -> None:
    """One microbatch forward, then back, each segment on its own as the executor runs it."""
    values: dict[tuple[str, int], Tensor] = {}
    gradients: dict[tuple[str, int], Tensor] = {}
    backwards: dict[str, SegmentBackward] = {}
    consumed = {_tensor(source) for sources in wiring.values() for source in sources if source not in inputs}
    for segment, sources in wiring.items():
        module, cost = segments[segment], costs[segment]
        leaves = {s: values[_tensor(s)].detach() for s in sources if s not in inputs}
        for source, leaf in leaves.items():
            leaf.requires_grad_(leaf.is_floating_point() and values[_tensor(source)].requires_grad)
        arguments = [inputs[s] if s in inputs else leaves[s] for s in sources]
        kept = _Kept(list(module.parameters()))
        is_sink = all(producer != segment for producer, _ in consumed)

        def forward(
            module: nn.Module = module, arguments: list[Any] = arguments, is_sink: bool = is_sink, name: str = segment
        ) -> list[Tensor]:
            made = module(*arguments)
            if is_sink:
                loss = loss_fn[name] if isinstance(loss_fn, Mapping) else loss_fn
                made = loss(made, target)
            return [boundary(value) for value in (made if isinstance(made, (tuple, list)) else (made,))]

        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda value: value):
            outputs = _timed(cost, "F", forward)
        unused = [i for i in range(len(outputs)) if not is_sink and (segment, i) not in consumed]
        if unused:
            raise ProgramError(f"no segment takes output {unused[0]} of segment {segment!r}")
        cost.kept_bytes = kept.bytes
        cost.output_bytes = [value.nbytes for value in outputs]
        cost.has_gradient = [value.requires_grad for value in outputs]
        values.update({(segment, i): value for i, value in enumerate(outputs)})
        backwards[segment] = SegmentBackward(module, list(leaves.values()), outputs, split)
    for segment in reversed(list(wiring)):
        cost, backward = costs[segment], backwards[segment]
        if not any(cost.has_gradient):
            continue
        flows = [gradients.get((segment, i)) for i in range(len(cost.output_bytes))]
        found = _timed(cost, "I", partial(backward.input_gradients, flows))
        cost.flow_bytes = backward.held_bytes()
        if backward.parameters:
            _timed(cost, "W", partial(backward.weight_gradients, flows))
        sources = [source for source in wiring[segment] if source not in inputs]
        for source, gradient in zip(sources, found, strict=True):
            if gradient is not None:
                tensor = _tensor(source)
                gradients[tensor] = gradients[tensor] + gradient if tensor in gradients else gradient


def _timed(cost: _Costs, phase: str, work: Callable[[], Any]) -> Any:
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    clock = Clock(torch.device("cuda" if on_gpu else "cpu"))
    start = clock.mark()
    result = work()
    end = clock.mark()
    clock.finish()
    cost.times[phase].append(clock.ns(end) - clock.ns(start))
    return result


class _Kept:
    """Counts the bytes that autograd keeps for a backward, each storage once and parameters not at all."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.seen = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        self.bytes = 0

    def pack(self, value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return value


def _content(
    segments: Mapping[str, nn.Module],
    wiring: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Any],
    costs: dict[str, _Costs],
) -> dict[str, Any]:
    """Operators, tensors and parameters as in a graph file."""
    tensors: dict[str, int] = {}
    consumers: dict[tuple[str, int], list[str]] = {}
    for segment, sources in wiring.items():
        for source in sources:
            if source in inputs:
                tensors[source] = inputs[source].nbytes if isinstance(inputs[source], Tensor) else 0
            else:
                consumers.setdefault(_tensor(source), []).append(segment)
    forward, backward = [], []
    for stage, (segment, sources) in enumerate(wiring.items()):
        cost = costs[segment]
        common: dict[str, Any] = {"colocation": segment, "stage": stage, "layer": segment}
        if any(True for _ in segments[segment].parameters()):
            common["parameters"] = [f"{segment}.weights"]

        def operator(
            phase: str,
            takes: list[str],
            gives: list[str],
            name: str = segment,
            cost: _Costs = cost,
            common: dict[str, Any] = common,
        ) -> dict[str, Any]:
            duration = round(statistics.median(cost.times[phase]))
            head = {"name": f"{name}.{phase}", "phase": phase, "duration_ns": duration}
            return {**head, "inputs": takes, "outputs": gives, **common}

        outputs = [i for i in range(len(cost.output_bytes)) if (segment, i) in consumers]
        tensors.update({f"{segment}:{i}": cost.output_bytes[i] for i in outputs})
        kept = []
        if any(cost.has_gradient):
            kept = [f"{segment}.kept"]
            tensors[kept[0]] = cost.kept_bytes
        takes = [s if s in inputs else "{}:{}".format(*_tensor(s)) for s in sources]
        forward.append(operator("F", takes, [f"{segment}:{i}" for i in outputs] + kept))
        if not kept:
            continue
        returned = []
        for source in [s for s in sources if s not in inputs]:
            producer, number = _tensor(source)
            if costs[producer].has_gradient[number]:
                returned.append(f"gradient of {producer}:{number} from {segment}")
                tensors[returned[-1]] = costs[producer].output_bytes[number]
        taken = [
            f"gradient of {segment}:{i} from {consumer}"
            for i in outputs
            if cost.has_gradient[i]
            for consumer in consumers[segment, i]
        ]
        learns = bool(cost.times["W"])
        flow = [f"{segment}.flow"] if learns else []
        tensors.update(dict.fromkeys(flow, cost.flow_bytes))
        backward.append(operator("I", taken + kept, returned + flow))
        if learns:
            backward.append(operator("W", kept + flow, []))
    parameters = [
        {"name": f"{name}.weights", "bytes": sum(p.nbytes for p in segments[name].parameters())}
        for name in wiring
        if any(True for _ in segments[name].parameters())
    ]
    return {
        "parameters": parameters,
        "tensors": [{"name": tensor, "bytes": size} for tensor, size in tensors.items()],
        "operators": forward + backward,
    }
