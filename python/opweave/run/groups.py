"""Process groups of some ranks, one for each set of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

# By world, so that groups go with the world that they are of.
_groups: dict[tuple[dist.ProcessGroup | None, tuple[int, ...]], dist.ProcessGroup] = {}


def process_group(ranks: Sequence[int], timeout: timedelta | None = None) -> dist.ProcessGroup:
    """The group of these global ranks, in ascending order, made when it is first asked for; only its members take part.

    `new_group` lets members meet without the others too, but under a name with the number of groups that a process has
    made so far; where these numbers differ, members wait for each other forever. Here the ranks alone are the name.
    *timeout* holds from now on, None for what torch takes. Members ask for their groups in one order.
    """
    world = dist.group.WORLD
    for other in [key for key in _groups if key[0] is not world]:
        del _groups[other]
    key = world, tuple(ranks)
    if key not in _groups:
        _groups[key] = _made(tuple(ranks), timeout)
    elif timeout is not None:
        c10d._set_pg_timeout(timeout, _groups[key])
    return _groups[key]


def _made(ranks: tuple[int, ...], timeout: timedelta | None) -> dist.ProcessGroup:
    """What new_group does, under a name of ours: private parts of torch, tested for the pinned version."""
    backend, store = c10d._world.pg_map[c10d._get_default_group()]
    made, _ = c10d._new_process_group_helper(
        len(ranks),
        ranks.index(dist.get_rank()),
        list(ranks),
        c10d.Backend(backend),
        store,
        c10d.GroupName("ranks " + ",".join(map(str, ranks))),
        timeout=timeout or c10d._get_default_timeout(c10d.Backend(backend)),
    )
    group: dist.ProcessGroup = made
    c10d._world.pg_group_ranks[group] = {rank: place for place, rank in enumerate(ranks)}
    return group
