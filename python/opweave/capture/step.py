"""From a model to its graph: trace, tell the phases apart, join, write down."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from opweave.capture.captured import CapturedGraph
from opweave.capture.fusing import kernels
from opweave.capture.joining import Joined, Operator, join
from opweave.capture.loops import Loop, Loops, with_loops
from opweave.capture.phases import Phases
from opweave.capture.primitives import Primitive, Primitives, primitives, signatures
from opweave.capture.segments import Segments, block_names, by_block, by_module, layer_labels
from opweave.capture.torch_joint import Joint
from opweave.capture.torch_trace import trace
from opweave.capture.where_needed import made_where_needed
from opweave.errors import CaptureError, InputError
from opweave.graph import Graph
from opweave.run.runnable import make_runnable

# Bytes per parameter that an optimizer keeps, and that a step of it reads and writes, beside weights and gradients.
# Adam keeps two moments of 4 bytes; with weights below 4 bytes also a copy of them of 4 bytes.
_STATE_BYTES: dict[str, Callable[[int], int]] = {
    "adam": lambda weight: 8 if weight >= 4 else 12,
    "adamw": lambda weight: 8 if weight >= 4 else 12,
    "sgd": lambda weight: 0 if weight >= 4 else 4,
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""That a model may be captured in, by the names of device types."""
_OPTIMIZER_FLOPS = {"adam": 12, "adamw": 12, "sgd": 2}  # per parameter


@dataclass(frozen=True)
class Step:
    """A traced step, not yet joined to operators."""

    model: nn.Module
    """A copy that holds no memory."""
    primitives: Primitives
    loops: Loops
    joint: Joint
    without_gradient: list[str]
    """Trainable parameters for which the backward pass computes nothing."""
    tokens: int | None
    """Elements of the largest input of integers."""


def read_step(
    model: nn.Module | Callable[[], nn.Module],
    example_inputs: Sequence[Any] | Mapping[str, Any],
    *,
    loss: Callable[..., Any] | None = None,
    training: bool = True,
    assumed_size: int | None = None,
    target: Any = None,
    dtype: str | None = None,
) -> Step:
    """Trace and tell the phases apart; arguments as for opweave.capture."""
    if target is not None and loss is None:
        raise InputError("target: given without a loss, expected a function loss(output, target)")
    args, kwargs = arguments_of(example_inputs, target)
    joint = trace(model, args, kwargs, loss, target is not None, None if dtype is None else DTYPES[dtype])
    if loss is not None:
        _check_scalar(joint)
    trainable = [name for name, parameter in joint.model.named_parameters() if parameter.requires_grad]
    if training and trainable and not joint.gradient_of:
        raise CaptureError(
            f'no parameter gets a gradient, not even "{trainable[0]}": the loss does not depend on the model'
            "\nhint: training=False captures the forward pass alone"
        )
    calls = primitives(joint, Phases(joint), assumed_size)
    if not training:
        calls.calls = [call for call in calls.calls if call.phase == "F"]
    calls, loops = with_loops(calls, layer_labels(calls, joint.model))
    missing = joint.missing_gradients if training else []
    return Step(joint.model, calls, loops, joint, missing, _tokens((args, kwargs)))


def graph_of(
    step: Step,
    *,
    granularity: str = "operator",
    training: bool = True,
    optimizer: str | None = "adam",
    microbatches: int = 1,
    name: str | None = None,
    loss: Callable[..., Any] | None = None,
) -> CapturedGraph:
    """Join the calls of a step to operators; arguments as for opweave.capture."""
    made = calls_of(step, granularity)
    joined = _join(made, granularity, blocks_of(step), step.loops)
    _order_after_inputs(joined)
    _check_phases(joined)
    operators = [_described(operator, training) for operator in joined.operators]
    read = {parameter for operator in joined.operators for parameter in operator.parameters}
    settings: dict[str, Any] = {"microbatches": microbatches}
    if training:
        settings |= _add_optimizer(step, joined, read, optimizer, operators)
    title = name or type(step.model).__name__
    content = {
        "name": title,
        "training": settings,
        "parameters": [{"name": name, "bytes": size} for name, size in step.primitives.parameters.items()],
        "tensors": [{"name": name, "bytes": size} for name, size in joined.tensors.items()],
        "operators": operators,
    }
    if granularity == "block" and training:
        make_runnable(content)
    return CapturedGraph(
        Graph.from_dict(content, title)._core,
        {operator.name: operator.calls for operator in joined.operators},
        _repeated(step.primitives, step.model),
        step.primitives.uncounted,
        [parameter for parameter in step.primitives.parameters if parameter not in read],
        [parameter for parameter in step.without_gradient if parameter in read],
        {given.name: given.kind for given in step.joint.givens.values() if given.name in joined.tensors},
        granularity,
        kernels(joined, made),
        step.tokens,
        loss=loss,
    )


