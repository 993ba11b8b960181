"""When every rank does what, if instructions take what was measured."""

from __future__ import annotations

from opweave.run.errors import ProgramError
from opweave.run.parallel.check import groups_of
from opweave.run.parallel.cores import on_cores
from opweave.run.parallel.program import Communicate, Group, Instruction, ParallelProgram, Piece
from opweave.run.parallel.step import Timing
from opweave.run.parallel.timings import Costs


def predict(
    program: ParallelProgram,
    costs: Costs,
    *,
    cores: int | None = None,
    bound: bool = False,
    plays: int = 15,
    seed: int = 0,
) -> list[Timing]:
    """The step of a program: every rank goes through its instructions, one after the other.

    What ranks do together begins when the last of them has come. A receive ends when its message, which takes what
    messages take from the start of the send, is there. O(instructions x members of a group).

    With *cores*, the ranks are threads of one machine with fewer of them than ranks: instructions last until their
    processor time is done, and ranks that compute at a time share the cores evenly; *bound* (as `launch` binds them),
    rank r has core r mod *cores* and shares it with the others there. What an instruction takes is drawn
    at random (*seed*) from what was measured (`Costs.busy_ns`); of so many *plays* the one of median length is the
    prediction. Raises ProgramError for less than one core or play.
    """
    for name, value in (("cores", 1 if cores is None else cores), ("plays", plays)):
        if not isinstance(value, int) or value < 1:
            raise ProgramError(f"{name}: value is {value!r}, expected an integer from 1")
    if cores is None:
        return _Prediction(program, costs).run()
    return on_cores(program, costs, cores, bound=bound, plays=plays, seed=seed)


def step_ns(timings: list[Timing]) -> int:
    """Length of a step."""
    return max(t.end_ns for t in timings) - min(t.start_ns for t in timings)


class _Prediction:
    def __init__(self, program: ParallelProgram, costs: Costs) -> None:
        self.program, self.costs = program, costs
        self.now = [0] * program.processes
        self.position = [0] * program.processes
        self.sent: dict[Piece, int] = {}
        self.came: dict[tuple[Group, int], dict[int, int]] = {}  # to the nth meeting of a group: rank, when
        self.counts: list[dict[Group, int]] = [{} for _ in program.ranks]
        self.timings: list[Timing] = []

    def run(self) -> list[Timing]:
        moved = True
        while moved:
            moved = False
            for rank, steps in enumerate(self.program.ranks):
                while self.position[rank] < len(steps) and self._does(rank, steps[self.position[rank]]):
                    self.position[rank] += 1
                    moved = True
        stuck = [r for r, steps in enumerate(self.program.ranks) if self.position[r] < len(steps)]
        if stuck:
            raise ProgramError(f"ranks {', '.join(map(str, stuck))} wait forever")
        return sorted(self.timings, key=lambda t: (t.start_ns, t.rank))

    def _does(self, rank: int, step: Instruction) -> bool:
        start = self.now[rank]
        if isinstance(step, Communicate):
            if step.kind == "receive":
                if step.piece not in self.sent:
                    return False
                end = max(start, self.sent[step.piece] + self.costs.of(step))
            else:
                end = start + self.costs.of(step)
                if step.kind == "send":
                    self.sent[step.piece] = start
        else:
            begin = self._together(rank, step)
            if begin is None:
                return False
            end = begin + self.costs.of(step)
        self.timings.append(Timing(rank, step, start, end))
        self.now[rank] = end
        return True

    def _together(self, rank: int, step: Instruction) -> int | None:
        """When all that take part have come; None if that is not known yet."""
        begin = self.now[rank]
        mine = self.counts[rank]
        for group in groups_of(step):
            there = self.came.setdefault((group, mine.get(group, 0)), {})
            there[rank] = self.now[rank]
        for group in groups_of(step):
            there = self.came[group, mine.get(group, 0)]
            if len(there) < len(group):
                return None
            begin = max(begin, *there.values())
        for group in groups_of(step):
            mine[group] = mine.get(group, 0) + 1
        return begin
