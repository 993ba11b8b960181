"""Tracing of a step: by dynamo and AOTAutograd, else by AOTAutograd alone, else with the values of integer inputs."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.fx.traceback
import torch.utils.checkpoint
from torch import nn
from torch._dynamo import functional_export
from torch._dynamo.functional_export import _dynamo_graph_capture_for_export
from torch._functorch._aot_autograd.descriptors import BufferAOTInput, ParamAOTInput
from torch._functorch.aot_autograd import aot_export_joint_with_descriptors
from torch._guards import TracingContext, tracing
from torch._higher_order_ops.wrap import tag_activation_checkpoint
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_map_only

from opweave.capture.givens import names_of_leaves, tensors_of
from opweave.capture.torch_described import Origin, described
from opweave.capture.torch_errors import depends_on_data, explained, first_line, quiet
from opweave.capture.torch_joint import Joint, module_of
from opweave.capture.torch_values import KnowingMode, reading_values
from opweave.errors import CaptureError

log = logging.getLogger("opweave.capture")


class _Step(nn.Module):
    """A model and its loss as one module, so that names have one prefix whatever is traced."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None, has_target: bool) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.has_target = has_target

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.loss is None:
            return self.model(*args, **kwargs)
        if self.has_target:
            return self.loss(self.model(*args[1:], **kwargs), args[0])
        return self.loss(self.model(*args, **kwargs))


class _Fakes:
    """A step and its inputs on tensors of one fake mode, which hold no memory."""

    def __init__(
        self,
        mode: FakeTensorMode,
        model: nn.Module | Callable[[], nn.Module],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        loss: Callable[..., Any] | None,
        has_target: bool,
        dtype: torch.dtype | None,
    ) -> None:
        self.mode = mode
        self._dtype = dtype
        self.model = _fake_model(model, mode)
        if dtype is not None:
            _convert(self.model, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        if isinstance(mode, KnowingMode):
            for tensor in _tensors(self.model):  # weights are no control
                mode.forget(tensor)
        self.step = _Step(self.model, loss, has_target)
        self.args, self.kwargs = tree_map_only(torch.Tensor, self._fake_input, (args, dict(kwargs)))
        self.origin = Origin(
            self.model, names_of_leaves(self.model, args, kwargs, has_target), loss, isinstance(mode, KnowingMode)
        )

    def _fake_input(self, tensor: torch.Tensor) -> torch.Tensor:
        device = "cpu" if tensor.device.type == "meta" else tensor.device
        dtype = self._dtype if self._dtype and tensor.is_floating_point() else tensor.dtype
        with self.mode:
            fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=device)
        fake.requires_grad_(tensor.requires_grad)
        if isinstance(self.mode, KnowingMode) and _has_integers(tensor):
            self.mode.know(fake, tensor.detach().clone())
        return fake

    def export(self, traced: nn.Module) -> Graph:
        """The joint graph of the step, or of what dynamo made of it."""
        with ExitStack() as stack:
            stack.enter_context(tracing(TracingContext(self.mode)))
            stack.enter_context(self.mode)
            joint = aot_export_joint_with_descriptors(stack, traced, self.args, self.kwargs)
            graph: Graph = joint.graph_module.graph
            held: dict[str, torch.Tensor] = {}
            held.update(traced.named_parameters(remove_duplicate=False))
            held.update(traced.named_buffers(remove_duplicate=False))
        for node in graph.nodes:
            if node.op == "placeholder" and isinstance(node.meta.get("desc"), (ParamAOTInput, BufferAOTInput)):
                node.meta["opweave_tensor"] = held.get(node.meta["desc"].target)
        return graph


def _has_integers(tensor: torch.Tensor) -> bool:
    """An input whose values control flow may depend on, if it has any."""
    known = tensor.device.type != "meta" and not isinstance(tensor, FakeTensor)
    return known and not tensor.is_floating_point() and not tensor.is_complex()


def trace(
    model: nn.Module | Callable[[], nn.Module],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    loss: Callable[..., Any] | None,
    has_target: bool = False,
    dtype: torch.dtype | None = None,
) -> Joint:
    """Trace forward and backward of loss(model(*args, **kwargs)) on fake tensors, which hold no memory.

    With *has_target*, of loss(model(*args[1:], **kwargs), args[0]). With *dtype*, all floating-point tensors of the
    model and of its inputs have it.

    Never on the meta device: there F.cross_entropy gives no gradients, without an error.
    """

    def fakes(mode: type[FakeTensorMode]) -> _Fakes:
        fake = mode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        return _Fakes(fake, model, args, kwargs, loss, has_target, dtype)

    with without_onednn():
        return _traced(fakes)


