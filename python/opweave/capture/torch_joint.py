"""The joint graph of forward and backward as PyTorch traces it.

The only place that uses private interfaces of torch: dynamo's graph capture and AOTAutograd's joint export with
descriptors. tests/python/test_torch_facts.py tests what is relied on here.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn
from torch._dynamo.functional_export import _dynamo_graph_capture_for_export
from torch._functorch._aot_autograd.descriptors import (
    BufferAOTInput,
    GradAOTOutput,
    ParamAOTInput,
    TangentAOTInput,
)
from torch._functorch.aot_autograd import aot_export_joint_with_descriptors
from torch._guards import TracingContext, tracing
from torch._higher_order_ops.wrap import tag_activation_checkpoint
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import CheckpointPolicy

from opweave.errors import CaptureError

log = logging.getLogger("opweave.capture")


@dataclass(frozen=True)
class Joint:
    """One traced step. Nodes of *graph* carry "val" in their meta; the module names of nodes are module_of()'s."""

    graph: Graph
    model: nn.Module
    """A copy of the model that holds no memory."""
    parameter_of: dict[Node, str]
    """Placeholders of parameters, by their name in the model."""
    gradient_of: dict[Node, list[str]]
    """Nodes that are gradients, with the parameters they belong to."""
    missing_gradients: list[str]
    """Trainable parameters of the graph for which backward computes nothing."""
    buffers: set[Node]
    tangents: set[Node]
    """Placeholders of the gradients of the model's outputs."""
    has_module_names: bool


def backward_nodes(joint: Joint) -> list[Node]:
    """Calls of the backward pass: the first that needs a gradient of an output, or is tagged as backward, and all after
    it, because the step is traced forward first. Not by tags alone: what the backward of a custom autograd function
    does has none."""
    from_gradients = set(joint.tangents)
    calls = [node for node in joint.graph.nodes if node.op == "call_function"]
    for index, node in enumerate(calls):
        if _is_tagged(node) or not from_gradients.isdisjoint(node.all_input_nodes):
            return calls[index:]
    return []


def _is_tagged(node: Node) -> bool:
    return node.meta.get("partitioner_tag") == "is_backward"


def operation_of(node: Node) -> Hashable | None:
    """Equal for all nodes of one backward operation and, where autograd numbers it, the forward operation that it
    belongs to; None for what nothing is known of."""
    if node.meta.get("partitioner_tag") is not None:
        number: Hashable = node.meta.get("seq_nr")
        return number
    # The backward of a custom autograd function is traced as a graph of its own; its nodes carry the number of the
    # last forward operation, which is not theirs.
    source = node.meta.get("from_node")
    return ("function", source[-1].graph_id) if source else None


@dataclass(frozen=True)
class Checkpoint:
    """What activation checkpointing says of a forward node."""

    region: int
    """Number of the part of the model that is checkpointed as one."""
    dropped: bool
    """Its result is not kept for the backward pass (selective checkpointing keeps some)."""
    depth: int
    """How many checkpoints it is inside of."""


def checkpoint_of(node: Node) -> Checkpoint | None:
    """The checkpoint that a forward node is part of; None outside of any."""
    policy = node.meta.get("recompute")
    region = node.meta.get("ac_graph_id")
    if policy is None or region is None:
        return None
    dropped = policy in (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)
    depth = sum(target is tag_activation_checkpoint for _, target in node.meta.get("source_fn_stack") or ())
    return Checkpoint(region, dropped, depth)


def module_of(node: Node) -> str | None:
    """Path of the innermost module whose forward made this node, or whose backward it is; None if unknown."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
    if not stack:
        return None
    path = str(list(stack.values())[-1][0])
    path = re.sub(r"@\d+", "", path)  # a module called again
    path = re.sub(r"\._modules\['([^']+)'\]|\['([^']+)'\]|\[(\d+)\]", _as_attribute, path)
    path = path.removeprefix("L.self").removeprefix(".").removeprefix("_export_root").removeprefix(".")
    return re.sub(r"^model(\.|$)", "", path)


def _as_attribute(match: re.Match[str]) -> str:
    return "." + next(group for group in match.groups() if group is not None)


class _Step(nn.Module):
    """A model and its loss as one module, so that names have one prefix whatever is traced."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.model(*args, **kwargs)
        return output if self.loss is None else self.loss(output)


