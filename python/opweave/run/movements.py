"""What a plan with memory modes (docs/memory-modes.md) lets go of and brings back, segment by segment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from opweave.run.errors import ProgramError
from opweave.run.program import Action, Movement, MovementKind, Program
from opweave.run.segments import SegmentRule, phase_of, segments_of

Key = tuple[str, int]  # segment, microbatch

_KINDS: dict[str, MovementKind] = {"recompute": "again", "copy_out": "out", "copy_in": "in"}
_HINT = "hint: let the segments be the units that run again (in a graph: unit, else layer)"


def movements_of(
    plan: dict[str, Any], graph: dict[str, Any], segments: SegmentRule, orders: Sequence[Sequence[Action]]
) -> tuple[tuple[Movement, ...], ...]:
    """Of every rank, in planned order.

    What a segment keeps for its own backward has one mode: it goes, and comes back, as a whole. Copies out are made
    where the last of them begins, copies in and repetitions where the first one does.

    Raises ProgramError, by name, for what a segment cannot do: tensors of two modes, and tensors between segments that
    do not stay.
    """
    modes = _modes(plan, graph, segments)
    segment = segments_of(graph, segments)
    maker = {tensor: op["name"] for op in graph["operators"] for tensor in op.get("outputs", ())}
    starts: dict[Key, dict[MovementKind, list[int]]] = defaultdict(lambda: defaultdict(list))
    for movement in plan.get("movements", ()):
        if movement["kind"] == "all_reduce":
            continue  # executors sum gradients between homes after the last backward, whatever the plan says
        name = movement["operator"] if movement["kind"] == "recompute" else maker[movement["tensor"]]
        key, kind = (str(segment[name]), movement["microbatch"]), _KINDS[movement["kind"]]
        if modes.get(key) != ("drop" if kind == "again" else "host"):
            raise ProgramError(
                f'operator "{name}" runs again for microbatch {key[1]}, but segment "{key[0]}" keeps what it made, '
                f"expected segments that run again whole\n{_HINT}"
            )
        starts[key][kind].append(movement["start_ns"])
    found: list[list[tuple[int, Movement]]] = [[] for _ in orders]
    for rank, order in enumerate(orders):
        forwards = {(a.segment, a.microbatch): i for i, a in enumerate(order) if a.phase == "F"}
        for key in (key for key in forwards if key in starts):
            backward = next(i for i, a in enumerate(order) if (a.segment, a.microbatch) == key and a.phase in "IWB")
            for kind, times in starts[key].items():
                start = max(times) if kind == "out" else min(times)
                if kind == "again":
                    _require_together(key, times, order)
                # Also among actions of no duration, what comes back does so between forward and backward.
                place = sum(action.start_ns < start for action in order)
                place = min(max(place, forwards[key] + 1), backward)
                found[rank].append((start, Movement(kind, *key, order[place].key)))
    return tuple(tuple(m for _, m in sorted(on_rank, key=lambda entry: entry[0])) for on_rank in found)


def refuse_movements(program: Program, what: str) -> None:
    """Raises ProgramError where the plan lets go of values: *what* would keep them all."""
    for rank, movements in enumerate(program.movements):
        if movements:
            _refuse(f"{movements[0]} on {program.devices[rank]}", what)


def refuse_modes(plan: dict[str, Any], what: str) -> None:
    """The same for the file of a plan."""
    for mode in plan.get("memory_modes", ()):
        _refuse(f'"{mode["tensor"]}" of microbatch {mode["microbatch"]}: {mode["mode"]}', what)


def _refuse(found: str, what: str) -> None:
    raise ProgramError(
        f"the plan has memory modes ({found}), which {what} does not know; expected values that stay\n"
        "hint: opweave.run.parallel.ParallelExecutor runs them"
    )


def _modes(plan: dict[str, Any], graph: dict[str, Any], segments: SegmentRule) -> dict[Key, str]:
    """Of what a segment keeps for its own backward, for a microbatch; without those that stay."""
    given = {(entry["tensor"], entry["microbatch"]): entry["mode"] for entry in plan.get("memory_modes", ())}
    if not given:
        return {}
    segment = segments_of(graph, segments)
    makers = {t: op["name"] for op in graph["operators"] if phase_of(op) == "F" for t in op.get("outputs", ())}
    users: dict[str, set[tuple[str | None, bool]]] = defaultdict(set)  # of tensors: segment, and whether it is forward
    for op in graph["operators"]:
        for tensor in op.get("inputs", ()):
            users[tensor].add((segment[op["name"]], phase_of(op) == "F"))
    kept: dict[str, list[str]] = defaultdict(list)  # by segment
    for tensor, name in makers.items():
        mine = segment[name]
        inside = {user for user, _ in users[tensor]} == {mine}
        if not inside:
            for b in (b for at, b in given if at == tensor):
                raise ProgramError(
                    f'tensor "{tensor}" of microbatch {b} passes from segment "{mine}" to others and has the mode '
                    f'"{given[tensor, b]}", expected "keep" for what passes between segments\n{_HINT}'
                )
        elif (mine, False) in users[tensor]:
            kept[str(mine)].append(tensor)
    result: dict[Key, str] = {}
    for name, tensors in kept.items():
        for b in {b for tensor, b in given if tensor in tensors}:
            chosen = {tensor: given.get((tensor, b), "keep") for tensor in tensors}
            if len(set(chosen.values())) > 1:
                text = ", ".join(f'"{tensor}" {mode}' for tensor, mode in chosen.items())
                raise ProgramError(
                    f'segment "{name}" keeps tensors in different ways for microbatch {b}: {text}; expected one mode '
                    f"for what a segment keeps\n{_HINT}"
                )
            result[name, b] = next(iter(chosen.values()))
    return result


def _require_together(key: Key, starts: list[int], order: Sequence[Action]) -> None:
    """The operators of a segment run again one after the other."""
    between = [action for action in order if min(starts) < action.start_ns <= max(starts)]
    if between:
        raise ProgramError(
            f'segment "{key[0]}" runs again for microbatch {key[1]} in pieces, with {between[0]} among them, expected '
            f"one after the other\n{_HINT}"
        )
