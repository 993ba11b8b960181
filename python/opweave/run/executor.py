"""Runs a program, one process per device, over torch.distributed (gloo or NCCL)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from opweave.run.backward import BackwardSplit, SegmentBackward, boundary
from opweave.run.clock import Clock
from opweave.run.compiler import compile_plan
from opweave.run.errors import PeerError, ProgramError
from opweave.run.program import Action, ActionTiming, Message, Program, Segment
from opweave.run.segments import SegmentRule

LossFunction = Callable[[Any, Any], Tensor]
Batch = Tensor | Sequence[Any]


@dataclass
class StepResult:
    """What one rank knows after a step."""

    losses: dict[int, Tensor]  #: by microbatch, not scaled, on the rank that took them
    outputs: dict[str, dict[int, Any]]  #: by segment and microbatch, of segments that end the model without a backward
    timings: list[ActionTiming]  #: of this rank, in executed order
    origin: tuple[str, int] = field(default=("", 0), repr=False)  # host, its monotonic clock at the start


@dataclass(frozen=True)
class _Spec:
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def has_gradient(self) -> bool:
        return self.dtype.is_floating_point or self.dtype.is_complex

    def empty(self, device: torch.device) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=device)


@dataclass
class _Forward:
    """What a forward leaves for its backward."""

    backward: SegmentBackward
    gradients: list[Tensor | None] = field(default_factory=list)


class Executor:
    """Runs steps of one program with this process's modules.

    `segments` maps a segment's name to its module; a rank needs those with a home on it and ignores the rest. A
    segment with several homes must start with equal parameters on all of them. Gradients are added to `.grad`, as
    by torch. `optimizers` (by segment) step where the plan runs an operator of phase O; without one, the
    operator does nothing. Tensors that pass between segments keep their shape from microbatch to microbatch.

    All ranks of `group` construct it and call `step` together; rank i of the group is device i of the program.
    """

    def __init__(
        self,
        program: Program,
        segments: Mapping[str, nn.Module],
        *,
        group: dist.ProcessGroup | None = None,
        device: torch.device | str = "cpu",
        split: BackwardSplit = "graph",
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self.program = program
        self.group = group
        self.rank = dist.get_rank(group)
        self.device = torch.device(device)
        self.split: BackwardSplit = split
        self.optimizers = dict(optimizers or {})
        self.timeout = timedelta(seconds=timeout_s)
        size = dist.get_world_size(group)
        if size != program.processes:
            raise ProgramError(f"group has {size} processes, the plan has {program.processes} devices")
        missing = [name for name in program.segments_on(self.rank) if name not in segments]
        if missing:
            raise ProgramError(f"rank {self.rank} has no module for segment {', '.join(map(repr, missing))}")
        self.modules = {name: segments[name] for name in program.segments_on(self.rank)}
        self._peers = [dist.get_global_rank(group or dist.group.WORLD, rank) for rank in range(size)]  # type: ignore[arg-type]
        # Only members take part, in one order, so the program's group may be a part of the world.
        self._home_groups = {
            homes: dist.new_group([self._peers[rank] for rank in homes], use_local_synchronization=True)
            for homes in sorted({tuple(sorted(set(s.homes))) for s in program.segments.values()})
            if len(homes) > 1 and self.rank in homes
        }
        self._specs: dict[str, _Spec] = {}
        self._knows_shapes = False
        self._require_weight_gradients()

    def _require_weight_gradients(self) -> None:
        """A module that should learn needs operators that make its weight gradients."""
        actions = [action for _, action in self.program.actions()]
        if all(action.phase in "FO" for action in actions):
            return
        learning = {action.segment for action in actions if action.phase in "WB"}
        for name, module in self.modules.items():
            if name not in learning and any(p.requires_grad for p in module.parameters()):
                raise ProgramError(
                    f"segment {name!r} has parameters that require gradients, but the plan has no W or B for it"
                )

    def step(
        self,
        inputs: Batch | Mapping[str, Batch],
        targets: Batch | None = None,
        loss_fn: LossFunction | Mapping[str, LossFunction] | None = None,
    ) -> StepResult:
        """One training iteration (or one inference, for a plan without backward).

        `inputs`: for every input tensor of the graph (or, where the graph names none, for the segment) a tensor that is
        cut into microbatches along its first dimension, or a sequence with one entry per microbatch; without names if
        there is only one. `targets` likewise. `loss_fn(output, target)` is taken at segments that nothing consumes
        (a mapping by segment where there are several) and scaled by 1 / microbatches, so that gradients are
        those of the mean.

        Raises PeerError when a message fails, which means that another process ended.
        """
        run = _Run(self, self._inputs(inputs), self._batch("targets", targets), loss_fn)
        if not self._knows_shapes:
            run.infer_shapes()
            self._knows_shapes = True
        with run.peer("start of the step"):
            dist.barrier(self.group)
        return run.run()

    def _batch(self, name: str, batch: Batch | None) -> Sequence[Any]:
        m = self.program.microbatches
        if batch is None:
            return [None] * m
        if isinstance(batch, Tensor):
            if batch.shape[0] % m:
                raise ProgramError(
                    f"{name}: first dimension is {batch.shape[0]}, expected a multiple of {m} microbatches"
                )
            return batch.chunk(m)
        if len(batch) != m:
            raise ProgramError(f"{name}: {len(batch)} entries, expected one for each of {m} microbatches")
        return batch

    def _inputs(self, inputs: Batch | Mapping[str, Batch]) -> dict[str, Sequence[Any]]:
        names = self.program.external_inputs()
        wanted = list(dict.fromkeys(name for on_segment in names.values() for name in on_segment))
        if not isinstance(inputs, Mapping):
            if len(wanted) != 1:
                raise ProgramError(f"inputs have no names, the plan needs {', '.join(map(repr, wanted))}")
            inputs = {wanted[0]: inputs}
        unknown = [name for name in inputs if name not in wanted]
        if unknown:
            raise ProgramError(f"no segment takes input {unknown[0]!r}, expected {', '.join(map(repr, wanted))}")
        for segment in self.modules:
            for name in names[segment]:
                if name not in inputs:
                    raise ProgramError(f"segment {segment!r} needs input {name!r}")
        return {name: self._batch(f"inputs of {name!r}", batch) for name, batch in inputs.items()}


class _Run:
    """The state of one step."""

    def __init__(
        self,
        executor: Executor,
        inputs: dict[str, Sequence[Any]],
        targets: Sequence[Any],
        loss_fn: LossFunction | Mapping[str, LossFunction] | None,
    ) -> None:
        self.executor = executor
        self.program = executor.program
        self.rank = executor.rank
        self.inputs = inputs
        self.targets = targets
        self.loss_fn = loss_fn
        self.trains = any(segment.has_backward for segment in self.program.segments.values())
        self.losses: dict[int, Tensor] = {}
        self.outputs: dict[str, dict[int, Any]] = {}
        self.values: dict[tuple[str, int], Tensor] = {}  # activations on this rank, until all consumers here have run
        self.users: dict[tuple[str, int], int] = {}
        self.gradients: dict[tuple[str, int, str | None], Tensor | None] = {}
        self.forwards: dict[tuple[str, int], _Forward] = {}
        self.receiving: dict[Message, tuple[Any, Tensor]] = {}
        self.sending: dict[Message, tuple[Any, Tensor]] = {}
        self.consumers: dict[str, list[Segment]] = {}
        for segment in self.program.segments.values():
            for entry in segment.inputs:
                self.consumers.setdefault(entry.tensor, []).append(segment)
        if self.trains:
            for segment in self.program.segments.values():
                if not segment.outputs and self.rank in segment.homes:
                    self._loss_of(segment)

    # Shapes

    def infer_shapes(self) -> None:
        """Runs the first microbatch forward once, without effect on buffers or random numbers, and tells every rank
        the shapes. All ranks go through the segments in one order, so nothing can wait in a circle."""
        executor, group = self.executor, self.executor.group
        values: dict[str, Tensor] = {}
        for segment in self.program.segments.values():
            home = segment.homes[0]
            specs: list[Any] = [None]
            if home == self.rank:
                module = executor.modules[segment.name]
                buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
                devices = [executor.device] if executor.device.type == "cuda" else []
                arguments = self._arguments(segment, 0, lambda tensor: values[tensor])
                with torch.no_grad(), torch.random.fork_rng(devices=devices):
                    made = torch.func.functional_call(module, buffers, tuple(arguments))
                outputs = self._outputs(segment, made) if segment.outputs else []
                values.update(zip(segment.outputs, outputs, strict=True))
                specs = [{t: _Spec(tuple(v.shape), v.dtype) for t, v in zip(segment.outputs, outputs, strict=True)}]
            with self.peer(f"shapes of segment {segment.name}"):
                dist.broadcast_object_list(specs, executor._peers[home], group=group, device=executor.device)
            executor._specs.update(specs[0])
            for tensor in segment.outputs:
                for destination in sorted({c.homes[0] for c in self.consumers[tensor]} - {home}):
                    with self.peer(tensor):
                        if self.rank == home:
                            dist.send(values[tensor].contiguous(), executor._peers[destination], group)
                        elif self.rank == destination:
                            values[tensor] = executor._specs[tensor].empty(executor.device)
                            dist.recv(values[tensor], executor._peers[home], group)

    # One step

    def run(self) -> StepResult:
        clock = Clock(self.executor.device)
        earlier = self._set_aside_gradients()
        reduced = False
        marks = []
        for step in self.program.ranks[self.rank]:
            if step.action.phase == "O" and not reduced:
                self._reduce_gradients(earlier)
                reduced = True
            before = clock.mark()
            for message in step.post:
                self._post(message)
            for message in step.receive:
                self._receive(message)
            start = clock.mark()
            self._perform(step.action)
            for message in step.send:
                self._send(message)
            for message in step.release:
                self._release(message)
            marks.append((step.action, before, start, clock.mark()))
        for message in list(self.sending):
            self._release(message)
        if not reduced:
            self._reduce_gradients(earlier)
        clock.finish()
        timings = [
            ActionTiming(self.rank, action, clock.ns(start), clock.ns(end), clock.ns(start) - clock.ns(before))
            for action, before, start, end in marks
        ]
        return StepResult(self.losses, self.outputs, timings, clock.origin)

    def _perform(self, action: Action) -> None:
        segment = self.program.segments[action.segment]
        with torch.profiler.record_function(str(action)):
            if action.phase == "F":
                self._forward(segment, action.microbatch)
            elif action.phase == "O":
                if action.segment in self.executor.optimizers:
                    self.executor.optimizers[action.segment].step()
            else:
                self._backward(segment, action.microbatch, action.phase)

    def _forward(self, segment: Segment, b: int) -> None:
        module = self.executor.modules[segment.name]
        arguments = self._arguments(segment, b, lambda tensor: self._take(tensor, b))
        if not segment.has_backward:
            with torch.no_grad():
                made = module(*arguments)
                outputs = self._outputs(segment, made) if segment.outputs else []
        else:
            # A leaf per consumer, on the same rank too: the backward of a segment must end at its inputs.
            producers = [entry.producer for entry in segment.inputs] or [None] * len(arguments)
            for i, producer in enumerate(producers):
                value = arguments[i]
                if producer and self.executor._specs[segment.inputs[i].tensor].has_gradient:
                    arguments[i] = value.detach().requires_grad_(self.program.segments[producer].has_backward)
            leaves = [value for value, producer in zip(arguments, producers, strict=True) if producer]
            made = module(*arguments)
            if segment.outputs:
                outputs = [boundary(value) for value in self._outputs(segment, made)]
            else:
                loss = self._loss_of(segment)(made, self.targets[b])
                if b in self.losses:
                    self.losses[b] = self.losses[b] + loss.detach()
                else:
                    self.losses[b] = loss.detach()
                outputs = [boundary(loss / self.program.microbatches)]
            self.forwards[segment.name, b] = _Forward(SegmentBackward(module, leaves, outputs, self.executor.split))
        if not segment.outputs and not segment.has_backward:
            if self.loss_fn is not None:
                self.losses[b] = self._loss_of(segment)(made, self.targets[b])
            self.outputs.setdefault(segment.name, {})[b] = made
        for tensor, value in zip(segment.outputs, outputs):  # noqa: B905 (a sink's loss goes nowhere)
            destinations = {consumer.homes[b] for consumer in self.consumers[tensor]} - {self.rank}
            self._keep(tensor, b, value.detach().contiguous(), len(destinations))

    def _backward(self, segment: Segment, b: int, phase: str) -> None:
        state = self.forwards[segment.name, b]
        if phase == "W" and state.gradients:
            state.backward.weight_gradients(state.gradients)
            del self.forwards[segment.name, b]
            return
        state.gradients = [self._gradient_of(tensor, b) for tensor in segment.outputs] or [None]
        if phase == "I":
            found = state.backward.input_gradients(state.gradients)
            if not state.backward.parameters:
                del self.forwards[segment.name, b]
        else:
            found = state.backward.whole(state.gradients)
            del self.forwards[segment.name, b]
        inputs = [entry for entry in segment.inputs if entry.producer]
        for entry, gradient in zip(inputs, found, strict=True):
            self.gradients[entry.tensor, b, segment.name] = gradient

    def _gradient_of(self, tensor: str, b: int) -> Tensor | None:
        """Sum of what the consumers of a tensor give back, in the order of the graph; None without any."""
        total = None
        for consumer in self.consumers[tensor]:
            gradient = self.gradients.pop((tensor, b, consumer.name), None)
            if gradient is not None:
                total = gradient if total is None else total + gradient
        return total

    # Values on this rank

    def _arguments(self, segment: Segment, b: int, value: Callable[[str], Tensor]) -> list[Any]:
        if not segment.inputs:
            given = self.inputs[segment.name][b]
            return list(given) if isinstance(given, (tuple, list)) else [given]
        return [self.inputs[e.tensor][b] if e.producer is None else value(e.tensor) for e in segment.inputs]

    def _outputs(self, segment: Segment, made: Any) -> list[Tensor]:
        outputs = [made] if isinstance(made, Tensor) else list(made) if isinstance(made, (tuple, list)) else []
        if len(outputs) != len(segment.outputs) or not all(isinstance(value, Tensor) for value in outputs):
            found = f"{len(outputs)} outputs" if outputs else type(made).__name__
            raise ProgramError(
                f"segment {segment.name!r} returned {found}, expected {len(segment.outputs)} tensors: "
                + ", ".join(segment.outputs)
            )
        return outputs

    def _loss_of(self, segment: Segment) -> LossFunction:
        fn = self.loss_fn.get(segment.name) if isinstance(self.loss_fn, Mapping) else self.loss_fn
        if fn is None:
            raise ProgramError(f"nothing consumes segment {segment.name!r}, expected a loss function for it")
        return fn

    def _keep(self, tensor: str, b: int, value: Tensor, sends: int = 0) -> None:
        """Holds a value until its consumers here and this many sends have taken it."""
        spec = self.executor._specs[tensor]
        if tuple(value.shape) != spec.shape or value.dtype != spec.dtype:
            raise ProgramError(
                f'tensor "{tensor}" of microbatch {b} is {value.dtype} of {tuple(value.shape)}, expected {spec.dtype} '
                f"of {spec.shape} as in the first step"
            )
        self.values[tensor, b] = value
        self.users[tensor, b] = sends + sum(c.homes[b] == self.rank for c in self.consumers[tensor])

    def _take(self, tensor: str, b: int) -> Tensor:
        value = self.values[tensor, b]
        self.users[tensor, b] -= 1
        if self.users[tensor, b] == 0:
            del self.values[tensor, b], self.users[tensor, b]
        return value

    # Messages

    def _moves(self, message: Message) -> bool:
        """Integers have no gradient, so that nobody sends one."""
        return message.consumer is None or self.executor._specs[message.tensor].has_gradient

    def _post(self, message: Message) -> None:
        if not self._moves(message):
            return
        buffer = self.executor._specs[message.tensor].empty(self.executor.device)
        with self.peer(str(message), message.source):
            work = dist.irecv(buffer, self.executor._peers[message.source], self.executor.group, message.tag)
        self.receiving[message] = (work, buffer)

    def _receive(self, message: Message) -> None:
        if not self._moves(message):
            return
        work, buffer = self.receiving.pop(message)
        with self.peer(str(message), message.source):
            work.wait(self.executor.timeout)
        if message.consumer is None:
            self._keep(message.tensor, message.microbatch, buffer)
        else:
            self.gradients[message.tensor, message.microbatch, message.consumer] = buffer

    def _send(self, message: Message) -> None:
        if not self._moves(message):
            return
        if message.consumer is None:
            value: Tensor | None = self._take(message.tensor, message.microbatch)
        else:
            value = self.gradients.pop((message.tensor, message.microbatch, message.consumer))
            if value is None:
                spec = self.executor._specs[message.tensor]
                value = torch.zeros(spec.shape, dtype=spec.dtype, device=self.executor.device)
            value = value.contiguous()
        assert value is not None
        with self.peer(str(message), message.destination):
            work = dist.isend(value, self.executor._peers[message.destination], self.executor.group, message.tag)
        self.sending[message] = (work, value)

    def _release(self, message: Message) -> None:
        if message not in self.sending:
            return
        work, _ = self.sending[message]
        with self.peer(str(message), message.destination):
            work.wait(self.executor.timeout)
        del self.sending[message]

    @contextlib.contextmanager
    def peer(self, what: str, peer: int | None = None) -> Iterator[None]:
        """Says which message failed: torch only reports a closed connection."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            who = f" with rank {peer} ({self.program.devices[peer]})" if peer is not None else ""
            raise PeerError(
                f"rank {self.rank}: communication{who} failed: {what}: {str(error).splitlines()[0]}\n"
                "hint: another process has ended or hangs; its own error is the cause"
            ) from error

    # Parameters with several homes

    def _set_aside_gradients(self) -> dict[nn.Parameter, Tensor | None]:
        """Gradients from earlier steps of parameters that are about to be summed over homes."""
        earlier = {}
        for name, _ in self._shared():
            for parameter in self.executor.modules[name].parameters():
                earlier[parameter] = parameter.grad
                parameter.grad = None
        return earlier

    def _reduce_gradients(self, earlier: dict[nn.Parameter, Tensor | None]) -> None:
        """Sums gradients over the homes of each segment; in one order everywhere, so that nobody waits in a circle."""
        done: set[nn.Parameter] = set()
        for name, group in self._shared():
            for parameter in self.executor.modules[name].parameters():
                if not parameter.requires_grad or parameter in done:
                    continue
                done.add(parameter)
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                with self.peer(f"gradients of segment {name}"):
                    dist.all_reduce(parameter.grad, group=group)
                before = earlier[parameter]
                if before is not None:
                    parameter.grad += before

    def _shared(self) -> Iterator[tuple[str, dist.ProcessGroup]]:
        for name in self.executor.modules:
            group = self.executor._home_groups.get(tuple(sorted(set(self.program.segments[name].homes))))
            if group is not None:
                yield name, group


