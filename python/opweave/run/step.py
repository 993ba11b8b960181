"""One step of one rank: its values, gradients and messages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from opweave.run.backward import BackwardSplit, SegmentBackward, boundary
from opweave.run.clock import Clock
from opweave.run.errors import PeerError, ProgramError
from opweave.run.program import Action, ActionTiming, Message, Program, Segment
from opweave.run.tensor_parallel import lay_out_gradients


class Rank(Protocol):
    """What a process brings to every step, as its executor holds it."""

    program: Program
    group: dist.ProcessGroup | None
    rank: int
    device: torch.device
    split: BackwardSplit
    optimizers: dict[str, torch.optim.Optimizer]
    timeout: timedelta
    modules: dict[str, nn.Module]
    peers: list[int]
    home_groups: dict[tuple[int, ...], dist.ProcessGroup]
    specs: dict[str, TensorSpec]


LossFunction = Callable[[Any, Any], Tensor]


@contextlib.contextmanager
def _named(segment: Segment) -> Iterator[None]:
    """What its module does not take is said with the name of the segment: calls between modules are in none of them."""
    try:
        yield
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, (PeerError, ProgramError, torch.OutOfMemoryError)):
            raise
        given = ", ".join(f'"{entry.tensor}"' for entry in segment.inputs) or "its inputs"
        raise ProgramError(
            f'segment "{segment.name}": its module does not take what the graph hands it, {given}: '
            f"{type(error).__name__}: {error}"
            "\nhint: opweave.run.TracedModel runs the calls that were traced, also those between modules"
        ) from error


@dataclass
class StepResult:
    """What one rank knows after a step."""

    losses: dict[int, Tensor]  #: by microbatch, not scaled, on the rank that took them
    outputs: dict[str, dict[int, Any]]  #: by segment and microbatch, of segments that end the model without a backward
    timings: list[ActionTiming]  #: of this rank, in executed order
    origin: tuple[str, int] = field(default=("", 0), repr=False)  # host, its monotonic clock at the start


@dataclass(frozen=True)
class TensorSpec:
    """What a receiver must know of a tensor."""

    shape: tuple[int, ...] | None  #: None where it depends on data: then the tensor stays on its rank
    dtype: torch.dtype

    @property
    def has_gradient(self) -> bool:
        """Whether a gradient of it exists: not of integers."""
        return self.dtype.is_floating_point or self.dtype.is_complex

    def empty(self, device: torch.device) -> Tensor:
        """Memory for one to arrive in."""
        assert self.shape is not None
        return torch.empty(self.shape, dtype=self.dtype, device=device)

    def describes(self, value: Tensor) -> bool:
        """The value is such a tensor."""
        return value.dtype == self.dtype and self.shape in (None, tuple(value.shape))


@dataclass
class _Forward:
    """What a forward leaves for its backward."""

    backward: SegmentBackward
    gradients: list[Tensor | None] = field(default_factory=list)


class StepRun:
    """The state of one step."""

    def __init__(
        self,
        executor: Rank,
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
        for segment in self.program.segments.values():
            if segment.has_backward and not segment.outputs and self.rank in segment.homes:
                self._loss_of(segment)

    # Shapes

    def infer_shapes(self) -> None:
        """Runs the first microbatch forward once, without effect on buffers or random numbers, and tells every rank
        the shapes. All ranks go through the segments in one order, so nothing can wait in a circle."""
        executor, group = self.executor, self.executor.group
        values: dict[str, Tensor] = {}
        for segment in self.program.segments.values():
            if not segment.outputs:
                continue
            home = segment.homes[0]
            specs: list[Any] = [None]
            if home == self.rank:
                module = executor.modules[segment.name]
                buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
                devices = [executor.device] if executor.device.type == "cuda" else []
                arguments = self._arguments(segment, 0, lambda tensor: values[tensor])
                with torch.no_grad(), torch.random.fork_rng(devices=devices), _named(segment):
                    made = torch.func.functional_call(module, buffers, tuple(arguments))
                outputs = self._outputs(segment, made)
                values.update(zip(segment.outputs, outputs, strict=True))
                specs = [
                    {t: TensorSpec(tuple(v.shape), v.dtype) for t, v in zip(segment.outputs, outputs, strict=True)}
                ]
            with self.peer(f"shapes of segment {segment.name}"):
                dist.broadcast_object_list(specs, executor.peers[home], group=group, device=executor.device)
            executor.specs.update(specs[0])
            for tensor in segment.outputs:
                for destination in sorted({c.homes[0] for c in self.consumers[tensor]} - {home}):
                    with self.peer(tensor):
                        if self.rank == home:
                            dist.send(values[tensor].contiguous(), executor.peers[destination], group)
                        elif self.rank == destination:
                            values[tensor] = executor.specs[tensor].empty(executor.device)
                            dist.recv(values[tensor], executor.peers[home], group)

    # One step

    def run(self) -> StepResult:
        """Performs this rank's actions in their order, each with its messages."""
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
                with _named(segment):
                    made = module(*arguments)
                outputs = self._outputs(segment, made) if segment.outputs else []
        else:
            # A leaf per consumer, on the same rank too: the backward of a segment must end at its inputs.
            producers = [entry.producer for entry in segment.inputs] or [None] * len(arguments)
            for i, producer in enumerate(producers):
                value = arguments[i]
                if producer and self.executor.specs[segment.inputs[i].tensor].has_gradient:
                    arguments[i] = value.detach().requires_grad_(self.program.segments[producer].has_backward)
            leaves = [value for value, producer in zip(arguments, producers, strict=True) if producer]
            with _named(segment):
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
        for tensor, value in zip(segment.outputs, outputs, strict=True):
            if isinstance(value, DTensor):
                raise ProgramError(
                    f"segment {segment.name!r} returned tensor {tensor!r} as a DTensor, expected a plain tensor"
                    "\nhint: use_local_output=True for its last module"
                )
        return outputs

    def _loss_of(self, segment: Segment) -> LossFunction:
        fn = self.loss_fn.get(segment.name) if isinstance(self.loss_fn, Mapping) else self.loss_fn
        if fn is None:
            raise ProgramError(f"nothing consumes segment {segment.name!r}, expected a loss function for it")
        return fn

    def _keep(self, tensor: str, b: int, value: Tensor, sends: int = 0) -> None:
        """Holds a value until its consumers here and this many sends have taken it."""
        spec = self.executor.specs[tensor]
        if not spec.describes(value):
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
        return message.consumer is None or self.executor.specs[message.tensor].has_gradient

    def _post(self, message: Message) -> None:
        if not self._moves(message):
            return
        buffer = self.executor.specs[message.tensor].empty(self.executor.device)
        with self.peer(str(message), message.source):
            work = dist.irecv(buffer, self.executor.peers[message.source], self.executor.group, message.tag)
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
                spec = self.executor.specs[message.tensor]
                value = spec.empty(self.executor.device).zero_()
            value = value.contiguous()
        assert value is not None
        with self.peer(str(message), message.destination):
            work = dist.isend(value, self.executor.peers[message.destination], self.executor.group, message.tag)
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
        """Gradients from earlier steps of parameters whose gradients of this step are not complete before its end: of
        segments with several homes, and of DTensors, to whose summands autograd would add what is summed already."""
        modules = self.executor.modules
        parameters = [p for name, _ in self._shared() for p in modules[name].parameters()]
        parameters += [p for module in modules.values() for p in module.parameters() if isinstance(p, DTensor)]
        earlier = {parameter: parameter.grad for parameter in parameters}
        for parameter in parameters:
            parameter.grad = None
        return earlier

    def _reduce_gradients(self, earlier: dict[nn.Parameter, Tensor | None]) -> None:
        """Sums gradients over the homes of each segment; in one order everywhere, so that nobody waits in a circle."""
        lay_out_gradients(self.executor.modules)
        done: set[nn.Parameter] = set()
        for name, group in self._shared():
            for parameter in self.executor.modules[name].parameters():
                if not parameter.requires_grad or parameter in done:
                    continue
                done.add(parameter)
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                with self.peer(f"gradients of segment {name}"):
                    # Of a DTensor, homes hold the same part each.
                    held = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
                    dist.all_reduce(held, group=group)
        for parameter, before in earlier.items():
            if before is not None:
                parameter.grad = before if parameter.grad is None else parameter.grad + before

    def _shared(self) -> Iterator[tuple[str, dist.ProcessGroup]]:
        for name in self.executor.modules:
            group = self.executor.home_groups.get(tuple(sorted(set(self.program.segments[name].homes))))
            if group is not None:
                yield name, group
