"""The joint graph of forward and backward as PyTorch traces it.

The only place that uses private interfaces of torch: dynamo's graph capture and AOTAutograd's joint export with
descriptors. tests/python/test_torch_facts.py tests what is relied on here.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
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
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

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


def is_forward(node: Node) -> bool:
    """Part of the forward pass (placeholders of parameters and inputs too)."""
    return node.meta.get("partitioner_tag") != "is_backward"


def module_of(node: Node) -> str | None:
    """Path of the innermost module whose forward made this node, or whose backward it is; None if unknown."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
    if not stack:
        return None
    path = str(list(stack.values())[-1][0])
    path = re.sub(r"@\d+", "", path)  # a module called again
    path = re.sub(r"\._modules\['([^']+)'\]|\['([^']+)'\]|\[(\d+)\]", _as_attribute, path)
    path = path.removeprefix("L.self.").removeprefix("L.self")
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
            return _export(_dynamo_graph_capture_for_export(step)(*args, **kwargs), args, kwargs, mode), True
    except Exception as error:
        first = error
    try:
        with _quiet():
            graph = _export(step, args, kwargs, mode)
    except Exception:
        raise _explained(first, step, args, kwargs, mode) from first
    reason = _first_line(first)
    log.warning("captured without dynamo, so module names come from parameters alone (%s)", reason)
    return graph, False


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
