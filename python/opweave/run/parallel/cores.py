"""When every rank does what, if ranks have to share processor cores."""

from __future__ import annotations

import random
from collections import Counter

from opweave.run.errors import ProgramError
from opweave.run.parallel.check import groups_of
from opweave.run.parallel.program import Communicate, Group, Instruction, ParallelProgram, Piece
from opweave.run.parallel.step import Timing
from opweave.run.parallel.timings import Costs, cost_key


def on_cores(program: ParallelProgram, costs: Costs, cores: int, *, bound: bool, plays: int, seed: int) -> list[Timing]:
    """See `predict`. Ranks that compute go on at the same speed, min(1, cores / their number), as a fair scheduler of
    threads lets them, or each core shares itself out among those bound to it; the time goes from one end of an
    instruction, or arrival of a message, to the next.

    With the mean processor times, ranks that do the same would meet without a wait, and cores would never be idle. So
    the times are drawn from those that were measured."""
    rng = random.Random(seed)
    found = [_Cores(program, costs, cores, bound, rng).run() for _ in range(plays)]
    return sorted(found, key=lambda timings: max((t.end_ns for t in timings), default=0))[plays // 2]


class _Cores:
    def __init__(self, program: ParallelProgram, costs: Costs, cores: int, bound: bool, rng: random.Random) -> None:
        self.program, self.costs, self.cores, self.bound, self.rng = program, costs, cores, bound, rng
        self.now = 0.0
        self.position = [0] * program.processes
        self.came: list[float | None] = [None] * program.processes  # when a rank came to its instruction
        self.work: dict[int, float] = {}  # processor time that is left, of ranks that compute
        self.sent: dict[Piece, float] = {}
        self.meeting: dict[tuple[Group, int], int] = {}  # members that have come to the nth meeting of a group
        self.counts: list[dict[Group, int]] = [{} for _ in program.ranks]
        self.timings: list[Timing] = []

    def run(self) -> list[Timing]:
        while True:
            while any([self._begins(rank) for rank in range(self.program.processes)]):
                pass
            arrivals = [self._arrival(rank) for rank in range(self.program.processes)]
            moments = [moment for moment in arrivals if moment is not None]
            speed = self._speeds()
            moments += [self.now + left / speed[rank] for rank, left in self.work.items()]
            if not moments:
                break
            passed = max(0.0, min(moments) - self.now)
            self.now += passed
            for rank in list(self.work):
                self.work[rank] -= passed * speed[rank]
                if self.work[rank] < 0.5:  # of a nanosecond
                    del self.work[rank]
                    self._ends(rank)
        stuck = [r for r, steps in enumerate(self.program.ranks) if self.position[r] < len(steps)]
        if stuck:
            raise ProgramError(f"ranks {', '.join(map(str, stuck))} wait forever")
        return sorted(self.timings, key=lambda t: (t.start_ns, t.rank))

    def _speeds(self) -> dict[int, float]:
        """Of the ranks that compute, in processor time per time."""
        if not self.bound:
            return dict.fromkeys(self.work, min(1.0, self.cores / max(1, len(self.work))))
        sharing = Counter(rank % self.cores for rank in self.work)
        return {rank: 1 / sharing[rank % self.cores] for rank in self.work}

    def _step(self, rank: int) -> Instruction | None:
        steps = self.program.ranks[rank]
        return steps[self.position[rank]] if self.position[rank] < len(steps) else None

    def _begins(self, rank: int) -> bool:
        """Whether the rank goes on: its instruction begins, or has nothing to do and is over."""
        step = self._step(rank)
        if step is None or rank in self.work:
            return False
        if self.came[rank] is None:
            self.came[rank] = self.now
            for group in groups_of(step):
                key = group, self.counts[rank].get(group, 0)
                self.meeting[key] = self.meeting.get(key, 0) + 1
        if isinstance(step, Communicate) and step.kind == "receive":
            arrival = self._arrival(rank)
            if step.piece not in self.sent or (arrival is not None and arrival > self.now + 0.5):
                return False
        if any(self.meeting[g, self.counts[rank].get(g, 0)] < len(g) for g in groups_of(step)):
            return False
        for group in groups_of(step):
            self.counts[rank][group] = self.counts[rank].get(group, 0) + 1
        if isinstance(step, Communicate) and step.kind == "send":
            self.sent[step.piece] = self.now
        self.work[rank] = float(self.rng.choice(self.costs.busy_ns.get(cost_key(step)) or (0,)))
        if self.work[rank] < 0.5:
            del self.work[rank]
            self._ends(rank)
        return True

    def _arrival(self, rank: int) -> float | None:
        """Of the message that a rank waits for, if it is on its way."""
        step = self._step(rank)
        if rank in self.work or not isinstance(step, Communicate) or step.kind != "receive":
            return None
        return self.sent[step.piece] + self.costs.of(step) if step.piece in self.sent else None

    def _ends(self, rank: int) -> None:
        step, start = self._step(rank), self.came[rank]
        assert step is not None and start is not None
        self.timings.append(Timing(rank, step, round(start), round(self.now)))
        self.came[rank] = None
        self.position[rank] += 1