def gather_timings(result: StepResult, group: dist.ProcessGroup | None = None) -> list[ActionTiming]:
    """Timings of all ranks, on every rank, by start. Ranks on one host share its clock: zero is the first start of
    the step there. Between hosts zero is uncertain by the time of a barrier. All ranks call it together."""
    everything: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everything, (result.origin, result.timings), group=group)
    zero: dict[str, int] = {}
    for (host, start), _ in everything:
        zero[host] = min(zero.get(host, start), start)
    timings = [
        ActionTiming(t.rank, t.action, t.start_ns + start - zero[host], t.end_ns + start - zero[host], t.wait_ns)
        for (host, start), on_rank in everything
        for t in on_rank
    ]
    return sorted(timings, key=lambda t: (t.start_ns, t.rank))


def execute(
    plan: Any,
    segments: Mapping[str, nn.Module],
    inputs: Batch | Mapping[str, Batch],
    targets: Batch | None = None,
    loss_fn: LossFunction | Mapping[str, LossFunction] | None = None,
    *,
    graph: Any = None,
    segment_rule: SegmentRule = "operator",
    group: dist.ProcessGroup | None = None,
    device: torch.device | str = "cpu",
    split: BackwardSplit = "graph",
    optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
) -> StepResult:
    """One step of *plan* on the processes of *group*: `compile_plan`, `Executor` and `Executor.step` in one call."""
    program = compile_plan(plan, graph, segment_rule)
    executor = Executor(program, segments, group=group, device=device, split=split, optimizers=optimizers)
    return executor.step(inputs, targets, loss_fn)