def _check_scalar(joint: Joint) -> None:
    for tangent in joint.tangents:
        value = tangent.meta["val"]
        if value.numel() != 1:
            raise CaptureError(f"loss: its result has the shape {tuple(value.shape)}, expected a scalar")


def _tokens(inputs: Any) -> int | None:
    tensors = (leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor))
    return max((tensor.numel() for tensor in tensors if tensor.dtype in (torch.int64, torch.int32)), default=None)


def arguments_of(
    example_inputs: Sequence[Any] | Mapping[str, Any], target: Any = None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Positional and keyword arguments of a traced step; the target, if there is one, is the first."""
    first = () if target is None else (target,)
    if isinstance(example_inputs, Mapping):
        return first, example_inputs
    if isinstance(example_inputs, (tuple, list)):
        return (*first, *example_inputs), {}
    return (*first, example_inputs), {}


def calls_of(step: Step, granularity: str) -> Primitives:
    """The calls that operators of this granularity are made of: those of the step; of blocks, each makes what no
    parameter has a part in."""
    if granularity != "block":
        return step.primitives
    return made_where_needed(step.primitives, step.joint, blocks_of(step))


def blocks_of(step: Step) -> Segments:
    """The repeated blocks of a step, and what lies between them."""
    return by_block(step.primitives, step.model, step.loops)


def joined_of(step: Step, granularity: str) -> Joined:
    """The calls of a step as operators, still without an optimizer."""
    if granularity not in ("operator", "module", "block"):
        raise InputError(f'granularity: value is "{granularity}", expected operator, module or block')
    return _join(calls_of(step, granularity), granularity, blocks_of(step), step.loops)


def _join(calls: Primitives, granularity: str, blocks: Segments, loops: Loops) -> Joined:
    if granularity == "operator":
        return join(calls, _alone_or_in_loops(calls, blocks, loops))
    segments = by_module(calls, loops) if granularity == "module" else blocks
    phases = _joined_phases(calls, segments.index_of)
    operators: dict[tuple[int, str], Operator] = {}

    def joined(call: Primitive) -> Operator:
        index = segments.index_of(call.position)
        phase = phases[index, call.phase]
        if (index, phase) not in operators:
            segment = segments.all[index]
            stage = blocks.index_of(segment.start)
            layer = segment.name.split("/")[0]
            operators[index, phase] = Operator(f"{segment.name}.{phase}", phase, stage, layer, granularity)
        return operators[index, phase]

    return join(calls, joined)


def _alone_or_in_loops(calls: Primitives, blocks: Segments, loops: Loops) -> Callable[[Primitive], Operator]:
    """An operator for every call, but one per phase for all calls of a loop over time."""
    phases = _joined_phases(calls, loops.at)
    names: dict[Loop, str] = {}
    for loop in loops.all:
        earlier = sum(name.split("/")[0] == loop.name for name in names.values())
        names[loop] = f"{loop.name}/{earlier + 1}" if earlier else loop.name
    operators: dict[str, Operator] = {}

    def operator_of(call: Primitive) -> Operator:
        loop = loops.at(call.position)
        if loop is None:
            path = f"{call.path}." if call.path else ""
            name = f"{path}{call.name}.{call.phase}"
            return Operator(name, call.phase, blocks.index_of(call.position), call.path, call.kind)
        phase = phases[loop, call.phase]
        name = f"{names[loop]}.{phase}"
        return operators.setdefault(name, Operator(name, phase, blocks.index_of(loop.end - 1), loop.path, "loop"))

    return operator_of


def _joined_phases(calls: Primitives, group_at: Callable[[int], Hashable | None]) -> dict[tuple[Hashable, str], str]:
    """Phase of the operator that calls of a phase go to, by what is joined at a place (None for nothing): calls that
    are I and W in one go with I, and make it B if there is no W."""
    present: dict[Hashable, set[str]] = {}
    for call in calls.calls:
        present.setdefault(group_at(call.position), set()).add(call.phase)
    result: dict[tuple[Hashable, str], str] = {}
    for group, phases in present.items():
        gradient = "B" if "B" in phases and "W" not in phases else "I"
        for phase in phases:
            result[group, phase] = gradient if phase in "IB" else phase
    return result


def _order_after_inputs(joined: Joined) -> None:
    """Where I also makes parameter gradients, W of the same parameters runs after it, so that an optimizer that waits
    for W has everything."""
    by_name = {operator.name: operator for operator in joined.operators}
    for operator in joined.operators:
        if operator.phase != "W":
            continue
        gradient = by_name.get(operator.name[:-1] + "I")
        makes_gradients = gradient is not None and any(call.phase == "B" for call in gradient.primitives)
        if gradient is not None and makes_gradients and not set(gradient.outputs) & set(operator.inputs):
            operator.after.append(gradient.name)


def _check_phases(joined: Joined) -> None:
    """What runs in the forward pass takes nothing from the backward pass, whatever the tags of torch said."""
    maker = {tensor: operator for operator in joined.operators for tensor in operator.outputs}
    for operator in joined.operators:
        for tensor in operator.inputs if operator.phase == "F" else ():
            if tensor in maker and maker[tensor].phase != "F":
                raise CaptureError(
                    f'operator "{operator.name}" of the forward pass takes "{tensor}" from "{maker[tensor].name}" '
                    "of the backward pass: the phases of this model are not known"
                )


def _described(operator: Operator, training: bool) -> dict[str, Any]:
    calls = operator.calls
    by_dtype: dict[str, float] = {}
    for call in calls:
        by_dtype[call.dtype] = by_dtype.get(call.dtype, 0.0) + call.flops + call.bytes / 1e9
    return {
        "name": operator.name,
        "kind": operator.kind,
        "phase": operator.phase if training else "",
        "flops": sum(call.flops for call in calls),
        "bytes_accessed": sum(call.bytes for call in calls),
        "dtype": max(by_dtype, key=lambda dtype: by_dtype[dtype]),
        "inputs": operator.inputs,
        "outputs": operator.outputs,
        "parameters": operator.parameters,
        "after": operator.after,
        "workspace_bytes": operator.workspace_bytes,
        "stage": operator.segment,
        "layer": operator.layer,
    }


def _add_optimizer(
    step: Step, joined: Joined, read: set[str], optimizer: str | None, operators: list[dict[str, Any]]
) -> dict[str, float]:
    """Append the operators of the optimizer; returns what training keeps per byte of weights, on average."""
    sizes = step.primitives.parameters
    learning = read.difference(step.without_gradient)
    trained = {
        name: parameter
        for name, parameter in step.model.named_parameters()
        if parameter.requires_grad and name in learning
    }
    kept: dict[str, int] = {}
    if optimizer is not None:
        state = _STATE_BYTES[optimizer]
        kept = {name: parameter.numel() * state(parameter.element_size()) for name, parameter in trained.items()}
        operators += _optimizer_steps(joined, trained, kept, sizes, optimizer)
    weights = sum(sizes.values())
    if not weights:
        return {}
    return {
        "gradient_bytes_per_weight_byte": sum(sizes[name] for name in trained) / weights,
        "optimizer_bytes_per_weight_byte": sum(kept.values()) / weights,
    }


def _optimizer_steps(
    joined: Joined,
    trainable: Mapping[str, nn.Parameter],
    kept: Mapping[str, int],
    weights: Mapping[str, int],
    optimizer: str,
) -> list[dict[str, Any]]:
    """One operator for all parameters that one operator reads first: they live on one device anyway."""
    first: dict[str, Operator] = {}
    for operator in joined.operators:
        for name in operator.parameters:
            first.setdefault(name, operator)
    groups: dict[str, list[str]] = {}
    for name in kept:
        groups.setdefault(first[name].name, []).append(name)
    steps = []
    used: dict[str, int] = {}
    for names in groups.values():
        operator = first[names[0]]
        owner = names[0].rpartition(".")[0] if len(operator.primitives) == 1 else operator.name.rpartition(".")[0]
        label = owner or "model"
        used[label] = used.get(label, 0) + 1
        if used[label] > 1:
            label = f"{label}/{used[label]}"
        elements = sum(trainable[name].numel() for name in names)
        # Reads weights, gradients and state; writes weights and state.
        moved = sum(3 * weights[name] + 2 * kept[name] for name in names)
        steps.append(
            {
                "name": f"{label}.O",
                "kind": optimizer,
                "phase": "O",
                "flops": _OPTIMIZER_FLOPS[optimizer] * elements,
                "bytes_accessed": moved,
                "dtype": "fp32",
                "parameters": names,
                "stage": operator.segment,
                "layer": operator.layer,
            }
        )
    return steps


def _repeated(step: Primitives, model: nn.Module) -> list[list[str]]:
    names = block_names(model)

    def block_of(call: Primitive) -> str:
        return next((name for name in names if call.path == name or call.path.startswith(name + ".")), "")

    groups: dict[tuple[str, ...], list[str]] = {}
    for block, calls in signatures(step.calls, block_of).items():
        if block:
            groups.setdefault(calls, []).append(block)
    return [group for group in groups.values() if len(group) > 1]
