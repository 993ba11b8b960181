"""One step of one rank: its instructions, one after the other."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from opweave.run.clock import Clock
from opweave.run.errors import ProgramError
from opweave.run.parallel.boxes import Box
from opweave.run.parallel.check import groups_of
from opweave.run.parallel.forwards import Forward, Module, saved_bytes
from opweave.run.parallel.parameters import Bucket
from opweave.run.parallel.peers import Peers
from opweave.run.parallel.program import (
    Collective,
    Communicate,
    Compute,
    Copy,
    Instruction,
    ParallelProgram,
    Part,
    Piece,
)
from opweave.run.parallel.saved import plain
from opweave.run.parallel.within import CollectiveRecorder, Within
from opweave.run.program import Segment
from opweave.run.step import LossFunction, TensorSpec


class ParallelRank(Protocol):
    """What a process brings to every step, as its executor holds it."""

    program: ParallelProgram
    rank: int
    device: torch.device
    counts_memory: bool
    records_collectives: bool
    peers: Peers
    modules: dict[str, Module]
    buckets: dict[tuple[str, Part], list[Bucket]]
    optimizers: dict[int, tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]]
    specs: dict[str, TensorSpec]
    kept_bytes: dict[str, int]


Key = tuple[str, int, str | None]  # tensor, microbatch, consumer that its gradient comes from


@dataclass(frozen=True)
class Timing:
    """When a rank did an instruction, in nanoseconds from the start of the step on its host."""

    rank: int
    instruction: Instruction | Within  #: or a collective inside of the one that it lies in
    start_ns: int
    end_ns: int
    busy_ns: int = 0  #: processor time of the rank's process in it; 0 where that was not measured


@dataclass
class ParallelResult:
    """What one rank knows after a step."""

    losses: dict[int, Tensor]  #: by microbatch, mean over the ranks that took it, on each of these
    timings: list[Timing]  #: of this rank, in executed order
    saved_bytes: list[tuple[int, int]]  #: kept for backwards after each Compute: device, host; if memory is counted
    origin: tuple[str, int] = field(default=("", 0), repr=False)  # host, its monotonic clock at the start


class ParallelStep:
    """The state of one step."""

    def __init__(
        self,
        executor: ParallelRank,
        inputs: dict[str, list[Any]],
        targets: list[Any],
        loss_fn: LossFunction | Mapping[str, LossFunction] | None,
    ) -> None:
        self.executor = executor
        self.program = executor.program
        self.base = executor.program.base
        self.rank = executor.rank
        self.here = self.program.grid.device_of(self.rank)
        self.inputs, self.targets, self.loss_fn = inputs, targets, loss_fn
        self.losses: dict[tuple[str, int], Tensor] = {}  # of sinks
        self.values: dict[Key, Tensor | None] = {}  # this rank's part, until all that need it have it
        self.uses: dict[Key, int] = {}
        self.coming: dict[Key, tuple[Tensor, int]] = {}  # parts of which pieces are missing, and their number
        self.forwards: dict[tuple[str, int], Forward] = {}
        self.receiving: dict[Piece, tuple[Any, Tensor]] = {}
        self.sending: dict[Piece, tuple[Any, Tensor]] = {}
        self.saved: list[tuple[int, int]] = []
        self.producer = {tensor: s for s in self.base.segments.values() for tensor in s.outputs}
        self.consumers: dict[str, list[Segment]] = {}
        for segment in self.base.segments.values():
            for entry in segment.inputs:
                self.consumers.setdefault(entry.tensor, []).append(segment)
        steps = [s for s in self.program.ranks[self.rank] if isinstance(s, Communicate)]
        self.sends = Counter(_key(s.piece) for s in steps if s.kind == "send")
        actions = [step.action for step in self.program.computes(self.rank)]
        self.splits = {(a.segment, a.microbatch) for a in actions if a.phase == "W"}
        self.pieces = Counter(_key(s.piece) for s in steps if s.kind == "receive")
        for name in executor.modules:
            if self.base.segments[name].has_backward and not self.base.segments[name].outputs:
                self._loss_function(name)

    def run(self) -> ParallelResult:
        """Goes through the instructions."""
        clock = Clock(self.executor.device)
        for buckets in self.executor.buckets.values():
            for bucket in buckets:
                bucket.begin()
        marks: list[tuple[Instruction | Within, Any, Any]] = []
        busy: list[int] = []
        recorder = CollectiveRecorder(clock.mark) if self.executor.records_collectives else None
        for step in self.program.ranks[self.rank]:
            start, used = clock.mark(), time.process_time_ns()
            talks = isinstance(step, Compute) or (isinstance(step, Collective) and step.kind == "update")
            with recorder if recorder and talks else contextlib.nullcontext():
                self._do(step)
            marks.append((step, start, clock.mark()))
            busy.append(0 if clock.on_gpu else time.process_time_ns() - used)
        clock.finish()
        if recorder:
            marks += recorder.marks
            busy += [0] * len(recorder.marks)
        timings = [
            Timing(self.rank, step, clock.ns(start), clock.ns(end), used)
            for (step, start, end), used in zip(marks, busy, strict=True)
        ]
        losses: dict[int, Tensor] = {}
        for (_, b), loss in sorted(self.losses.items()):
            losses[b] = losses[b] + loss if b in losses else loss
        return ParallelResult(losses, timings, self.saved, clock.origin)

    def _do(self, step: Instruction) -> None:
        if isinstance(step, Communicate):
            peer = step.piece.destination if step.kind in ("send", "release") else step.piece.source
            with self.executor.peers.doing(step, [peer]):
                self._communicate(step)
            return
        peers = [rank for group in groups_of(step) for rank in group]
        with self.executor.peers.doing(step, peers), torch.profiler.record_function(str(step)):
            if isinstance(step, Compute):
                self._compute(step)
                if self.executor.counts_memory:
                    self.saved.append(saved_bytes(list(self.forwards.values())))
            elif isinstance(step, Copy):
                saved = self.forwards[step.segment, step.microbatch].saved
                assert saved is not None
                _ = saved.copy_out() if step.kind == "out" else saved.copy_in()
            else:
                self._together(step)

    # Actions

    def _compute(self, step: Compute) -> None:
        action = step.action
        segment = self.base.segments[action.segment]
        key = action.segment, action.microbatch
        if step.kind == "again":
            self.executor.modules[action.segment].again(self.forwards[key], self.executor.counts_memory)
        elif action.phase == "F":
            self._forward(segment, action.microbatch)
        else:
            self._backward(segment, action.microbatch, action.phase)

    def _forward(self, segment: Segment, b: int) -> None:
        module = self.executor.modules[segment.name]
        if not segment.has_backward:
            with torch.no_grad():
                outputs = module.outputs(self.arguments(segment, b), self._loss(segment, b))
        else:
            forward = self.forward_of(segment, b)
            outputs = module.run(forward, self.executor.counts_memory)
            self.forwards[segment.name, b] = forward
        if not segment.outputs:
            if segment.has_backward or self.loss_fn is not None:
                self.losses[segment.name, b] = outputs[0].detach() * self.base.microbatches
            return
        for tensor, value in zip(segment.outputs, outputs, strict=True):
            here = sum(consumer.homes[b] == self.here for consumer in self.consumers[tensor])
            self._keep((tensor, b, None), plain(value.detach()).contiguous(), here)

    def forward_of(self, segment: Segment, b: int) -> Forward:
        """A forward with its arguments, which are taken. Those of other segments are leaves, one per consumer: the
        backward of a segment must end at its inputs."""
        arguments = self.arguments(segment, b)
        leaves = []
        for i, entry in enumerate(segment.inputs):
            if entry.producer is not None:
                learns = self.base.segments[entry.producer].has_backward
                has_gradient = self.executor.specs[entry.tensor].has_gradient
                arguments[i] = arguments[i].detach().requires_grad_(learns and has_gradient)
                leaves.append(arguments[i])
        given = [*arguments, self.targets[b]] if not segment.outputs else arguments
        outside = [v for v in given if isinstance(v, Tensor) and all(v is not leaf for leaf in leaves)]
        return Forward(arguments, leaves, self._loss(segment, b), self.program.modes[segment.name, b], outside)

    def _backward(self, segment: Segment, b: int, phase: str) -> None:
        forward = self.forwards[segment.name, b]
        assert forward.backward is not None
        if phase == "W" and forward.gradients:
            if forward.backward.parameters:
                forward.backward.weight_gradients(forward.gradients)
            del self.forwards[segment.name, b]
            return
        forward.gradients = [self._gradient_of(tensor, b) for tensor in segment.outputs] or [None]
        if phase == "I":
            found = forward.backward.input_gradients(forward.gradients)
        else:
            found = forward.backward.whole(forward.gradients)
        if phase != "I" or (segment.name, b) not in self.splits:
            del self.forwards[segment.name, b]
        taken = [entry for entry in segment.inputs if entry.producer]
        for entry, gradient in zip(taken, found, strict=True):
            assert entry.producer is not None
            producer = self.base.segments[entry.producer]
            here = int(producer.has_backward and producer.homes[b] == self.here)
            self._keep((entry.tensor, b, segment.name), None if gradient is None else plain(gradient), here)

    def _gradient_of(self, tensor: str, b: int) -> Tensor | None:
        """Sum of what the consumers of a tensor give back, in the order of the graph; None without any."""
        total = None
        for consumer in self.consumers[tensor]:
            if (tensor, b, consumer.name) in self.values:
                gradient = self._take((tensor, b, consumer.name))
                if gradient is not None:
                    total = gradient if total is None else total + gradient
        return total

    def arguments(self, segment: Segment, b: int) -> list[Any]:
        """Of a forward: from outside, and from other segments, which are taken."""
        if not segment.inputs:
            given = self.inputs[segment.name][b]
            return list(given) if isinstance(given, (tuple, list)) else [given]
        return [
            self.inputs[e.tensor][b] if e.producer is None else self._take((e.tensor, b, None)) for e in segment.inputs
        ]

    def _loss_function(self, name: str) -> LossFunction:
        fn = self.loss_fn.get(name) if isinstance(self.loss_fn, Mapping) else self.loss_fn
        if fn is None:
            raise ProgramError(f"nothing consumes segment {name!r}, expected a loss function for it")
        return fn

    def _loss(self, segment: Segment, b: int) -> Any:
        """Scaled so that the sum over microbatches and ranks is the mean."""
        if segment.outputs or (self.loss_fn is None and not segment.has_backward):
            return None
        fn, mesh = self._loss_function(segment.name), self.program.meshes[self.here]
        share = 1 / (self.base.microbatches * mesh.data * mesh.context)
        return lambda made: fn(made, self.targets[b]) * share

    # Values of this rank

    def box(self, key: Key) -> Box:
        """This rank's part of a tensor, as its producer has made it or as the device's consumers want it."""
        tensor, b, consumer = key
        producer = self.producer[tensor]
        if producer.homes[b] == self.here:
            return self.program.box(self.rank, tensor, producer.name, is_input=False)
        users = [s.name for s in self.consumers[tensor] if s.homes[b] == self.here]
        return self.program.box(self.rank, tensor, consumer or users[0], is_input=True)

    def _keep(self, key: Key, value: Tensor | None, uses_here: int) -> None:
        """Holds a value until its users here and all sends have taken it."""
        tensor, b, consumer = key
        if value is not None and consumer is None:
            spec = self.executor.specs[tensor]
            assert spec.shape is not None
            expected = self.box(key).shape(spec.shape, tensor)
            if tuple(value.shape) != expected or value.dtype != spec.dtype:
                raise ProgramError(
                    f'tensor "{tensor}" of microbatch {b} is {value.dtype} of {tuple(value.shape)} on rank '
                    f"{self.rank}, expected {spec.dtype} of {expected} as in the first step"
                )
        uses = uses_here + self.sends[key]
        if uses:
            self.values[key], self.uses[key] = value, uses

    def _take(self, key: Key) -> Tensor:
        value = self.values[key]
        self.uses[key] -= 1
        if self.uses[key] == 0:
            del self.values[key], self.uses[key]
        return value  # type: ignore[return-value]

    # Messages

    def _communicate(self, step: Communicate) -> None:
        piece = step.piece
        spec = self.executor.specs[piece.tensor]
        if piece.consumer is not None and not spec.has_gradient:
            return  # nobody sends gradients of integers
        peers = self.executor.peers
        if step.kind == "post":
            assert spec.shape is not None
            shape = piece.box.shape(spec.shape, piece.tensor)
            buffer = torch.empty(shape, dtype=spec.dtype, device=self.executor.device)
            work = dist.irecv(buffer, peers.global_ranks[piece.source], peers.world, piece.tag)
            self.receiving[piece] = work, buffer
        elif step.kind == "receive":
            work, buffer = self.receiving.pop(piece)
            work.wait(peers.timeout)
            self._arrived(piece, buffer, spec)
        elif step.kind == "send":
            value = self._piece(piece, self._take(_key(piece)), spec)
            work = dist.isend(value, peers.global_ranks[piece.destination], peers.world, piece.tag)
            self.sending[piece] = work, value
        elif piece in self.sending:
            self.sending.pop(piece)[0].wait(peers.timeout)

    def _piece(self, piece: Piece, value: Tensor | None, spec: TensorSpec) -> Tensor:
        """What goes to the other rank; zeros where there is no gradient."""
        assert spec.shape is not None
        if value is None:
            shape = piece.box.shape(spec.shape, piece.tensor)
            return torch.zeros(shape, dtype=spec.dtype, device=self.executor.device)
        mine = self.box(_key(piece))
        return (value if piece.box == mine else value[piece.box.within(mine, spec.shape)]).contiguous()

    def _arrived(self, piece: Piece, buffer: Tensor, spec: TensorSpec) -> None:
        key = _key(piece)
        mine = self.box(key)
        assert spec.shape is not None
        if piece.box != mine:
            whole, missing = self.coming.pop(key, (None, self.pieces[key]))
            if whole is None:
                whole = torch.empty(mine.shape(spec.shape, piece.tensor), dtype=spec.dtype, device=buffer.device)
            whole[piece.box.within(mine, spec.shape)] = buffer
            if missing > 1:
                self.coming[key] = whole, missing - 1
                return
            buffer = whole
        uses = 1 if piece.consumer else sum(s.homes[key[1]] == self.here for s in self.consumers[piece.tensor])
        self._keep(key, buffer, uses)

    # Together with others

    def _together(self, step: Collective) -> None:
        if step.kind == "losses":
            group = self.executor.peers.group(step.groups[0]) if step.groups else None
            for (name, _), loss in sorted(self.losses.items()):
                if group is not None and name == step.segment:
                    dist.all_reduce(loss, group=group)
            return
        tensor_group = None
        if step.kind == "reduce":
            peers = self.program.grid.tensor_peers(self.rank)
            tensor_group = self.executor.peers.group(peers) if peers in step.groups else None
        for bucket in self.executor.buckets[step.segment, step.part]:
            if step.kind == "gather":
                bucket.gather()
            elif step.kind == "free":
                bucket.free()
            elif step.kind == "scatter":
                bucket.scatter()
            elif step.kind == "reduce":
                bucket.reduce(tensor_group)
            elif id(bucket) in self.executor.optimizers:
                bucket.update(*self.executor.optimizers[id(bucket)])


def infer_shapes(run: ParallelStep) -> None:
    """Runs the first microbatch forward once, without effect on buffers or random numbers, and tells every rank the
    shapes of whole tensors. All ranks go through segments and pieces in one order, so nothing waits in a circle."""
    executor, program = run.executor, run.program
    peers, grid = executor.peers, program.grid
    pieces = sorted(
        {s.piece for steps in program.ranks for s in steps if isinstance(s, Communicate) and s.kind == "send"},
        key=lambda piece: piece.tag,
    )
    for segment in run.base.segments.values():
        home = segment.homes[0]
        told: list[Any] = [None]
        if home == run.here:
            buckets = executor.buckets.get((segment.name, "shared"), []) + executor.buckets.get(
                (segment.name, "experts"), []
            )
            for bucket in buckets:
                if not bucket.is_whole:
                    bucket.gather()
            devices = [executor.device] if executor.device.type == "cuda" else []
            module = executor.modules[segment.name]
            if executor.counts_memory and segment.has_backward:
                outputs, executor.kept_bytes[segment.name] = module.kept_bytes(run.forward_of(segment, 0))
            else:
                with torch.no_grad(), torch.random.fork_rng(devices=devices):
                    outputs = module.outputs(run.arguments(segment, 0), None, fixes_buffers=True)
            for bucket in buckets:
                if bucket.sharding == "weights":
                    bucket.free()
            specs = {
                tensor: TensorSpec(_whole_shape(value, run.box((tensor, 0, None))), value.dtype)
                for tensor, value in zip(segment.outputs, outputs, strict=False)
            }
            told = [(specs, executor.kept_bytes.get(segment.name))]
        with peers.doing(f"shapes of segment {segment.name}", range(program.processes)):
            first = peers.global_ranks[grid.of_device(home)[0]]
            dist.broadcast_object_list(told, first, group=peers.world, device=executor.device)
        executor.specs.update(told[0][0])
        if executor.counts_memory and segment.has_backward:
            executor.kept_bytes.setdefault(segment.name, told[0][1])  # of a segment with a home here beside the first
        if home == run.here:
            for tensor, value in zip(segment.outputs, outputs, strict=False):
                here = sum(consumer.homes[0] == run.here for consumer in run.consumers[tensor])
                run._keep((tensor, 0, None), plain(value.detach()).contiguous(), here)
        for piece in pieces:
            if piece.tensor in segment.outputs and piece.microbatch == 0 and piece.consumer is None:
                for kind, rank in (("post", piece.destination), ("send", piece.source)):
                    if rank == run.rank:
                        run._communicate(Communicate(kind, piece))  # type: ignore[arg-type]
                for kind, rank in (("receive", piece.destination), ("release", piece.source)):
                    if rank == run.rank:
                        run._communicate(Communicate(kind, piece))  # type: ignore[arg-type]


def _whole_shape(value: Tensor, box: Box) -> tuple[int, ...]:
    sizes = list(value.shape)
    for dim, (low, high) in enumerate((box.rows, box.tokens)):
        if dim < len(sizes):
            sizes[dim] = int(sizes[dim] / (high - low))
    return tuple(sizes)


def _key(piece: Piece) -> Key:
    return piece.tensor, piece.microbatch, piece.consumer
