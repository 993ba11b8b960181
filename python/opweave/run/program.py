"""What every process does: actions in their planned order, and the messages between them.

A *segment* is the part of a model that one `nn.Module` computes. An *action* runs one phase of one segment for one
microbatch. Device i of the plan's cluster is rank i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["F", "I", "W", "B", "O"]


@dataclass(frozen=True)
class Action:
    """One phase of one segment for one microbatch (of phase O: for one replica)."""

    phase: Phase
    segment: str
    microbatch: int
    operators: tuple[str, ...]  #: of the plan, in planned order
    durations_ns: tuple[int, ...]  #: planned, of each operator
    start_ns: int  #: planned
    end_ns: int  #: planned

    def __str__(self) -> str:
        return f"{self.segment}.{self.phase}#{self.microbatch}"

    @property
    def key(self) -> tuple[str, str, int]:
        """Phase, segment and microbatch: what tells actions apart."""
        return (self.phase, self.segment, self.microbatch)


@dataclass(frozen=True)
class Input:
    """One positional argument of a segment: an output of another segment, or given from outside."""

    tensor: str
    producer: str | None  #: segment; None for an input of the model


@dataclass(frozen=True)
class ActionTiming:
    """When an action ran, in nanoseconds from the start of the step on its host. `wait_ns` is the time spent waiting
    for messages just before `start_ns`; posting its sends is part of the action."""

    rank: int
    action: Action
    start_ns: int
    end_ns: int
    wait_ns: int


@dataclass(frozen=True)
class Segment:
    """Wiring of one segment. `outputs` are the tensors that other segments consume, in the order in which the module
    returns them; a segment without any is a *sink*, whose loss is taken."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    homes: tuple[int, ...]  #: rank of each microbatch
    has_backward: bool
    operators: tuple[str, ...]  #: of its forward, such that what comes first is listed first


@dataclass(frozen=True)
class Message:
    """One tensor from one rank to another. Forward: an activation, to all its consumers there. Backward: the
    gradient of an activation from one consumer."""

    tag: int  #: unique in the program
    tensor: str
    microbatch: int
    source: int
    destination: int
    consumer: str | None  #: segment that a gradient comes from; None = forward

    def __str__(self) -> str:
        what = f"gradient of {self.tensor} from {self.consumer}" if self.consumer else self.tensor
        return f"{what}, microbatch {self.microbatch}"


MovementKind = Literal["again", "out", "in"]


@dataclass(frozen=True)
class Movement:
    """Of what a forward keeps for its backward: it runs `again`, or that goes `out` to host memory and comes `in`."""

    kind: MovementKind
    segment: str
    microbatch: int
    before: tuple[str, str, int]  #: key of the action of the rank that comes next

    def __str__(self) -> str:
        what = {"again": "{} again", "out": "copy out {}", "in": "copy in {}"}[self.kind]
        return what.format(f"{self.segment}#{self.microbatch}")


@dataclass
class Step:
    """One action with its messages, in the order in which things happen: `post` receives, wait for `receive`, run,
    `send`; then the sends in `release` are known to have arrived, so that their tensors can be dropped."""

    action: Action
    post: list[Message] = field(default_factory=list)
    receive: list[Message] = field(default_factory=list)
    send: list[Message] = field(default_factory=list)
    release: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class Placement:
    """Where the segments of a model live. Made by `compile_placement`."""

    name: str
    devices: tuple[str, ...]  #: name of each rank
    microbatches: int
    segments: dict[str, Segment]  #: in topological order

    @property
    def processes(self) -> int:
        """Number of ranks."""
        return len(self.devices)

    def segments_on(self, rank: int) -> list[str]:
        """Segments whose module rank needs, in topological order."""
        return [segment.name for segment in self.segments.values() if rank in segment.homes]

    def external_inputs(self) -> dict[str, list[str]]:
        """Names of the inputs from outside, by segment. A segment whose operators name no inputs takes its own name."""
        return {
            s.name: [s.name] if not s.inputs else [entry.tensor for entry in s.inputs if entry.producer is None]
            for s in self.segments.values()
        }


@dataclass(frozen=True)
class Program(Placement):
    """A plan as what each rank does. Made by `compile_plan`, which also proves that it ends."""

    ranks: tuple[tuple[Step, ...], ...]
    movements: tuple[tuple[Movement, ...], ...] = ()  #: of every rank; () where all values stay

    def actions(self) -> Iterator[tuple[int, Action]]:
        """Every action with its rank."""
        for rank, steps in enumerate(self.ranks):
            for step in steps:
                yield rank, step.action

    def order(self, rank: int) -> list[tuple[str, str, int]]:
        """Keys of the actions of a rank in planned order."""
        return [step.action.key for step in self.ranks[rank]]
