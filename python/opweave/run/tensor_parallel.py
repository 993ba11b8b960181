"""Tensor parallelism inside of segments: modules with parameters that are DTensors (torch.distributed.tensor).

Every process of such a parameter runs the same operators in the same order, each as the same device of a pipeline of
its own; what they exchange is the business of the modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import wait_tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from opweave.run.errors import ProgramError

_TOLERANCE = 1e-4  # of gradients that should be equal, relative to their length


def require_equal_programs(modules: Mapping[str, nn.Module], actions: Sequence[str], peers: Sequence[int]) -> None:
    """Raises ProgramError where the processes that share a parameter would wait for each other: two of them run the
    same plan (*peers*, its processes) as different devices, or have other *actions*. All of them call it together."""
    me = dist.get_rank()
    groups: dict[tuple[int, ...], tuple[str, dist.ProcessGroup]] = {}
    for name, path, parameter in _split_parameters(modules):
        where = f"segment {name!r}: parameter {path!r}"
        ranks = [int(rank) for rank in parameter.device_mesh.mesh.flatten()]
        others = [peers.index(rank) for rank in ranks if rank in peers and rank != me]
        if me not in ranks or others:
            place = f"with rank {others[0]} of the same plan" if others else "over other processes than this one"
            raise ProgramError(
                f"{where} is split {place}, expected processes that run the plan as the same device"
                "\nhint: a mesh of (devices of the plan, processes of a device); group= is that of the first dimension"
            )
        for group in _groups(parameter.device_mesh):
            groups.setdefault(tuple(dist.get_process_group_ranks(group)), (where, group))
    for members, (where, group) in sorted(groups.items(), key=lambda entry: entry[0]):
        found: list[Sequence[str] | None] = [None] * len(members)
        dist.all_gather_object(found, list(actions), group=group)
        for rank, other in zip(members, found, strict=True):
            if other != list(actions):
                raise ProgramError(f"{where} is split over processes {me} and {rank}, which have different plans")


def lay_out_gradients(modules: Mapping[str, nn.Module]) -> None:
    """Lays out gradients as their parameters are: of a parameter that is whole on every process, which sees a part of
    the batch on each (a norm in sequence parallelism), they are sums that nobody has added up yet."""
    for _, _, parameter in _split_parameters(modules):
        gradient = parameter.grad
        if isinstance(gradient, DTensor) and gradient.placements != parameter.placements:
            laid = gradient.redistribute(placements=parameter.placements)
            # The collective is over before anybody writes to its result.
            laid._local_tensor = wait_tensor(laid._local_tensor)  # type: ignore[no-untyped-call]
            parameter.grad = laid


def require_equal_gradients(modules: Mapping[str, nn.Module]) -> None:
    """Raises ProgramError for a parameter that is no DTensor, in a segment that has some, whose gradient differs from
    process to process: it saw a part of the batch, and nobody adds the parts up."""
    for name, module in modules.items():
        meshes = {parameter.device_mesh: None for _, _, parameter in _split_parameters({name: module})}
        whole = [
            (path, p) for path, p in module.named_parameters() if not isinstance(p, DTensor) and p.grad is not None
        ]
        for group in (group for mesh in meshes for group in _groups(mesh)):
            for path, parameter in whole:
                assert parameter.grad is not None
                mine = parameter.grad.detach().float()
                mean: Tensor = mine.clone()
                dist.all_reduce(mean, group=group)
                mean /= dist.get_world_size(group)
                difference = (mine - mean).norm()
                dist.all_reduce(difference, dist.ReduceOp.MAX, group=group)
                if not difference <= _TOLERANCE * mean.norm():
                    raise ProgramError(
                        f"segment {name!r}: the gradient of {path!r} differs from process to process of the segment: "
                        "the parameter sees a part of the batch on each, but is no DTensor"
                        "\nhint: SequenceParallel() for its module"
                    )


def _split_parameters(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, DTensor]]:
    for name, module in modules.items():
        for path, parameter in module.named_parameters():
            if isinstance(parameter, DTensor):
                yield name, path, parameter


def _groups(mesh: DeviceMesh) -> list[dist.ProcessGroup]:
    return [mesh.get_group(dimension) for dimension in range(mesh.ndim)]
