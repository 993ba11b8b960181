"""Captured models on processes: the traced step, cut where the plan cuts it (docs/running.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.fx import Node

from opweave.capture.joining import Joined
from opweave.capture.step import Step, joined_of, read_step
from opweave.capture.torch_trace import reassigned_tensors
from opweave.run.compiler import compile_plan
from opweave.run.errors import ProgramError
from opweave.run.executor import Executor
from opweave.run.microbatches import Microbatches, require_equal_integers, split
from opweave.run.movements import refuse_modes
from opweave.run.plan_files import document, training
from opweave.run.segments import phase_of
from opweave.run.step import StepResult, TensorSpec
from opweave.run.traced_module import TracedModule
from opweave.run.traced_pieces import Piece, pieces_of

_MICROBATCH = "microbatch number"  # the first argument of every piece


class TracedModel:
    """A captured model as pieces that run: a module for every operator of the plan's graph, made from the traced step.

    For models whose modules cannot be the segments of a plan, because values pass between them in ways that no argument
    shows: masks, rotary tables, skips, the output of an encoder. The model is traced again, on the first microbatch of
    *batch*, so a plan that was read from a file runs as well. All that cannot run is refused here, before any process
    is started; then every process calls step(). Gradients are added to those of *model*, each where its W (or B) runs.

    Args:
        model: The module that was captured, with its weights, on the processor.
        plan: An opweave.Plan, or its file as for compile_plan, then with *graph*.
        batch: Of one iteration: arguments of the model as for opweave.capture, tensors as many times as long in their
            first dimension as there are microbatches; what has the captured size is the same for all of them.
        target: What the loss takes beside the output, likewise.
        loss: As for opweave.capture; None takes that of the captured graph.

    Raises ProgramError for what cannot be run, naming it: another model than the captured one, an operator on several
    devices, inputs of other sizes, a tensor of unknown size between devices, a buffer that changes in an order that is
    not that of the microbatches, a model that changes its inputs. Raises CaptureError as opweave.capture.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Any,
        batch: Sequence[Any] | Mapping[str, Any],
        *,
        target: Any = None,
        loss: Callable[..., Any] | None = None,
        graph: Any = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ProgramError(f"model: value is a {type(model).__name__}, expected a torch.nn.Module with its weights")
        graph = getattr(plan, "graph", None) if graph is None else graph
        chosen = loss if loss is not None else getattr(graph, "loss", None)
        content, plan = document(graph, "graph"), document(plan, "plan")
        refuse_modes(plan, "a captured model")
        captured = content.get("captured")
        if captured is None or "granularity" not in captured:
            raise ProgramError("graph: expected one that opweave.capture made")
        _require_learning(content, model)
        if chosen is None:
            raise ProgramError("no loss: the graph was captured without one or read from a file\nhint: give loss=")
        self.loss: Callable[..., Any] = chosen
        self.model = model
        self._count, _ = training(content, plan)
        sizes = {tensor["name"]: tensor["bytes"] for tensor in content.get("tensors", ())}
        self._input_bytes = {name: sizes[name] for name, kind in captured["inputs"].items() if kind == "input"}
        self.microbatches = self._split(batch, target)
        step = self._trace()
        joined = joined_of(step, captured["granularity"])
        _require_same(content, joined)
        pieces = pieces_of(step, joined, model, 1 / self._count)
        self._step, self._pieces = step, pieces
        document_of_pieces = _graph_of(step, joined, pieces, content, plan)
        tasks = [task for task in plan["tasks"] if task["operator"] in pieces]
        self.program = compile_plan(
            {**plan, "tasks": tasks}, document_of_pieces, lambda operator: str(operator["name"])
        )
        self._require_order_of_buffers()
        self._require_sizes_of_messages()
        self._modules = {name: TracedModule(piece) for name, piece in pieces.items()}
        self._executor: Executor | None = None

    def step(
        self,
        batch: Sequence[Any] | Mapping[str, Any] | None = None,
        target: Any = None,
        *,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
        timeout_s: float = 300.0,
    ) -> StepResult:
        """One training iteration, called by all ranks of the group together; without a batch, that of the constructor.

        The losses of the result are those of the microbatches whose loss this rank takes. *seed* is that of the random
        numbers: each call that draws some has its own, so that they are the same wherever it runs.
        """
        if batch is not None:
            self.microbatches = self._split(batch, target)
            if self._step.joint.fixed_integers:
                require_equal_integers(self.microbatches)
        if self._executor is None:
            self._executor = Executor(
                self.program, self._modules, group=group, timeout_s=timeout_s, specs=self._specs()
            )
        rank = self._executor.rank
        mine = {name: self._modules[name] for name in self.program.segments_on(rank)}
        for module in mine.values():
            module.seed = seed
            module.results.clear()
        result = self._executor.step(self._inputs())
        for module in mine.values():
            result.losses.update({b: values[0] for b, values in module.results.items()})
        return result

    def changed_buffers(self) -> dict[str, Tensor]:
        """The buffers that this rank changes, by their path in the model."""
        assert self._executor is not None
        updated = self._step.joint.updated_buffers
        return {
            updated[node]: buffer
            for name in self.program.segments_on(self._executor.rank)
            for node, buffer in self._pieces[name].buffers.items()
        }

    def _split(self, batch: Sequence[Any] | Mapping[str, Any], target: Any) -> Microbatches:
        return split(self.model, batch, target, self._count, self._input_bytes)

    def _trace(self) -> Step:
        args, kwargs = self.microbatches.arguments(0)
        has_target = self.microbatches.has_target
        example: Any = kwargs or args[has_target:]
        # Sizes that depend on data are what they are when it runs; the number only fills tables that nobody reads.
        step = read_step(self.model, example, loss=self.loss, assumed_size=1, target=args[0] if has_target else None)
        joint = step.joint
        if joint.changed_inputs:
            raise ProgramError(f'the model changes its input "{joint.changed_inputs[0]}" in place')
        shapes = [tuple(node.meta["val"].shape) for node in joint.results]
        if len(shapes) != 1 or math.prod(shapes[0]) != 1:
            raise ProgramError(f"the loss has the shapes {', '.join(map(str, shapes))}, expected one number")
        reassigned = reassigned_tensors(step.model, args[has_target:], kwargs)
        if reassigned:
            raise ProgramError(
                f'"{reassigned[0]}" is assigned anew in the forward pass, which tracing does not see\n'
                "hint: change the buffer in place (copy_)"
            )
        if joint.fixed_integers:
            require_equal_integers(self.microbatches)
        return step

    def _inputs(self) -> dict[str, list[Any]]:
        wanted = {name for names in self.program.external_inputs().values() for name in names}
        given = dict(zip(self.microbatches.names, zip(*self.microbatches.leaves, strict=True), strict=True))
        inputs = {name: list(values) for name, values in given.items() if name in wanted}
        return {**inputs, _MICROBATCH: list(range(self._count))}

    def _specs(self) -> dict[str, TensorSpec]:
        return {
            _tensor(node, piece.name): TensorSpec(_shape(node), node.meta["val"].dtype)
            for piece in self._pieces.values()
            for node in piece.made
        }

    def _require_order_of_buffers(self) -> None:
        """A buffer that changes is one device's, and changes in the order of the microbatches; what it was before is
        needed nowhere else."""
        for name, piece in self._pieces.items():
            for node, buffer in piece.buffers.items():
                path = self._step.joint.updated_buffers[node]
                homes = self.program.segments[name].homes
                if len(set(homes)) > 1:
                    raise ProgramError(f'buffer "{path}" changes in "{name}", which runs on several devices')
                order = [b for _, segment, b in self.program.order(homes[0]) if segment == name]
                if order != sorted(order):
                    raise ProgramError(f'buffer "{path}" changes in "{name}", which runs for microbatches {order}')
                for other, reader in self._pieces.items():
                    if other != name and any(value is buffer for value in reader.fixed.values()):
                        raise ProgramError(f'buffer "{path}" changes in "{name}" and is read in "{other}", too')

    def _require_sizes_of_messages(self) -> None:
        specs = self._specs()
        for message in (message for steps in self.program.ranks for step in steps for message in step.send):
            if specs[message.tensor].shape is None:
                devices = self.program.devices
                raise ProgramError(
                    f'tensor "{message.tensor}" goes from {devices[message.source]} to {devices[message.destination]}; '
                    "its size depends on data, so that nobody knows how much will arrive"
                )