def trace(
    model: nn.Module | Callable[[], nn.Module],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    loss: Callable[..., Any] | None,
) -> Joint:
    """Trace forward and backward of loss(model(*args, **kwargs)) on fake tensors, which hold no memory.

    Never on the meta device: there F.cross_entropy gives no gradients, without an error.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    model = _fake_model(model, mode)
    inputs = tree_map_only(torch.Tensor, lambda tensor: _fake_input(tensor, mode), (args, dict(kwargs)))
    step = _Step(model, loss)
    graph, has_module_names = _joint_graph(step, inputs[0], inputs[1], mode)
    return _described(graph, model, has_module_names)


def _fake_model(model: nn.Module | Callable[[], nn.Module], mode: FakeTensorMode) -> nn.Module:
    if not isinstance(model, nn.Module):
        with mode:
            model = model()
        if not isinstance(model, nn.Module):
            raise CaptureError(f"model: the function returned {type(model).__name__}, expected a torch.nn.Module")
    if any(not isinstance(tensor, FakeTensor) or tensor.fake_mode is not mode for tensor in _tensors(model)):
        with FakeCopyMode(mode):
            model = copy.deepcopy(model)
        _leave_meta(model, mode)
    return model


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _leave_meta(model: nn.Module, mode: FakeTensorMode) -> None:
    """Tensors of a model that was built on the meta device, as fake tensors of the processor; ties are kept."""
    replaced: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None or tensor.device.type != "meta":
                    continue
                if id(tensor) not in replaced:
                    with mode:
                        new: torch.Tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                        if isinstance(tensor, nn.Parameter):
                            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                    replaced[id(tensor)] = new
                store[name] = replaced[id(tensor)]  # type: ignore[assignment]


def _fake_input(tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    device = "cpu" if tensor.device.type == "meta" else tensor.device
    with mode:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def _joint_graph(
    step: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode
) -> tuple[Graph, bool]:
    """The ladder: with dynamo (module names, and shapes that depend on data), else without, else an error."""
    try:
        with _quiet():
            traced = _dynamo_graph_capture_for_export(step)(*args, **kwargs)
            _refuse_reentrant(traced)
            return _export(traced, args, kwargs, mode), True
    except CaptureError:
        raise
    except Exception as error:
        first = error
    try:
        with _quiet(), _refusing_checkpoints(_first_line(first)):
            graph = _export(step, args, kwargs, mode)
    except CaptureError:
        raise
    except Exception:
        raise _explained(first, step, args, kwargs, mode) from first
    reason = _first_line(first)
    log.warning("captured without dynamo, so module names come from parameters alone (%s)", reason)
    return graph, False


def _refuse_reentrant(traced: nn.Module) -> None:
    """Reentrant checkpointing runs all of its part again, also what no gradient needs; dynamo does not say so later."""
    for module in traced.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            if node.target is tag_activation_checkpoint and node.kwargs.get("use_reentrant"):
                raise CaptureError(
                    f'module "{module_of(node) or ""}": reentrant activation checkpointing is not captured'
                    "\nhint: checkpoint(..., use_reentrant=False)"
                )


@contextmanager
def _refusing_checkpoints(reason: str) -> Iterator[None]:
    """Without dynamo nothing tells what activation checkpointing drops; it would be as if it kept everything."""

    def refuse(*_: Any, **__: Any) -> None:
        raise CaptureError(
            f"the model uses activation checkpointing, which is captured by dynamo alone, and dynamo says: {reason}"
        )

    original = torch.utils.checkpoint._checkpoint_without_reentrant_generator
    torch.utils.checkpoint._checkpoint_without_reentrant_generator = refuse
    try:
        yield
    finally:
        torch.utils.checkpoint._checkpoint_without_reentrant_generator = original


def _export(traced: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode) -> Graph:
    with ExitStack() as stack:
        stack.enter_context(tracing(TracingContext(mode)))
        stack.enter_context(mode)
        joint = aot_export_joint_with_descriptors(stack, traced, args, kwargs)
        graph: Graph = joint.graph_module.graph
        owner = dict(traced.named_parameters(remove_duplicate=False))
    for node in graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("desc"), ParamAOTInput):
            node.meta["opweave_parameter"] = owner.get(node.meta["desc"].target)
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Errors of tracing are raised; what torch logs of them would only repeat them."""
    logger = logging.getLogger("torch")
    disabled = logging.root.manager.disable
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    logging.disable(max(disabled, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(disabled)
        logger.setLevel(level)


def _explained(
    error: Exception, step: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], mode: FakeTensorMode
) -> CaptureError:
    """The error of tracing, with the module that it comes from: the one in which a run on fake tensors ends."""
    path: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: path.append(name)

    def leave(*_: Any) -> None:
        path.pop()

    hooks = []
    for name, module in step.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave))
    try:
        with mode, _quiet():
            step(*args, **kwargs)
        path.clear()  # it runs, so nothing is known but what dynamo says
    except Exception as failure:
        if _depends_on_data(failure) or not _depends_on_data(error):
            error = failure
    finally:
        for hook in hooks:
            hook.remove()
    name = re.sub(r"^model(\.|$)", "", path[-1] if path else "")
    where = f'module "{name}"' if name else "the model"
    if _depends_on_data(error):
        return CaptureError(
            f"{where}: it branches on the values of tensors, which have none while it is captured"
            "\nhint: capture a version whose control flow depends on shapes alone"
        )
    return CaptureError(f"{where}: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _depends_on_data(error: Exception) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return any("DataDependent" in name for name in names) or "data-dependent" in str(error).lower()


def _described(graph: Graph, model: nn.Module, has_module_names: bool) -> Joint:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameter_of: dict[Node, str] = {}
    by_target: dict[str, str] = {}
    buffers: set[Node] = set()
    tangents: set[Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            buffers.add(node)
        if node.op != "placeholder":
            continue
        descriptor = node.meta.get("desc")
        if isinstance(descriptor, ParamAOTInput):
            name = names.get(id(node.meta.get("opweave_parameter")))
            if name is None:
                raise CaptureError(f'parameter "{descriptor.target}" of the traced graph is none of the model\'s')
            parameter_of[node] = by_target[descriptor.target] = name
        elif isinstance(descriptor, BufferAOTInput):
            buffers.add(node)
        elif isinstance(descriptor, TangentAOTInput):
            tangents.add(node)
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    gradient_of: dict[Node, list[str]] = {}
    missing = []
    for value, descriptor in zip(output.args[0], output.meta["desc"], strict=True):
        if not isinstance(descriptor, GradAOTOutput) or not isinstance(descriptor.grad_of, ParamAOTInput):
            continue
        name = by_target[descriptor.grad_of.target]
        if isinstance(value, Node):
            gradient_of.setdefault(value, []).append(name)
        elif name in trainable:
            missing.append(name)
    return Joint(graph, model, parameter_of, gradient_of, missing, buffers, tangents, has_module_names)
