"""What every rank does where a device of the plan is a group of ranks: instructions, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from opweave.run.parallel.boxes import Box, box_of
from opweave.run.parallel.mesh import Mesh, Ranks
from opweave.run.program import Action, Program

Sharding = Literal["none", "optimizer", "gradients", "weights"]
Mode = Literal["keep", "drop", "host"]
Part = Literal["shared", "experts"]
Group = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A share of a tensor from one rank to another; of its gradient where `consumer` is the segment it comes from."""

    tag: int  #: unique in the program
    tensor: str
    microbatch: int
    source: int
    destination: int
    consumer: str | None
    box: Box  #: of the whole tensor of the microbatch

    def __str__(self) -> str:
        what = f"gradient of {self.tensor} from {self.consumer}" if self.consumer else self.tensor
        return f"{what}, microbatch {self.microbatch}"


@dataclass(frozen=True)
class Communicate:
    """`post` a receive, wait for it (`receive`), start a `send`, wait until it has arrived (`release`)."""

    kind: Literal["post", "receive", "send", "release"]
    piece: Piece

    def __str__(self) -> str:
        return f"{self.kind} {self.piece}"


@dataclass(frozen=True)
class Compute:
    """An action of the plan, or its forward made once more (`again`). The groups talk inside of it."""

    kind: Literal["run", "again"]
    action: Action
    groups: tuple[Group, ...]

    def __str__(self) -> str:
        return f"{self.action} again" if self.kind == "again" else str(self.action)


@dataclass(frozen=True)
class Collective:
    """What ranks with the same parameters do together, of a part of a segment's parameters.

    gather: make the weights whole. free: drop what is not this rank's (nobody waits). scatter: add up the gradients of
    a microbatch, each rank keeping its share. reduce: the same for those of all microbatches, at the end, whole or each
    its share. update: step the optimizer, and make the weights whole again. losses: add up those of a sink.
    """

    kind: Literal["gather", "free", "scatter", "reduce", "update", "losses"]
    segment: str
    part: Part
    groups: tuple[Group, ...]
    microbatch: int | None = None

    def __str__(self) -> str:
        what = {
            "gather": "gather weights of",
            "free": "free weights of",
            "scatter": "scatter gradients of",
            "reduce": "reduce gradients of",
            "update": "update weights of",
            "losses": "add losses of",
        }[self.kind]
        experts = " (experts)" if self.part == "experts" else ""
        of = "" if self.microbatch is None else f"#{self.microbatch}"
        return f"{what} {self.segment}{experts}{of}"


@dataclass(frozen=True)
class Copy:
    """What a microbatch keeps for the backward pass goes `out` to host memory, or comes back `in`."""

    kind: Literal["out", "in"]
    segment: str
    microbatch: int

    def __str__(self) -> str:
        return f"copy {self.kind} {self.segment}#{self.microbatch}"


Instruction = Communicate | Compute | Collective | Copy


@dataclass(frozen=True)
class ParallelProgram:
    """A plan on groups of ranks. Made by `spread`, which also proves that it ends."""

    base: Program
    """Of the devices."""
    meshes: tuple[Mesh, ...]
    """Of each device."""
    splits: dict[str, tuple[bool, bool]]
    """By segment: whether tensors that it takes, and those that it makes, have their tokens over the tensor axis."""
    sharding: dict[str, Sharding]
    """By segment."""
    modes: dict[tuple[str, int], Mode]
    """By segment and microbatch."""
    experts: frozenset[str]
    """Segments with experts that the expert axis shares out."""
    ranks: tuple[tuple[Instruction, ...], ...]
    attention_again: frozenset[str] = frozenset()
    """Segments that keep the arguments of attention alone, and make it again in their backward."""

    @property
    def processes(self) -> int:
        """Number of ranks."""
        return len(self.ranks)

    @property
    def grid(self) -> Ranks:
        """Where ranks lie."""
        return Ranks(self.meshes)

    def segments_on(self, rank: int) -> list[str]:
        """Segments whose module the rank needs, in topological order."""
        return self.base.segments_on(self.grid.device_of(rank))

    def computes(self, rank: int) -> Iterator[Compute]:
        """Actions of a rank in planned order, with those made again."""
        return (step for step in self.ranks[rank] if isinstance(step, Compute))

    def box(self, rank: int, tensor: str, segment: str, *, is_input: bool) -> Box:
        """What the rank holds of a tensor that the segment takes or makes; inputs from outside are whole over the
        tensor axis."""
        device = self.grid.device_of(rank)
        split = self.splits[segment][0 if is_input else 1]
        if is_input and all(e.producer is None for e in self.base.segments[segment].inputs if e.tensor == tensor):
            split = False
        return box_of(self.grid.place_of(rank), self.meshes[device], split)