def _require_learning(graph: dict[str, Any], model: nn.Module) -> None:
    if not any(phase_of(op) in "IWB" for op in graph["operators"]):
        raise ProgramError("graph: it has no backward pass, expected one captured with training=True")
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase) and module.training and module.dropout and module.num_layers > 1:
            raise ProgramError(
                f'module "{name}" has dropout between its recurrent layers, which PyTorch leaves out of what it traces'
                "\nhint: dropout=0, or eval()"
            )
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise ProgramError(f'parameter "{name}" has a hook on its gradient, which is no part of the traced step')
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ProgramError(f'"{name}" is on {tensor.device}, expected on the processor')


def _require_same(graph: dict[str, Any], joined: Joined) -> None:
    """The model that was traced is the one of the graph."""
    there = {op["name"]: set(op.get("parameters", ())) for op in graph["operators"] if phase_of(op) != "O"}
    here = {operator.name: set(operator.parameters) for operator in joined.operators}
    for name in {**there, **here}:
        if name not in here:
            raise ProgramError(f'the model has no operator "{name}" of the graph')
        if name not in there:
            raise ProgramError(f'the graph has no operator "{name}" of the model')
        if there[name] != here[name]:
            raise ProgramError(f'operator "{name}" has other parameters in the model than in the graph')


def _tensor(node: Node, maker: str) -> str:
    return f"{node.name} of {maker}"


def _shape(node: Node) -> tuple[int, ...] | None:
    shape = node.meta["val"].shape
    return tuple(shape) if all(isinstance(size, int) for size in shape) else None


def _graph_of(
    step: Step, joined: Joined, pieces: Mapping[str, Piece], graph: dict[str, Any], plan: dict[str, Any]
) -> dict[str, Any]:
    """A graph whose operators are the pieces. All run forward: what the backward pass does is in the pieces."""
    places = {op["name"]: op for op in graph["operators"]}
    rule = plan.get("settings", {}).get("blocks")
    whole = {op.get(rule) for op in graph["operators"] if op.get("phase") == "B"}
    operators = []
    for operator in joined.operators:
        piece, place = pieces[operator.name], places[operator.name]
        block = place.get(rule)
        phase = "B" if block in whole and place["phase"] in "IW" else place["phase"]
        operators.append(
            {
                "name": operator.name,
                "inputs": [
                    _MICROBATCH,
                    *(step.joint.givens[node].name for node in piece.given),
                    *(_tensor(node, maker) for node, maker in piece.taken.items()),
                ],
                "outputs": [_tensor(node, operator.name) for node in piece.made],
                # What a plan with blocks runs as one is all of a block in one phase.
                **({rule: f"{block}.{phase}"} if block not in (None, "") else {}),
            }
        )
    return {"format": "opweave.graph", "version": 1, "training": graph.get("training", {}), "operators": operators}
