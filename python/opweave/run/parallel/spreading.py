"""From the program of the devices to that of all their ranks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from opweave.run.errors import ProgramError
from opweave.run.parallel.boxes import Box, box_of, sources
from opweave.run.parallel.check import check_parallel
from opweave.run.parallel.mesh import Mesh, Ranks
from opweave.run.parallel.program import (
    Collective,
    Communicate,
    Compute,
    Copy,
    Group,
    Instruction,
    Mode,
    ParallelProgram,
    Part,
    Piece,
    Sharding,
)
from opweave.run.program import Action, Message, Movement, Program, Step

_SHARDINGS = ("none", "optimizer", "gradients", "weights")
_MODES = ("keep", "drop", "host")
# Shardings with which ranks with the same parameters meet in a collective of this kind.
_MEETS = {
    "gather": ("weights",),
    "free": (),
    "scatter": ("gradients", "weights"),
    "reduce": ("none", "optimizer"),
    "update": ("optimizer", "gradients"),
}
_Choice = TypeVar("_Choice", bound=str)


def spread(
    program: Program,
    meshes: Mesh | Mapping[str, Mesh],
    *,
    splits: Mapping[str, tuple[bool, bool]] | None = None,
    sharding: Sharding | Mapping[str, Sharding] = "none",
    memory: Mode | Mapping[str | tuple[str, int], Mode] = "keep",
    experts: Collection[str] = (),
    attention_again: Collection[str] = (),
) -> ParallelProgram:
    """The program of all ranks where every device of *program* is a group of them.

    Args:
        program: Of the devices (`compile_plan`).
        meshes: Degrees of every device, by its name, or of all of them.
        splits: By segment, whether the tensors that it takes from other segments, and those that it makes, have their
            tokens (dimension 1) shared out over the tensor axis, as sequence parallelism does; without: whole.
        sharding: Of optimizer states, gradients and weights over ranks with the same parameters (ZeRO 1, 2, 3); by
            segment, or of all.
        memory: What happens to what a forward keeps for its backward: "keep" it, "drop" it and run the forward again,
            or copy it to "host" memory and back; by segment, by (segment, microbatch), or for all. Plans with memory
            modes say it themselves, and where.
        experts: Segments whose experts the expert axis shares out.
        attention_again: Segments that keep the arguments of `scaled_dot_product_attention` alone, and make it again in
            their backward (selective recomputation).

    Every rank runs the actions of its device in their order; a message becomes the pieces that rank by rank make up
    what the receiver holds. Raises ProgramError, by name, for what cannot be said, and where ranks would wait forever.
    """
    _known("attention_again", attention_again, program.segments)
    made = _Spreader(program, meshes, splits or {}, sharding, memory, experts).spread()
    return replace(made, attention_again=frozenset(attention_again))


class _Spreader:
    def __init__(
        self,
        program: Program,
        meshes: Mesh | Mapping[str, Mesh],
        splits: Mapping[str, tuple[bool, bool]],
        sharding: Sharding | Mapping[str, Sharding],
        memory: Mode | Mapping[str | tuple[str, int], Mode],
        experts: Collection[str],
    ) -> None:
        self.program = program
        names = program.segments
        self.meshes = _meshes(program, meshes)
        self.grid = Ranks(self.meshes)
        _known("splits", splits, names)
        _known("experts", experts, names)
        self.splits = {name: splits.get(name, (False, False)) for name in names}
        self.sharding = {name: _choice("sharding", sharding, name, "none", _SHARDINGS) for name in names}
        if isinstance(sharding, Mapping):
            _known("sharding", sharding, names)
        if isinstance(memory, Mapping):
            _known("memory", {key if isinstance(key, str) else key[0] for key in memory}, names)
        if any(program.movements) and memory not in ("keep", {}):
            raise ProgramError("memory: the plan has memory modes of its own, expected none beside them")
        self.modes = {
            (name, b): _mode(memory, name, b) if segment.has_backward else "keep"
            for name, segment in names.items()
            for b in range(program.microbatches)
        }
        for movement in (movement for on_rank in program.movements for movement in on_rank):
            self.modes[movement.segment, movement.microbatch] = "drop" if movement.kind == "again" else "host"
        self.experts = frozenset(experts)
        self.devices = {name: sorted(set(segment.homes)) for name, segment in names.items()}
        self._refuse()
        self.pieces = self._pieces()

    def _refuse(self) -> None:
        """What a mixture of homes and meshes cannot say."""
        names = self.program.devices
        for name, here in self.devices.items():
            if len(here) == 1:
                continue
            where = ", ".join(names[device] for device in here)
            if len({self.meshes[device] for device in here}) > 1:
                raise ProgramError(f'segment "{name}" lives on {where}, whose meshes differ, expected the same')
            if self.sharding[name] in ("gradients", "weights"):
                raise ProgramError(
                    f'segment "{name}" lives on {where}, which take its microbatches in orders of their own; expected '
                    f'sharding "none" or "optimizer", not "{self.sharding[name]}"'
                )
            if name in self.experts:
                raise ProgramError(f'segment "{name}" has experts and lives on {where}, expected one device')
        for segment in self.program.segments.values():
            for entry in segment.inputs:
                if entry.producer is None or self.splits[entry.producer][1] == self.splits[segment.name][0]:
                    continue
                for b, (source, target) in enumerate(
                    zip(self.program.segments[entry.producer].homes, segment.homes, strict=True)
                ):
                    if source == target and self.meshes[source].tensor > 1:
                        raise ProgramError(
                            f'"{entry.tensor}" of microbatch {b} passes from "{entry.producer}" to "{segment.name}" on '
                            f"{names[source]} in another layout, expected the same within a device"
                        )

    def _pieces(self) -> dict[Message, list[Piece]]:
        result: dict[Message, list[Piece]] = {}
        tag = 0
        messages = sorted({m for steps in self.program.ranks for step in steps for m in step.send}, key=lambda m: m.tag)
        for message in messages:
            producer = next(s.name for s in self.program.segments.values() if message.tensor in s.outputs)
            made, taken = self.splits[producer][1], self._taken(message)
            giving, getting = (made, taken) if message.consumer is None else (taken, made)
            holders = self._boxes(message.source, giving)
            pieces = []
            for rank, wanted in self._boxes(message.destination, getting).items():
                index = rank - self.grid.of_device(message.destination)[0]
                for source, box in sources(holders, wanted, index):
                    pieces.append(Piece(tag, message.tensor, message.microbatch, source, rank, message.consumer, box))
                    tag += 1
            result[message] = pieces
        return result

    def _taken(self, message: Message) -> bool:
        """Layout in which the consumers on the other device want the tensor."""
        b = message.microbatch
        far = message.destination if message.consumer is None else message.source
        users = [
            s.name
            for s in self.program.segments.values()
            if s.homes[b] == far
            and any(e.tensor == message.tensor for e in s.inputs)
            and message.consumer in (None, s.name)
        ]
        layouts = {self.splits[name][0] for name in users}
        if len(layouts) > 1:
            raise ProgramError(
                f'"{message.tensor}" is taken in two layouts on {self.program.devices[far]}, by {" and ".join(users)}, '
                "expected one"
            )
        return layouts.pop()

    def _boxes(self, device: int, split: bool) -> dict[int, Box]:
        mesh = self.meshes[device]
        return {rank: box_of(self.grid.place_of(rank), mesh, split) for rank in self.grid.of_device(device)}

    def spread(self) -> ParallelProgram:
        """Program of all ranks, checked."""
        result = ParallelProgram(
            self.program,
            self.meshes,
            self.splits,
            self.sharding,
            self.modes,
            self.experts,
            tuple(tuple(self._rank(rank)) for rank in range(len(self.grid))),
        )
        check_parallel(result)
        return result

    # One rank

    def _rank(self, rank: int) -> list[Instruction]:
        device = self.grid.device_of(rank)
        steps = [step for step in self.program.ranks[device] if step.action.phase != "O"]
        last = {(s.action.segment, s.action.microbatch): i for i, s in enumerate(steps) if s.action.phase in "IBW"}
        last_of = {s.action.segment: i for i, s in enumerate(steps) if s.action.phase in "IBW"}
        movements: dict[tuple[str, str, int], list[Movement]] = {}
        for movement in self.program.movements[device] if any(self.program.movements) else self._default(steps):
            movements.setdefault(movement.before, []).append(movement)
        result: list[Instruction] = []
        for i, step in enumerate(steps):
            key = step.action.segment, step.action.microbatch
            result += self._moves("post", step.post, rank)
            # Before the wait for messages, which may be as long as a repetition.
            result += [self._movement(movement, rank) for movement in movements.get(step.action.key, ())]
            result += self._moves("receive", step.receive, rank)
            result.append(Compute("run", step.action, self._groups(step.action.segment, rank)))
            result += self._moves("send", step.send, rank)
            result += self._moves("release", [m for m in step.release if self._is_one_to_one(m)], rank)
            if last.get(key) == i and self.sharding[key[0]] in ("gradients", "weights"):
                result += self._collectives("scatter", key[0], rank, key[1])
            if last_of.get(key[0]) == i and len(self.devices[key[0]]) == 1:
                result += self._collectives("reduce", key[0], rank)
        known = {message for step in steps for message in step.release if self._is_one_to_one(message)}
        result += self._moves("release", [m for step in steps for m in step.send if m not in known], rank)
        return self._with_gathers(result, rank) + self._end(rank)

    def _default(self, steps: list[Step]) -> Iterator[Movement]:
        """What is let go of goes right after the forward, and comes back just before the first backward."""
        back: set[tuple[str, int]] = set()
        for before, step in zip([None, *steps], steps, strict=False):
            forward = before and before.action
            if forward and forward.phase == "F" and self.modes[forward.segment, forward.microbatch] == "host":
                yield Movement("out", forward.segment, forward.microbatch, step.action.key)
            key = step.action.segment, step.action.microbatch
            if step.action.phase != "F" and key not in back and self.modes[key] != "keep":
                back.add(key)
                yield Movement("again" if self.modes[key] == "drop" else "in", *key, step.action.key)

    def _movement(self, movement: Movement, rank: int) -> Instruction:
        if movement.kind != "again":
            return Copy(movement.kind, movement.segment, movement.microbatch)
        forward = Action("F", movement.segment, movement.microbatch, (), (), 0, 0)
        return Compute("again", forward, self._groups(movement.segment, rank))

    def _moves(self, kind: str, messages: list[Message], rank: int) -> list[Instruction]:
        return [
            Communicate(kind, piece)  # type: ignore[arg-type]
            for message in messages
            for piece in self.pieces[message]
            if rank == (piece.source if kind in ("send", "release") else piece.destination)
        ]

    def _is_one_to_one(self, message: Message) -> bool:
        """Both devices talk rank to rank alone. Only then does the plan know when a piece has arrived: each of these
        ranks goes through the messages of its device. All others are waited for at the end."""
        pieces = self.pieces[message]
        first = self.grid.of_device(message.source)[0], self.grid.of_device(message.destination)[0]
        return self.meshes[message.source] == self.meshes[message.destination] and all(
            piece.source - first[0] == piece.destination - first[1] for piece in pieces
        )

    def _groups(self, segment: str, rank: int) -> tuple[Group, ...]:
        mesh = self.meshes[self.grid.device_of(rank)]
        groups = []
        if mesh.tensor > 1:
            groups.append(self.grid.tensor_peers(rank))
        if mesh.context > 1:
            groups.append(self.grid.context_peers(rank))
        if mesh.expert > 1 and segment in self.experts:
            groups.append(self.grid.expert_peers(rank))
        return tuple(groups)

    def _collectives(self, kind: str, segment: str, rank: int, microbatch: int | None = None) -> list[Instruction]:
        """One for the parameters that all hold, and one for experts where these have replicas of their own."""
        parts: list[Part] = ["shared", "experts"] if self._has_expert_part(segment, rank) else ["shared"]
        result: list[Instruction] = []
        for part in parts:
            group = self.grid.replicas(rank, self.devices[segment], experts=part == "experts")
            groups = [group] if len(group) > 1 and self.sharding[segment] in _MEETS[kind] else []
            if kind in ("scatter", "reduce"):
                peers = self.grid.tensor_peers(rank)  # DTensor leaves some gradients as summands on each
                groups += [peers] if len(peers) > 1 else []
            result.append(Collective(kind, segment, part, tuple(groups), microbatch))  # type: ignore[arg-type]
        return result

    def _has_expert_part(self, segment: str, rank: int) -> bool:
        return segment in self.experts and self.meshes[self.grid.device_of(rank)].expert > 1

    def _with_gathers(self, steps: list[Instruction], rank: int) -> list[Instruction]:
        """Sharded weights are whole from just before an action, unless they are, until just after it, unless the next
        one needs them too."""
        result: list[Instruction] = []
        coming = [step.action.segment for step in steps if isinstance(step, Compute)]
        held: str | None = None
        done = 0
        for step in steps:
            following = coming[done] if done < len(coming) else None
            if held is not None and held != following and isinstance(step, (Communicate, Compute)):
                result += self._collectives("free", held, rank)
                held = None
            if isinstance(step, Compute):
                done += 1
                if held is None and self.sharding[step.action.segment] == "weights":
                    held = step.action.segment
                    result += self._collectives("gather", held, rank)
            result.append(step)
        return result + (self._collectives("free", held, rank) if held is not None else [])

    def _end(self, rank: int) -> list[Instruction]:
        """After the last action, in one order everywhere: gradients of segments with several homes, losses, weights."""
        result: list[Instruction] = []
        mine = [self.program.segments[name] for name in self.program.segments_on(self.grid.device_of(rank))]
        learning = [segment for segment in mine if segment.has_backward]
        for segment in learning:
            if len(self.devices[segment.name]) > 1:
                result += self._collectives("reduce", segment.name, rank)
        for segment in learning:
            if not segment.outputs:
                group = self.grid.replicas(rank, [self.grid.device_of(rank)])
                result.append(Collective("losses", segment.name, "shared", (group,) if len(group) > 1 else ()))
        for segment in learning:
            result += self._collectives("update", segment.name, rank)
        return result


def _meshes(program: Program, meshes: Mesh | Mapping[str, Mesh]) -> tuple[Mesh, ...]:
    if isinstance(meshes, Mesh):
        return (meshes,) * len(program.devices)
    _known("meshes", meshes, program.devices)
    missing = [device for device in program.devices if device not in meshes]
    if missing:
        raise ProgramError(f'meshes: device "{missing[0]}" has none, expected one for each device of the plan')
    return tuple(meshes[device] for device in program.devices)


def _known(what: str, given: Collection[str], expected: Collection[str]) -> None:
    unknown = [name for name in given if name not in expected]
    if unknown:
        raise ProgramError(f"{what}: the plan has no {unknown[0]!r}, expected one of {', '.join(expected)}")


def _choice(
    what: str, given: _Choice | Mapping[str, _Choice], name: str, default: _Choice, allowed: tuple[str, ...]
) -> _Choice:
    value = given if isinstance(given, str) else given.get(name, default)
    if value not in allowed:
        raise ProgramError(f"{what} of {name!r} is {value!r}, expected {', '.join(allowed)}")
    return value


def _mode(memory: Mode | Mapping[str | tuple[str, int], Mode], name: str, microbatch: int) -> Mode:
    if not isinstance(memory, str):
        memory = memory.get((name, microbatch), memory.get(name, "keep"))
    return _choice("memory", memory, name, "keep", _MODES)
