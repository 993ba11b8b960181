"""Collectives that autograd can go back through."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(value: Tensor, dim: int, group: dist.ProcessGroup) -> Tensor:
    """The parts of all ranks one after the other along *dim*; backward: each rank gets the sum for its part."""
    result: Tensor = _Gather.apply(value, dim, group)  # type: ignore[no-untyped-call]
    return result


def exchange(value: Tensor, given: list[int], taken: list[int], group: dist.ProcessGroup) -> Tensor:
    """Rows to all ranks: *given* by rank, in their order, and *taken* from each. Backward: their gradients return."""
    result: Tensor = _Exchange.apply(value, given, taken, group)  # type: ignore[no-untyped-call]
    return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, dim: int, group: dist.ProcessGroup) -> Tensor:
        ctx.dim, ctx.group = dim, group
        parts = [torch.empty_like(value) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, value.contiguous(), group=group)
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ranks = dist.get_world_size(ctx.group)
        whole = torch.cat([part.contiguous()[None] for part in gradients[0].chunk(ranks, ctx.dim)])
        mine = torch.empty_like(whole[0])
        dist.reduce_scatter_tensor(mine, whole.flatten(0, 1) if whole.dim() > 1 else whole, group=ctx.group)
        return mine, None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, given: list[int], taken: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.given, ctx.taken, ctx.group = given, taken, group
        return _rows(value, given, taken, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _rows(gradients[0], ctx.taken, ctx.given, ctx.group), None, None, None


def _rows(value: Tensor, given: list[int], taken: list[int], group: dist.ProcessGroup) -> Tensor:
    made = torch.empty((sum(taken), *value.shape[1:]), dtype=value.dtype, device=value.device)
    dist.all_to_all_single(made, value.contiguous(), taken, given, group=group)
    return made
