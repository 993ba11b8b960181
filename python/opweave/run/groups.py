"""Process groups of some ranks, one for each set of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch.distributed as dist

# By world, so that groups go with the world that they are of.
_groups: dict[tuple[dist.ProcessGroup | None, tuple[int, ...]], dist.ProcessGroup] = {}


def process_group(ranks: Sequence[int], timeout: timedelta | None = None) -> dist.ProcessGroup:
    """The group of these global ranks, made when it is first asked for; only its members take part in that.

    torch names such a group after its ranks: a second one of the same ranks would find what the first has left in the
    store, and functional collectives look groups up by name. *timeout* holds from now on.
    """
    world = dist.group.WORLD
    for other in [key for key in _groups if key[0] is not world]:
        del _groups[other]
    key = world, tuple(ranks)
    if key not in _groups:
        _groups[key] = dist.new_group(list(ranks), timeout=timeout, use_local_synchronization=True)
    elif timeout is not None:
        dist.distributed_c10d._set_pg_timeout(timeout, _groups[key])
    return _groups[key]
