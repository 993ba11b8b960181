"""Forwards and backwards that a plan runs together on one device: what PyTorch calls OVERLAP_F_B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from opweave.run.program import Action
from opweave.run.segments import phase_of

Task = dict[str, Any]


def unwoven(
    tasks: list[Task], operators: Mapping[str, dict[str, Any]], segments: Mapping[str, str | None]
) -> list[Task]:
    """The tasks of a device, sorted by start, with those of a forward one after the other where the plan weaves them
    with those of one backward, which come together too; whichever starts first comes first.

    The tasks as they are where a forward is woven with something else: no pair can say that.
    """

    def block(task: Task) -> tuple[str, Any, bool]:
        op = operators[task["operator"]]
        copy = task["microbatch"] if "microbatch" in task else task["replica"]
        return (str(segments[task["operator"]]), copy, phase_of(op) == "F")

    place = {id(task): number for number, task in enumerate(tasks)}
    forwards = [list(run) for _, run in groupby((t for t in tasks if block(t)[2]), block)]
    others = [list(run) for _, run in groupby((t for t in tasks if not block(t)[2]), block)]
    for run in forwards:
        is_torn = place[id(run[-1])] - place[id(run[0])] + 1 != len(run)
        start, end = run[0]["start_ns"], max(task["end_ns"] for task in run)
        if is_torn and sum(o[0]["start_ns"] < end and max(t["end_ns"] for t in o) > start for o in others) != 1:
            return tasks
    return [task for run in sorted(forwards + others, key=lambda run: place[id(run[0])]) for task in run]


def with_pairs(order: Sequence[Action], whole: set[tuple[str, str, int]]) -> Iterator[tuple[Action, ...]]:
    """The actions of a rank in their order, those of a pair together: the forward, then the backward (B, or I and W).

    A forward and a complete backward of another microbatch or segment are a pair where they follow each other and the
    plan runs the forward beside the first part of the backward. `whole` has the keys of an I or a W that are all of
    their backward. No ranks wait for each other because of it: let a pair count as starting when the later of the two
    starts. Both end after that, so whatever waits for one of them starts later still.
    """
    at = 0
    while at < len(order):
        for size in (3, 2):
            forward = [action for action in order[at : at + size] if action.phase == "F"]
            backward = [action for action in order[at : at + size] if action.phase != "F"]
            if len(forward) == 1 and _is_complete(backward, whole) and _overlap(forward[0], backward[0]):
                yield (*forward, *backward)
                at += len(backward) + 1
                break
        else:
            yield (order[at],)
            at += 1


def joined(backward: Sequence[Action]) -> Action:
    """An I and the W that follows it, or a whole backward, as one B."""
    first, last = backward[0], backward[-1]
    operators = tuple(operator for action in backward for operator in action.operators)
    durations = tuple(duration for action in backward for duration in action.durations_ns)
    return Action("B", first.segment, first.microbatch, operators, durations, first.start_ns, last.end_ns)


def _is_complete(actions: Sequence[Action], whole: set[tuple[str, str, int]]) -> bool:
    if len(actions) == 1:
        return actions[0].phase == "B" or actions[0].key in whole
    return (
        len(actions) == 2
        and [action.phase for action in actions] == ["I", "W"]
        and (actions[0].key[1:] == actions[1].key[1:])
    )


def _overlap(one: Action, other: Action) -> bool:
    return max(one.start_ns, other.start_ns) < min(one.end_ns, other.end_ns)
