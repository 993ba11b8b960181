"""A mixture of experts, and its experts shared out over the expert axis."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from opweave.run.errors import ProgramError
from opweave.run.parallel.exchange import exchange


class MixtureOfExperts(nn.Module):
    """Every token goes to `active` experts: result = sum of weight x expert(token), no token is dropped.

    Weights are the softmax over the router's largest logits. Tokens are rows: (..., hidden) in and out. A module of
    one's own is shared out likewise if it has `experts`, a ModuleList of modules from (n, hidden) to (n, hidden), and
    `route(tokens)`, which gives weights and numbers of experts, both (n, active), and computes what this class does.
    """

    def __init__(self, router: nn.Module, experts: Iterable[nn.Module], active: int) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(experts)
        self.active = active

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of the experts of every token."""
        logits, chosen = self.router(tokens).topk(self.active, dim=-1)
        return logits.softmax(-1), chosen

    def forward(self, value: Tensor) -> Tensor:
        """All experts here."""
        return _mixed(self, value, None)


def share_experts(module: nn.Module, group: dist.ProcessGroup) -> list[str]:
    """Makes this rank keep the ith of equal runs of the experts of every mixture in *module*, and send tokens to those
    that have the others. Returns the paths of the mixtures.

    Raises ProgramError where the ranks of the group do not divide a number of experts, or there are none at all.
    """
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    found = mixtures_of(module)
    for path in found:
        mixture = module.get_submodule(path)
        count = len(mixture.experts)  # type: ignore[arg-type]
        if count % ranks:
            raise ProgramError(f"{path or 'module'}: {count} experts, expected a multiple of {ranks} expert ranks")
        share = count // ranks
        for number in range(count):
            if number // share != rank:
                mixture.experts._modules[str(number)] = None  # type: ignore[union-attr]
        mixture.forward = partial(_mixed, mixture, group=group)
    return found


def mixtures_of(module: nn.Module) -> list[str]:
    """Paths of the mixtures in a module (MixtureOfExperts says what one is)."""
    return [
        path
        for path, part in module.named_modules()
        if isinstance(getattr(part, "experts", None), nn.ModuleList) and callable(getattr(part, "route", None))
    ]


def _mixed(mixture: nn.Module, value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    tokens = value.reshape(-1, value.shape[-1])
    weights, chosen = mixture.route(tokens)  # type: ignore[operator]
    experts: list[nn.Module | None] = list(mixture.experts)  # type: ignore[arg-type]
    order = chosen.flatten().argsort(stable=True)  # of the places of tokens, those for one expert together
    counts = torch.bincount(chosen.flatten(), minlength=len(experts))
    made = _computed(experts, tokens[order // chosen.shape[1]], counts, group)
    weighted = made * weights.flatten()[order][:, None]
    return torch.zeros_like(tokens).index_add(0, order // chosen.shape[1], weighted).view(value.shape)


def _computed(experts: list[nn.Module | None], rows: Tensor, counts: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Results for rows that stand in the order of their experts, *counts* for each."""
    if group is None:
        return torch.cat(
            [expert(part) for expert, part in zip(experts, torch.split(rows, counts.tolist()), strict=True) if expert]
        )
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    share = len(experts) // ranks
    coming = torch.empty_like(counts)  # rows for each of my experts, from each rank
    dist.all_to_all_single(coming, counts, group=group)
    given, taken = counts.view(ranks, share).sum(1).tolist(), coming.view(ranks, share).sum(1).tolist()
    here = exchange(rows, given, taken, group)
    # From (rank, expert) to (expert, rank) and back.
    number = torch.arange(share, device=rows.device).repeat(ranks).repeat_interleave(coming)
    order = number.argsort(stable=True)
    sizes = coming.view(ranks, share).sum(0).tolist()
    mine = experts[rank * share : (rank + 1) * share]
    made = torch.cat(
        [expert(part) for expert, part in zip(mine, torch.split(here[order], sizes), strict=True) if expert]
    )
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return exchange(made[back], taken, given, group)
