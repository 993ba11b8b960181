"""Proof, by playing it through, that a program delivers every tensor and ends. Knows nothing of how it was made."""

from __future__ import annotations

from opweave.run.errors import ProgramError
from opweave.run.program import Action, Message, Program, Step


def check_program(program: Program) -> None:
    """Raises ProgramError unless every send has one receive, posted before its use, every action finds its inputs on
    its rank, both ends of every pair of ranks post their messages in the same order, and no rank waits forever: also
    not where a send ends with its receive and a rank's messages take turns (docs/messages.md)."""
    _check_pairs(program)
    _check_turns(program)
    player = _Player(program)
    position = [0] * program.processes
    moved = True
    while moved:
        moved = False
        for rank, steps in enumerate(program.ranks):
            while position[rank] < len(steps) and player.play(rank, steps[position[rank]]):
                position[rank] += 1
                moved = True
    for rank, steps in enumerate(program.ranks):
        if position[rank] < len(steps):
            step = steps[position[rank]]
            missing = [str(message) for message in step.receive if message not in player.sent]
            raise ProgramError(f"rank {rank} waits forever before {step.action} for {'; '.join(missing)}")


def _check_pairs(program: Program) -> None:
    """Messages between two ranks, in either direction, are posted in one order at both ends, each once."""
    posted: dict[tuple[int, int], dict[int, list[Message]]] = {}
    for rank, steps in enumerate(program.ranks):
        for step in steps:
            for message, owner in [(m, m.destination) for m in step.post] + [(m, m.source) for m in step.send]:
                if owner != rank:
                    raise ProgramError(f"rank {rank} handles {message}, which belongs to rank {owner}")
                pair = (min(message.source, message.destination), max(message.source, message.destination))
                posted.setdefault(pair, {}).setdefault(rank, []).append(message)
    for (low, high), ends in posted.items():
        if ends.get(low) != ends.get(high):
            raise ProgramError(f"ranks {low} and {high} do not post the same messages in the same order")
        if len({message.tag for message in ends[low]}) != len(ends[low]):
            raise ProgramError(f"ranks {low} and {high} use a tag twice")


def _check_turns(program: Program) -> None:
    """Every rank goes through its messages one by one, and each ends when both ends have come to it. What a rank waits
    for before an action has been posted before, so that actions hold up nothing here."""
    queues = [[message for step in steps for message in (*step.post, *step.send)] for steps in program.ranks]
    position = [0] * program.processes

    def head(rank: int) -> Message | None:
        return queues[rank][position[rank]] if position[rank] < len(queues[rank]) else None

    ready = list(range(program.processes))
    while ready:
        message = head(ready.pop())
        if message and head(message.source) == head(message.destination) == message:
            for rank in (message.source, message.destination):
                position[rank] += 1
                ready.append(rank)
    stuck = next((rank for rank in range(program.processes) if head(rank)), None)
    if stuck is None:
        return
    path = [stuck]
    while True:
        message = queues[path[-1]][position[path[-1]]]
        other = message.source if message.destination == path[-1] else message.destination
        if other in path:
            break
        path.append(other)
    circle = ", ".join(f"rank {rank} at {head(rank)}" for rank in path[path.index(other) :])
    raise ProgramError(f"messages wait in a circle where a send ends with its receive: {circle}")


class _Player:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.sent: set[Message] = set()
        self.posted: set[Message] = set()
        self.here: list[set[tuple[str, int, str | None]]] = [set() for _ in program.ranks]  # values on each rank
        self.done: set[tuple[str, str, int]] = set()
        self.gradients: dict[str, list[tuple[str, str]]] = {name: [] for name in program.segments}  # tensor, consumer
        for consumer in program.segments.values():
            for entry in consumer.inputs if consumer.has_backward else ():
                if entry.producer:
                    self.gradients[entry.producer].append((entry.tensor, consumer.name))

    def play(self, rank: int, step: Step) -> bool:
        """Whether the step can run now; if so, it has."""
        self.posted.update(step.post)
        if any(message not in self.sent for message in step.receive):
            return False
        for message in step.receive:
            if message not in self.posted:
                raise ProgramError(f"rank {rank} waits for {message} without a receive")
            self.here[rank].add((message.tensor, message.microbatch, message.consumer))
        self._require_inputs(rank, step.action)
        self._produce(rank, step.action)
        for message in step.send:
            if (message.tensor, message.microbatch, message.consumer) not in self.here[rank]:
                raise ProgramError(f"rank {rank} sends {message} before it has it")
            self.sent.add(message)
        return True

    def _delivers_gradients(self, action: Action) -> bool:
        return action.phase in "IB" or (
            action.phase == "W" and ("I", action.segment, action.microbatch) not in self.done
        )

    def _require_inputs(self, rank: int, action: Action) -> None:
        needed: list[tuple[str, int, str | None]]
        segment = self.program.segments[action.segment]
        if action.phase == "F":
            needed = [(entry.tensor, action.microbatch, None) for entry in segment.inputs if entry.producer]
        elif action.phase == "O":
            needed = []
        else:
            if ("F", action.segment, action.microbatch) not in self.done:
                raise ProgramError(f"rank {rank}: {action} comes before its forward")
            needed = []
            if self._delivers_gradients(action):
                needed = [(t, action.microbatch, consumer) for t, consumer in self.gradients[action.segment]]
        for value in needed:
            if value not in self.here[rank]:
                raise ProgramError(f"rank {rank}: {action} needs {value[0]}, which is not there")

    def _produce(self, rank: int, action: Action) -> None:
        segment = self.program.segments[action.segment]
        if action.phase == "F":
            self.here[rank].update((tensor, action.microbatch, None) for tensor in segment.outputs)
        elif action.phase != "O" and self._delivers_gradients(action):
            self.here[rank].update((entry.tensor, action.microbatch, segment.name) for entry in segment.inputs)
        self.done.add(action.key)