def _traced(fakes: Callable[[type[FakeTensorMode]], _Fakes]) -> Joint:
    """The ladder: with dynamo, without it, with the values of integers, else an error."""
    plain = fakes(FakeTensorMode)
    try:
        with quiet():
            with _as_in_training():
                traced = _dynamo_graph_capture_for_export(plain.step)(*plain.args, **plain.kwargs)
            _refuse_reentrant(traced)
            return described(plain.export(traced), plain.origin)
    except CaptureError:
        raise
    except Exception as error:
        first = error
    for knowing in (False, True):
        attempt = fakes(KnowingMode) if knowing else plain
        try:
            with quiet(), _refusing_checkpoints(first_line(first)), _naming(attempt.step), reading_values(knowing):
                graph = attempt.export(attempt.step)
        except CaptureError:
            raise
        except Exception as error:
            if not depends_on_data(error):
                break
            continue
        how = "with the values of integers" if knowing else "without dynamo"
        log.warning("captured %s (%s)", how, first_line(first))
        return described(graph, attempt.origin)
    raise explained(first, plain.step, plain.args, plain.kwargs, plain.mode) from first


def reassigned_tensors(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """Buffers and other tensors of a traced model in whose place its forward pass puts other ones, by their paths; none
    where the pass ends early. Dynamo leaves such assignments out of what it traces."""
    before = {name: tensor for name, tensor, _ in tensors_of(model)}
    mode = next((t.fake_mode for t in _tensors(model) if isinstance(t, FakeTensor)), None)
    if mode is None or not before:
        return []

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)

    args, kwargs = tree_map_only(torch.Tensor, fake, (args, dict(kwargs)))
    with quiet(), suppress(Exception), mode, torch.no_grad():
        model(*args, **kwargs)
    return [name for name, tensor, _ in tensors_of(model) if tensor is not before.get(name, tensor)]


def _fake_model(model: nn.Module | Callable[[], nn.Module], mode: FakeTensorMode) -> nn.Module:
    if not isinstance(model, nn.Module):
        try:
            with mode:
                model = model()
        except RuntimeError as error:
            raise CaptureError(
                f"model: the function that builds it: {first_line(error)}"
                "\nhint: leave conversions such as .to(torch.bfloat16) to the argument dtype, or give the model itself"
            ) from error
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
    """Tensors of a model that was built on the meta device, as fake tensors of the processor."""

    def here(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "meta":
            return tensor
        with mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")

    _convert(model, here)


def _convert(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replaces parameters and buffers; what was one tensor stays one. Module.to cannot do this with fake tensors."""
    replaced: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                if id(tensor) not in replaced:
                    with torch.no_grad():
                        new = change(tensor)
                    if new is not tensor and isinstance(tensor, nn.Parameter):
                        new = nn.Parameter(new, requires_grad=tensor.requires_grad)
                    replaced[id(tensor)] = new
                store[name] = replaced[id(tensor)]  # type: ignore[assignment]


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


@contextmanager
def _as_in_training() -> Iterator[None]:
    """Models ask whether they are exported and then run other code (transformers: loops in place of a triangular
    solver). What is captured is what trains, so the answer is no."""
    name = "_compiling_state_context"
    original = getattr(functional_export, name)
    setattr(functional_export, name, nullcontext)
    try:
        yield
    finally:
        setattr(functional_export, name, original)


@contextmanager
def without_onednn() -> Iterator[None]:
    """The LSTM of oneDNN is one call of unknown flops; without it, a layer is products that are counted."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def _naming(step: nn.Module) -> Iterator[None]:
    """Tells what is traced in which module it is, as dynamo does."""
    inside: list[tuple[str, type]] = []

    def note() -> None:
        torch.fx.traceback.current_meta["nn_module_stack"] = {str(i): entry for i, entry in enumerate(inside)}

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            inside.append((name, type(module)))
            note()

        return hook

    def leave(*_: Any) -> None:
        inside.pop()
        note()

    hooks = []
    for name, module in step.named_modules():
        hooks += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        torch.fx.traceback.current_meta.pop("nn_module_stack", None)
