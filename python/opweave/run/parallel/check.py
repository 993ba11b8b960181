"""Proof, by playing it through, that a program of ranks delivers every piece and ends. Knows nothing of how it was
made."""

from __future__ import annotations

from fractions import Fraction

from opweave.run.errors import ProgramError
from opweave.run.parallel.boxes import Box
from opweave.run.parallel.program import (
    Collective,
    Communicate,
    Compute,
    Copy,
    Group,
    Instruction,
    ParallelProgram,
    Piece,
)


def check_parallel(program: ParallelProgram) -> None:
    """Raises ProgramError unless every piece is posted, sent and received once, in one order at both ends of a pair;
    the collectives of every group run in one order on all its members; every action finds its inputs, weights and what
    was kept for it; gradients are reduced after the last backward and before the update; and no rank waits forever,
    under the rule that a send ends only when its receive is posted, a collective when all members have come to it.

    O(instructions x members of a group).
    """
    _check_pairs(program)
    _check_groups(program)
    player = _Player(program)
    player.play()
    for rank in range(program.processes):
        _check_data(program, rank)


def groups_of(step: Instruction) -> tuple[Group, ...]:
    """Groups that meet in an instruction."""
    return step.groups if isinstance(step, (Compute, Collective)) else ()


def _key(step: Instruction) -> tuple[object, ...]:
    """What members of a group must agree on. Their other groups differ."""
    if isinstance(step, Compute):
        return (step.kind, step.action.key)
    assert isinstance(step, Collective)
    return (step.kind, step.segment, step.part, step.microbatch)


def _check_pairs(program: ParallelProgram) -> None:
    ends: dict[tuple[int, int], dict[int, list[Piece]]] = {}
    for rank, steps in enumerate(program.ranks):
        for step in steps:
            if not isinstance(step, Communicate) or step.kind in ("receive", "release"):
                continue
            piece = step.piece
            owner = piece.source if step.kind == "send" else piece.destination
            if owner != rank:
                raise ProgramError(f"rank {rank}: {step} belongs to rank {owner}")
            pair = min(piece.source, piece.destination), max(piece.source, piece.destination)
            ends.setdefault(pair, {}).setdefault(rank, []).append(piece)
    for (low, high), lists in ends.items():
        if lists.get(low) != lists.get(high):
            raise ProgramError(f"ranks {low} and {high} do not post the same messages in the same order")
        if len({piece.tag for piece in lists[low]}) != len(lists[low]):
            raise ProgramError(f"ranks {low} and {high} use a tag twice")


def _check_groups(program: ParallelProgram) -> None:
    """Every member of a group comes to the same collectives in the same order."""
    meetings: dict[Group, dict[int, list[Instruction]]] = {}
    for rank, steps in enumerate(program.ranks):
        for step in steps:
            for group in groups_of(step):
                if rank not in group:
                    raise ProgramError(f"rank {rank}: {step} is of ranks {_names(group)}, which it is not one of")
                meetings.setdefault(group, {}).setdefault(rank, []).append(step)
    for group, by_rank in meetings.items():
        first = by_rank.get(group[0], [])
        for other in group[1:]:
            mine = by_rank.get(other, [])
            for number in range(max(len(first), len(mine))):
                one = first[number] if number < len(first) else None
                two = mine[number] if number < len(mine) else None
                if one is None or two is None or _key(one) != _key(two):
                    raise ProgramError(
                        f"collective {number} of ranks {_names(group)} is {one or 'none'} on rank {group[0]}, "
                        f"{two or 'none'} on rank {other}, expected one order"
                    )


def _names(group: Group) -> str:
    return ", ".join(map(str, group))


class _Player:
    """Goes on wherever a rank can, until all have ended or all that are left wait."""

    def __init__(self, program: ParallelProgram) -> None:
        self.ranks = program.ranks
        self.position = [0] * program.processes
        self.done: set[tuple[str, Piece]] = set()
        self.meeting: dict[tuple[Group, int], int] = {}  # members that have come to the nth collective of a group
        self.counts: list[dict[Group, int]] = [{} for _ in program.ranks]  # collectives behind each rank
        self.arrived: list[bool] = [False] * program.processes  # the rank has been counted at its present collective

    def play(self) -> None:
        moved = True
        while moved:
            moved = False
            for rank, steps in enumerate(self.ranks):
                while self.position[rank] < len(steps) and self._passes(rank, steps[self.position[rank]]):
                    self.position[rank] += 1
                    self.arrived[rank] = False
                    moved = True
        stuck = [rank for rank, steps in enumerate(self.ranks) if self.position[rank] < len(steps)]
        if stuck:
            where = ", ".join(f"rank {rank} at {self.ranks[rank][self.position[rank]]}" for rank in stuck)
            raise ProgramError(f"ranks wait for each other forever: {where}")

    def _passes(self, rank: int, step: Instruction) -> bool:
        if isinstance(step, Communicate):
            if step.kind == "receive" and ("send", step.piece) not in self.done:
                return False
            if step.kind in ("send", "release") and ("post", step.piece) not in self.done:
                return False
            self.done.add((step.kind, step.piece))
            return True
        groups = groups_of(step)
        mine = self.counts[rank]
        if not self.arrived[rank]:
            self.arrived[rank] = True
            for group in groups:
                key = group, mine.get(group, 0)
                self.meeting[key] = self.meeting.get(key, 0) + 1
        if any(self.meeting[group, mine.get(group, 0)] < len(group) for group in groups):
            return False
        for group in groups:
            mine[group] = mine.get(group, 0) + 1
        return True


def _check_data(program: ParallelProgram, rank: int) -> None:
    _Data(program, rank).check()


