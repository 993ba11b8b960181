"""Process groups of a program, and errors that say who is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta

import torch.distributed as dist

from opweave.run.errors import PeerError
from opweave.run.groups import process_group
from opweave.run.parallel.check import groups_of
from opweave.run.parallel.program import Group, ParallelProgram

# How gloo, NCCL and torch say that another process is gone or late.
_LOST = (
    "gloo",
    "NCCL",
    "Connection closed",
    "Connection reset",
    "Broken pipe",
    "imed out",
    "imeout",
    "monitoredBarrier",
)


class Peers:
    """Ranks of *group* as ranks of the program; a process group for every group that meets.

    All ranks make it together. Only members take part in making a group, all in one order, so nobody waits in a circle.
    """

    def __init__(self, program: ParallelProgram, group: dist.ProcessGroup | None, timeout_s: float) -> None:
        self.program = program
        self.world = group
        self.rank = dist.get_rank(group)
        self.timeout = timedelta(seconds=timeout_s)
        self.global_ranks = [
            dist.get_global_rank(group or dist.group.WORLD, rank)  # type: ignore[arg-type]
            for rank in range(program.processes)
        ]
        mine = {members for step in program.ranks[self.rank] for members in groups_of(step)}
        self.groups: dict[Group, dist.ProcessGroup] = {
            members: process_group([self.global_ranks[rank] for rank in members], self.timeout)
            for members in sorted(mine)
        }

    def group(self, members: Group) -> dist.ProcessGroup | None:
        """The process group of these ranks; None for one alone."""
        return self.groups[members] if len(members) > 1 else None

    def meet(self) -> None:
        """All ranks begin a step together; who does not come in time is named."""
        with self.doing("start of the step", range(self.program.processes)):
            if dist.get_backend(self.world) == "gloo":
                dist.monitored_barrier(self.world, self.timeout, wait_all_ranks=True)
            else:
                dist.barrier(self.world)

    @contextlib.contextmanager
    def doing(self, what: object, peers: Iterable[int]) -> Iterator[None]:
        """Says what failed and with whom: torch only reports a closed connection or a time-out."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if isinstance(error, PeerError) or not any(sign in str(error) for sign in _LOST):
                raise
            others = sorted(set(peers) - {self.rank})
            noun = "rank" if len(others) == 1 else "ranks"
            names = ", ".join(f"{rank} ({self.device(rank)})" for rank in others)
            raise PeerError(
                f"rank {self.rank} ({self.device(self.rank)}): {what} failed with {noun} {names}: "
                f"{str(error).splitlines()[0]}\n"
                "hint: another process has ended, hangs or is late; its own error is the cause"
            ) from error

    def device(self, rank: int) -> str:
        """Name of the device that a rank belongs to."""
        return self.program.base.devices[self.program.grid.device_of(rank)]
