"""Loops over time as parts of a step, one for each layer (docs/capture.md).

A trace has every step of such a loop. They share their parameters and wait for each other, so that no plan gains from
seeing them one by one.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from opweave.capture.primitives import Primitive, Primitives
from opweave.capture.repeated_steps import RepeatedSteps, repeated_steps


@dataclass(frozen=True)
class Loop:
    """An interval of the forward order: all steps of a loop, or what a layer does in them."""

    path: str
    """The innermost module that all of its calls are in."""
    start: int
    """Behind the place of the last forward call before it."""
    end: int
    """Behind that of its own last one."""

    @property
    def name(self) -> str:
        """Of its operators, before the phase."""
        return f"{self.path}.loop" if self.path else "loop"


class Loops:
    """The loops of a step, in forward order."""

    def __init__(self, loops: Sequence[Loop] = ()) -> None:
        self.all = list(loops)
        self._starts = [loop.start for loop in loops]

    def at(self, position: int) -> Loop | None:
        """The loop that a place is in; None outside of all."""
        index = bisect.bisect_right(self._starts, position) - 1
        return self.all[index] if index >= 0 and position < self.all[index].end else None


def with_loops(primitives: Primitives, labels: Mapping[str, str]) -> tuple[Primitives, Loops]:
    """The same calls, and the loops over time among them.

    *labels*: the layer of every forward call, "" for that of the call before it. Where a step of a loop goes through
    several layers, the calls are put in an order in which one layer does all of its steps before the next one begins,
    unless layers wait for each other in a circle; so each has a loop of its own. O(calls log calls + edges).
    """
    forward = [call for call in primitives.calls if call.phase == "F"]
    places = [call.position for call in forward]
    order = list(range(len(forward)))
    loops: list[Loop] = []
    for steps in repeated_steps(forward, primitives):
        start = steps.start
        for layer in _layers(forward, steps, labels):
            end = start + len(layer)
            order[start:end] = layer
            # From behind the call before it: views have places, too, and their backward is part of the loop.
            before = places[start - 1] + 1 if start else 0
            loops.append(Loop(_common_path([forward[index] for index in layer]), before, places[end - 1] + 1))
            start = end
    if order != sorted(order):
        primitives = _reordered(primitives, forward, order)
    return primitives, Loops(loops)


def _layers(forward: Sequence[Primitive], steps: RepeatedSteps, labels: Mapping[str, str]) -> list[list[int]]:
    """The calls of a loop by layers, such that none waits for a later one.

    A layer hands something on from step to step; what does not belongs to the layer behind it, or to the last one.
    """
    layer_at: dict[int, str] = {}
    label = next((labels[forward[i].name] for i in range(steps.start, steps.end) if labels[forward[i].name]), "")
    for index in range(steps.start, steps.end):
        label = labels[forward[index].name] or label
        layer_at[index] = label
    maker = {tensor: index for index in layer_at for tensor in forward[index].outputs}
    waits: dict[str, set[str]] = {label: set() for label in layer_at.values()}
    handing: set[str] = set()
    for index, label in layer_at.items():
        for source in (maker[tensor] for tensor in forward[index].inputs if tensor in maker):
            if layer_at[source] != label:
                waits[label].add(layer_at[source])
            elif steps.step_of(source) < steps.step_of(index):
                handing.add(label)
    groups: list[list[int]] = []
    open_group: list[int] = []
    while waits:
        ready = next((label for label, before in waits.items() if before.isdisjoint(waits)), None)
        if ready is None:
            return [list(layer_at)]
        del waits[ready]
        open_group += [index for index, label in layer_at.items() if label == ready]
        if ready in handing:
            groups.append(open_group)
            open_group = []
    if open_group and groups:
        groups[-1] += open_group
    return [sorted(group) for group in groups] or [list(layer_at)]


def _common_path(calls: Sequence[Primitive]) -> str:
    parts = calls[0].path.split(".")
    for call in calls:
        other = call.path.split(".")
        equal = [mine == theirs for mine, theirs in zip(parts, other, strict=False)]
        parts = parts[: equal.index(False) if False in equal else len(equal)]
    return ".".join(parts)


def _reordered(primitives: Primitives, forward: Sequence[Primitive], order: Sequence[int]) -> Primitives:
    """The calls with the places of this order of the forward ones. A backward call moves with what it belongs to, but
    never behind what it consumes of the backward pass (owners.py)."""
    places = [call.position for call in forward]
    place_of = {index: places[rank] for rank, index in enumerate(order)}
    calls = [replace(forward[index], position=place_of[index]) for index in order]
    made: dict[str, int] = {}
    for call in primitives.calls:
        if call.phase == "F":
            continue
        # A view has a place, too, but is no call: it goes with the call behind it.
        index = min(bisect.bisect_left(places, call.position), len(places) - 1)
        moved = place_of[index] if order[index] != index else call.position
        position = min([moved, *(made[tensor] for tensor in call.inputs if tensor in made)])
        calls.append(replace(call, position=position))
        made.update(dict.fromkeys(call.outputs, position))
    return replace(primitives, calls=calls)
