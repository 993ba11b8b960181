"""Runs a program of ranks over torch.distributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ParallelStyle, parallelize_module

from opweave.run.backward import BackwardSplit
from opweave.run.batch import Batch, in_microbatches, inputs_in_microbatches
from opweave.run.errors import ProgramError
from opweave.run.parallel.boxes import WHOLE, box_of
from opweave.run.parallel.experts import mixtures_of, share_experts
from opweave.run.parallel.forwards import Module
from opweave.run.parallel.parameters import Bucket
from opweave.run.parallel.peers import Peers
from opweave.run.parallel.program import Collective, ParallelProgram, Part
from opweave.run.parallel.step import ParallelResult, ParallelStep, infer_shapes
from opweave.run.parallel.tensor_words import require_ends
from opweave.run.step import LossFunction, TensorSpec

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

# Each number is stepped from its own gradient and state, so a share of a tensor steps as the tensor does.
_ELEMENTWISE = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD")


class ParallelExecutor:
    """Runs steps of one program with this process's modules.

    *segments* maps a segment's name to its module, with the same parameters in every process; a rank needs those of its
    device. They are changed in place: parameters of *tensor_plans* become DTensors on the tensor axis of the device,
    experts of other ranks go, weights are shared out. *tensor_plans*: by segment, torch's parallelize plan by module
    path (`tensor_plan` makes those of known architectures).
    *optimizer* makes an optimizer for a list of parameters; it is made for each segment, of what this rank steps, and
    must treat every number by itself (Adam, SGD and the like). *counts_memory* counts what is kept for backwards,
    *records_collectives* times the collectives inside of actions and updates; both take time.

    All ranks of *group* construct it and call its methods together.

    Raises ProgramError, by name, for what cannot be run: parameters that two segments share, normalisation over a batch
    that is shared out, plain parameters where tokens lie over the tensor axis, modules that are missing.
    """

    def __init__(
        self,
        program: ParallelProgram,
        segments: Mapping[str, nn.Module],
        *,
        tensor_plans: Mapping[str, Mapping[str, ParallelStyle]] | None = None,
        optimizer: MakeOptimizer | None = None,
        group: dist.ProcessGroup | None = None,
        device: torch.device | str = "cpu",
        split: BackwardSplit = "graph",
        timeout_s: float = 300.0,
        counts_memory: bool = False,
        records_collectives: bool = False,
    ) -> None:
        self.program = program
        self.device = torch.device(device)
        self.counts_memory = counts_memory
        self.records_collectives = records_collectives
        size = dist.get_world_size(group)
        if size != program.processes:
            raise ProgramError(f"group has {size} processes, the meshes have {program.processes} ranks")
        _refuse_shared(segments)
        self.rank = dist.get_rank(group)
        missing = [name for name in program.segments_on(self.rank) if name not in segments]
        if missing:
            raise ProgramError(f"rank {self.rank} has no module for segment {', '.join(map(repr, missing))}")
        mine = {name: segments[name] for name in program.segments_on(self.rank)}
        for name, module in mine.items():
            _refuse_batch_norms(name, module, program, self.rank)
            _require_weight_gradients(name, module, program)
        self.peers = Peers(program, group, timeout_s)
        plans = tensor_plans or {}
        unknown = [name for name in plans if name not in program.base.segments]
        if unknown:
            raise ProgramError(f"tensor plans: the plan has no segment {unknown[0]!r}")
        self._over_tensor(mine, plans)
        self._over_experts(mine)
        grid = program.grid
        context = self.peers.groups.get(grid.context_peers(self.rank))
        self.modules = {
            name: Module(program.base.segments[name], module, context, split, name in program.attention_again)
            for name, module in mine.items()
        }
        self.buckets: dict[tuple[str, Part], list[Bucket]] = {}
        for name, module in mine.items():
            self._fill_buckets(name, module)
        self.optimizers = self._optimizers(optimizer) if optimizer else {}
        self.specs: dict[str, TensorSpec] = {}  # of whole tensors
        self.kept_bytes: dict[str, int] = {}  # by segment, of one forward beside inputs and results; if counted

    def step(
        self,
        inputs: Batch | Mapping[str, Batch],
        targets: Batch | None = None,
        loss_fn: LossFunction | Mapping[str, LossFunction] | None = None,
    ) -> ParallelResult:
        """One training iteration.

        Every rank gets the whole batch (or at least its own part of it in place): of each input, and of the targets, a
        tensor that is cut into microbatches along its first dimension, or a sequence with one entry per microbatch. A
        rank takes its rows of a microbatch (dimension 0, by the data axis) and its tokens (dimension 1, by the context
        axis). `loss_fn(output, target)` is taken of what a rank holds and must be a mean over rows and tokens: the loss
        is the mean over ranks and microbatches, and gradients are those of it.

        Weights are updated if the executor has an optimizer; else `gradients()` are added up over steps.
        Raises PeerError when another process has ended or is late, naming what failed and with whom.
        """
        given = {
            name: [self._part(f"inputs of {name!r}", value) for value in batch]
            for name, batch in inputs_in_microbatches(self.program.base, inputs, self.modules).items()
        }
        goals = in_microbatches("targets", targets, self.program.base.microbatches)
        run = ParallelStep(self, given, [self._part("targets", value) for value in goals], loss_fn)
        if not self.specs:
            infer_shapes(run)
        self.peers.meet()
        return run.run()

    def gradients(self) -> dict[str, dict[str, Tensor]]:
        """By segment and parameter, whole on every rank of its device; of experts, those of this rank. Collective."""
        return self._collected(lambda bucket: bucket.whole_gradients())

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Likewise the weights."""
        return self._collected(lambda bucket: bucket.whole_weights())

    def _collected(self, of: Callable[[Bucket], dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        result: dict[str, dict[str, Tensor]] = {name: {} for name in self.modules}
        for (segment, _), buckets in self.buckets.items():
            for bucket in buckets:
                for name, local in of(bucket).items():
                    result[segment][name] = _whole(bucket.parameters[name], local)
        return result

    # Construction

    def _over_tensor(self, mine: dict[str, nn.Module], plans: Mapping[str, Mapping[str, ParallelStyle]]) -> None:
        peers = self.program.grid.tensor_peers(self.rank)
        if len(peers) == 1:
            return
        if not any(plans.get(name) for name in mine):
            device = self.peers.device(self.rank)
            raise ProgramError(f"device {device} has {len(peers)} tensor ranks, but none of its segments a tensor plan")
        require_ends({name: self.program.splits[name] for name in mine}, plans)
        mesh = DeviceMesh.from_group(self.peers.groups[peers], self.device.type, mesh_dim_names=("tensor",))
        for name, module in mine.items():
            for path in plans.get(name, {}):
                try:
                    module.get_submodule(path)
                except AttributeError:
                    raise ProgramError(f"tensor plan of segment {name!r}: it has no module {path!r}") from None
            if plans.get(name):
                parallelize_module(module, mesh, dict(plans[name]))
            if self.program.splits[name] == (False, False):
                continue
            for path, parameter in module.named_parameters():
                if parameter.requires_grad and not isinstance(parameter, DTensor):
                    raise ProgramError(
                        f"segment {name!r} has its tokens over the tensor axis, but parameter {path!r} is in no tensor "
                        "plan, so that each rank would learn from some of the tokens; expected SequenceParallel for it"
                    )

    def _over_experts(self, mine: dict[str, nn.Module]) -> None:
        peers = self.program.grid.expert_peers(self.rank)
        for name in sorted(self.program.experts & mine.keys()):
            if not mixtures_of(mine[name]):
                raise ProgramError(f"segment {name!r} has no mixture of experts to share out, expected one")
            if len(peers) > 1:
                share_experts(mine[name], self.peers.groups[peers])

    def _fill_buckets(self, name: str, module: nn.Module) -> None:
        """One for each collective part of the segment and type of numbers."""
        grid, homes = self.program.grid, self.program.base.segments[name].homes
        parts: dict[Part, bool] = {
            step.part: step.part == "experts"
            for step in self.program.ranks[self.rank]
            if isinstance(step, Collective) and step.kind == "update" and step.segment == name
        }
        shared_out = tuple(f"{path}.experts." if path else "experts." for path in mixtures_of(module))
        for part, of_experts in parts.items():
            chosen: dict[torch.dtype, dict[str, nn.Parameter]] = {}
            for path, parameter in module.named_parameters():
                is_expert = "experts" in parts and path.startswith(shared_out)
                if parameter.requires_grad and is_expert == of_experts:
                    chosen.setdefault(parameter.dtype, {})[path] = parameter
            group = self.peers.group(grid.replicas(self.rank, homes, experts=of_experts))
            self.buckets[name, part] = [
                Bucket(parameters, group, self.program.sharding[name]) for parameters in chosen.values()
            ]

    def _optimizers(self, make: MakeOptimizer) -> dict[int, tuple[torch.optim.Optimizer, list[nn.Parameter]]]:
        """By bucket."""
        result = {}
        for buckets in self.buckets.values():
            for bucket in buckets:
                leaves = bucket.leaves()
                optimizer = make(leaves)
                kind = type(optimizer).__name__
                if kind not in _ELEMENTWISE:
                    raise ProgramError(
                        f"optimizer is {kind}, which may need whole parameters; expected one of "
                        + ", ".join(_ELEMENTWISE)
                    )
                result[id(bucket)] = optimizer, leaves
        return result

    # A batch

    def _part(self, name: str, value: Any) -> Any:
        """Rows and tokens of this rank."""
        if isinstance(value, (tuple, list)):
            return type(value)(self._part(name, entry) for entry in value)
        if not isinstance(value, Tensor) or value.dim() == 0:
            return value
        grid = self.program.grid
        box = box_of(grid.place_of(self.rank), grid.meshes[grid.device_of(self.rank)])
        shape = tuple(value.shape)
        box.shape(shape, name)
        return value[box.within(WHOLE, shape)].contiguous()


def _whole(parameter: nn.Parameter, local: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return local
    shards = DTensor.from_local(
        local, parameter.device_mesh, parameter.placements, run_check=False, shape=parameter.shape,
        stride=parameter.stride(),
    )  # fmt: skip
    return shards.full_tensor()


def _refuse_shared(segments: Mapping[str, nn.Module]) -> None:
    """Gradients of a parameter are reduced by its segment."""
    owners: dict[nn.Parameter, tuple[str, str]] = {}
    for name, module in segments.items():
        for path, parameter in module.named_parameters():
            segment, other = owners.setdefault(parameter, (name, path))
            if segment != name:
                raise ProgramError(
                    f"segments {segment!r} and {name!r} share a parameter ({other!r}, {path!r}), whose gradients come "
                    "from both; expected them in one segment, or parameters of their own"
                )


def _require_weight_gradients(name: str, module: nn.Module, program: ParallelProgram) -> None:
    """A module that should learn needs actions that make its weight gradients."""
    phases = {action.phase for _, action in program.base.actions() if action.segment == name}
    if phases & {"I"} and not phases & {"W", "B"} and any(p.requires_grad for p in module.parameters()):
        raise ProgramError(f"segment {name!r} has parameters that require gradients, but the plan has no W or B for it")


def _refuse_batch_norms(name: str, module: nn.Module, program: ParallelProgram, rank: int) -> None:
    mesh = program.meshes[program.grid.device_of(rank)]
    for path, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training and mesh.data * mesh.context > 1:
            raise ProgramError(
                f"segment {name!r}: {path or type(part).__name__} normalises over the batch, of which each of "
                f"{mesh.data * mesh.context} ranks would see its own part"
            )
