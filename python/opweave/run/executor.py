"""Runs a program, one process per device, over torch.distributed (gloo or NCCL)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._composable.contract import _get_registry
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from opweave.run.backward import BackwardSplit
from opweave.run.batch import Batch, in_microbatches, inputs_in_microbatches
from opweave.run.compiler import compile_plan
from opweave.run.errors import ProgramError
from opweave.run.groups import process_group
from opweave.run.movements import refuse_movements
from opweave.run.program import ActionTiming, Program
from opweave.run.segments import SegmentRule
from opweave.run.step import LossFunction, StepResult, StepRun, TensorSpec
from opweave.run.tensor_parallel import require_equal_gradients, require_equal_programs


class Executor:
    """Runs steps of one program with this process's modules.

    `segments` maps a segment's name to its module; a rank needs those with a home on it and ignores the rest. A
    segment with several homes must start with equal parameters on all of them. Gradients are added to `.grad`, as
    by torch. `optimizers` (by segment) step where the plan runs an operator of phase O; without one, the
    operator does nothing. Tensors that pass between segments keep their shape from microbatch to microbatch.
    Tensor-parallel modules (parameters that are DTensors) run as they are, with the gradients of one process, if all
    processes of a module run the plan as the same device, each in a group of its own, and hand on plain tensors;
    DistributedDataParallel and fully sharded ones are refused. `specs` has the shapes of all tensors that pass between
    segments, where they are known; else the first step finds them.

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
        specs: Mapping[str, TensorSpec] | None = None,
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
        refuse_movements(program, "this executor")
        missing = [name for name in program.segments_on(self.rank) if name not in segments]
        if missing:
            raise ProgramError(f"rank {self.rank} has no module for segment {', '.join(map(repr, missing))}")
        self.modules = {name: segments[name] for name in program.segments_on(self.rank)}
        self.peers = [dist.get_global_rank(group or dist.group.WORLD, rank) for rank in range(size)]  # type: ignore[arg-type]
        # Only members take part, in one order, so the program's group may be a part of the world.
        self.home_groups = {
            homes: process_group([self.peers[rank] for rank in homes])
            for homes in sorted({tuple(sorted(set(s.homes))) for s in program.segments.values()})
            if len(homes) > 1 and self.rank in homes
        }
        self.specs: dict[str, TensorSpec] = dict(specs or {})
        self._knows_shapes = specs is not None
        self._refuse_own_reductions()
        self._require_weight_gradients()
        actions = [str(step.action) for step in program.ranks[self.rank]]
        require_equal_programs(self.modules, actions, self.peers)
        self._compared_gradients = False

    def _refuse_own_reductions(self) -> None:
        """Wrappers that reduce gradients from inside the backward would do so in a wrong one, or never: a plan has many
        backwards per step, splits them, and orders them differently on each device."""
        for name, module in self.modules.items():
            wrapper = _reducing_wrapper(module)
            if wrapper is not None:
                raise ProgramError(
                    f"segment {name!r} is wrapped in {wrapper}, which reduces gradients in the middle of a step"
                    "\nhint: give the module itself, and reduce its gradients over the other processes after step()"
                )

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
        given = inputs_in_microbatches(self.program, inputs, self.modules)
        run = StepRun(self, given, in_microbatches("targets", targets, self.program.microbatches), loss_fn)
        if not self._knows_shapes:
            run.infer_shapes()
            self._knows_shapes = True
        with run.peer("start of the step"):
            dist.barrier(self.group)
        result = run.run()
        if not self._compared_gradients:
            require_equal_gradients(self.modules)
            self._compared_gradients = True
        return result


def _reducing_wrapper(module: nn.Module) -> str | None:
    """What makes the module or a part of it reduce gradients over processes by itself."""
    for part in module.modules():
        for wrapper in (DistributedDataParallel, nn.DataParallel, FullyShardedDataParallel):
            if isinstance(part, wrapper):
                return wrapper.__name__
        for function in ("fully_shard", "replicate"):
            if function in (_get_registry(part) or ()):
                return function
    return None


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