class _Data:
    """What a rank has while it goes through its instructions."""

    def __init__(self, program: ParallelProgram, rank: int) -> None:
        self.program, self.rank = program, rank
        self.posted: set[Piece] = set()
        self.sent: set[Piece] = set()  # and not known to have arrived
        self.came: dict[tuple[str, int, str | None], Fraction] = {}  # share of a tensor that has come
        self.made: set[tuple[str, int, str | None]] = set()  # on this rank
        self.done: set[tuple[str, str, int]] = set()
        self.away: set[tuple[str, int]] = set()  # dropped, or on the host
        self.whole: set[str] = set()  # segments whose sharded weights are there
        self.open: set[tuple[str, int]] = set()  # forwards whose backward is not complete
        self.reduced: set[str] = set()

    def check(self) -> None:
        for step in self.program.ranks[self.rank]:
            if isinstance(step, Communicate):
                self._communicate(step)
            elif isinstance(step, Compute):
                self._compute(step)
            elif isinstance(step, Copy):
                self._copy(step)
            else:
                self._collective(step)
        if self.sent:
            raise ProgramError(f"rank {self.rank} never waits for {min(self.sent, key=lambda p: p.tag)} to arrive")
        if self.open:
            name, b = sorted(self.open)[0]
            raise ProgramError(f"rank {self.rank}: {name}#{b} has no backward")

    def _communicate(self, step: Communicate) -> None:
        piece = step.piece
        if step.kind == "post":
            self.posted.add(piece)
        elif step.kind == "receive":
            if piece not in self.posted:
                raise ProgramError(f"rank {self.rank} waits for {piece} without a receive")
            key = piece.tensor, piece.microbatch, piece.consumer
            self.came[key] = self.came.get(key, Fraction(0)) + piece.box.share
        elif step.kind == "send":
            key = piece.tensor, piece.microbatch, piece.consumer
            if key not in self.made:
                raise ProgramError(f"rank {self.rank} sends {piece} before it has it")
            mine = self._box(piece.tensor, piece.consumer or self._producer(piece.tensor), piece.consumer is not None)
            if mine.intersection(piece.box) != piece.box:
                raise ProgramError(f"rank {self.rank} sends rows or tokens of {piece} that it does not hold")
            self.sent.add(piece)
        else:
            self.sent.discard(piece)

    def _box(self, tensor: str, segment: str, is_input: bool) -> Box:
        return self.program.box(self.rank, tensor, segment, is_input=is_input)

    def _producer(self, tensor: str) -> str:
        return next(s.name for s in self.program.base.segments.values() if tensor in s.outputs)

    def _needs(self, tensor: str, b: int, consumer: str | None, box: Box, what: object) -> None:
        key = tensor, b, consumer
        if key not in self.made and self.came.get(key) != box.share:
            raise ProgramError(f"rank {self.rank}: {what} needs all of its part of {tensor}, which is not there")

    def _compute(self, step: Compute) -> None:
        action = step.action
        key = action.segment, action.microbatch
        segment = self.program.base.segments[action.segment]
        if self.program.sharding[action.segment] == "weights" and action.segment not in self.whole:
            raise ProgramError(
                f"rank {self.rank}: {step} needs the weights of {action.segment}, which are not gathered"
            )
        if step.kind == "again":
            if key not in self.away:
                raise ProgramError(f"rank {self.rank}: {step}, but nothing was dropped")
            self.away.discard(key)
            return
        if action.phase == "F":
            for entry in segment.inputs:
                if entry.producer:
                    box = self._box(entry.tensor, segment.name, True)
                    self._needs(entry.tensor, action.microbatch, None, box, step)
            self.made.update((tensor, action.microbatch, None) for tensor in segment.outputs)
            if segment.has_backward:
                self.open.add(key)
                if self.program.modes[key] == "drop":
                    self.away.add(key)
        else:
            self._backward(step)
        self.done.add(action.key)

    def _backward(self, step: Compute) -> None:
        action = step.action
        segment = self.program.base.segments[action.segment]
        key = action.segment, action.microbatch
        if ("F", *key) not in self.done:
            raise ProgramError(f"rank {self.rank}: {step} comes before its forward")
        if key in self.away:
            raise ProgramError(f"rank {self.rank}: {step} needs what its forward kept, which is not there")
        if action.segment in self.reduced:
            raise ProgramError(f"rank {self.rank}: {step} comes after the reduction of its gradients")
        if action.phase in "IB" or ("I", *key) not in self.done:
            for tensor in segment.outputs:
                for consumer in self.program.base.segments.values():
                    if consumer.has_backward and any(e.tensor == tensor for e in consumer.inputs):
                        box = self._box(tensor, segment.name, False)
                        self._needs(tensor, action.microbatch, consumer.name, box, step)
            self.made.update((entry.tensor, action.microbatch, segment.name) for entry in segment.inputs)
        self.open.discard(key)

    def _copy(self, step: Copy) -> None:
        key = step.segment, step.microbatch
        if step.kind == "out":
            if key not in self.open:
                raise ProgramError(f"rank {self.rank}: {step}, but nothing is kept there")
            self.away.add(key)
        elif key not in self.away:
            raise ProgramError(f"rank {self.rank}: {step}, but it has not been copied out")
        else:
            self.away.discard(key)

    def _collective(self, step: Collective) -> None:
        if step.kind == "gather":
            self.whole.add(step.segment)
        elif step.kind == "free":
            self.whole.discard(step.segment)
        elif step.kind == "reduce":
            self.reduced.add(step.segment)
        elif step.kind == "update" and step.segment not in self.reduced:
            raise ProgramError(f"rank {self.rank}: {step} comes before the reduction of its gradients")
