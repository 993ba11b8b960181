"""Where the forward pass of a trace does equal steps in turn, as a loop over time does.

Such steps do equal calls of the same modules with the same parameters; each takes something that the step before it
made, and its own part of what was there before the first one: the sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from opweave.capture.primitives import Primitive, Primitives

_FEWEST = 4  # steps that count as a loop
_MOST_LOOKS = 32  # of a step, at one sequence


@dataclass(frozen=True)
class RepeatedSteps:
    """Calls of the forward pass, by their indices in it."""

    start: int
    end: int
    """Behind the last call; the first and the last step may lack some calls of the others."""
    equal: int
    """Index of the first call of the first step that is complete."""
    period: int
    """Calls of a step."""

    def step_of(self, index: int) -> int:
        """The number of the step of a call, from 0 for the first complete one."""
        return (index - self.equal) // self.period


def repeated_steps(forward: Sequence[Primitive], primitives: Primitives) -> list[RepeatedSteps]:
    """All loops over time of a forward pass, in its order; of loops within loops, the outermost.

    The calls that look at a sequence tell where steps begin, as many calls apart as a step has; then the calls beside
    them are compared. O(calls + edges), for each length of a step that occurs.
    """
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(_key(call, primitives), len(numbers)) for call in forward]
    maker = {tensor: index for index, call in enumerate(forward) for tensor in call.outputs}
    found: set[RepeatedSteps] = set()
    seen: dict[int, tuple[int, int]] = {}  # by period, the last interval that was compared
    for looks in _looks_at_parts(forward, keys, maker, primitives):
        for begin, end, period in _regular([index for index, _ in looks]):
            start = looks[begin][0]
            first, last = seen.get(period, (0, 0))
            if not first <= start < last:
                first, last = seen[period] = _equal_around(keys, start, period)
            steps = RepeatedSteps(first, last, first, period)
            before = all(maker.get(tensor, -1) < first for _, tensor in looks[begin:end])
            if before and last - first >= _FEWEST * period and _hands_on(forward, maker, steps):
                found.add(steps)
    return _completed(_apart(found), keys)


def _key(call: Primitive, primitives: Primitives) -> Hashable:
    """Equal for calls that do the same in different steps: numbers, such as the place in the sequence, may differ."""
    shapes = tuple(_shapes([*call.call.encoded_args, *call.call.encoded_kwargs.values()]))
    learned = tuple(part for part in _parts(call, primitives) if part[0] not in primitives.tensors)
    return call.path, call.call.target_name, shapes, call.call.flops, call.call.bytes, learned


def _shapes(arguments: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """Of the tensors among encoded arguments, with their dtypes."""
    for argument in arguments:
        if isinstance(argument, list):
            yield from _shapes(argument)
        elif isinstance(argument, dict) and "tensor" in argument:
            yield (argument["tensor"], *map(str, argument["shape"]))


def _parts(call: Primitive, primitives: Primitives) -> Iterator[tuple[str, int]]:
    """The tensors that a call takes, with the place in memory at which it looks at them."""
    for source in call.node.all_input_nodes:
        value = source.meta.get("val")
        if source not in primitives.value_of or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            continue
        offset = value.storage_offset()
        if isinstance(offset, int):
            yield primitives.value_of[source], offset


def _looks_at_parts(
    forward: Sequence[Primitive], keys: Sequence[int], maker: dict[str, int], primitives: Primitives
) -> list[list[tuple[int, str]]]:
    """For every sequence and kind of call, the calls that are the first of their kind to look at a part of it, with the
    tensor that they look at: parts are views of one tensor, or tensors that equal calls made."""
    first: dict[Hashable, dict[tuple[str, int], int]] = {}
    for index, call in enumerate(forward):
        for tensor, offset in _parts(call, primitives):
            if tensor in primitives.tensors:
                sequence = keys[maker[tensor]] if tensor in maker else tensor
                first.setdefault((sequence, keys[index]), {}).setdefault((tensor, offset), index)
    return [
        [(index, tensor) for (tensor, _), index in parts.items()]
        for parts in first.values()
        if len(parts) >= _FEWEST - 1
    ]


def _regular(indices: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """All runs in which every index is as far from the n-th after it, for at least three steps with n of them each:
    begin, end, and that distance."""
    for count in range(1, min(len(indices) // (_FEWEST - 1), _MOST_LOOKS) + 1):
        distances = [later - index for index, later in zip(indices, indices[count:], strict=False)]
        place = 0
        for distance, run in itertools.groupby(distances):
            length = len(list(run))
            if length >= 2 * count and distance > 0:
                yield place, place + length + count, distance
            place += length


def _equal_around(keys: Sequence[int], index: int, period: int) -> tuple[int, int]:
    """The longest interval with this call in which every call is as the one a period later."""
    first = last = index
    while first and keys[first - 1] == keys[first - 1 + period]:
        first -= 1
    while last + period < len(keys) and keys[last] == keys[last + period]:
        last += 1
    return first, last + period


def _hands_on(forward: Sequence[Primitive], maker: dict[str, int], steps: RepeatedSteps) -> bool:
    """Every step takes something of the step before it; else steps wait for nothing and are no loop over time."""
    taking = {
        steps.step_of(index)
        for index in range(steps.equal + steps.period, steps.end)
        for tensor in forward[index].inputs
        if maker.get(tensor, -1) >= steps.equal and steps.step_of(maker[tensor]) == steps.step_of(index) - 1
    }
    return len(taking) >= (steps.end - steps.equal) // steps.period - 1


def _apart(found: set[RepeatedSteps]) -> list[RepeatedSteps]:
    """The longest ones, none of which overlap, in their order."""
    chosen: list[RepeatedSteps] = []
    for steps in sorted(found, key=lambda steps: (steps.start - steps.end, steps.start, steps.period)):
        if all(steps.end <= other.start or other.end <= steps.start for other in chosen):
            chosen.append(steps)
    return sorted(chosen, key=lambda steps: steps.start)


def _completed(all_steps: list[RepeatedSteps], keys: Sequence[int]) -> list[RepeatedSteps]:
    """With the first and the last step, which often lack a call: there is no state yet, or none is needed any more."""
    result: list[RepeatedSteps] = []
    for number, steps in enumerate(all_steps):
        lowest = result[-1].end if result else 0
        highest = all_steps[number + 1].start if number + 1 < len(all_steps) else len(keys)
        before = _matching(keys[lowest : steps.start][::-1], keys[steps.start : steps.start + steps.period][::-1])
        after = _matching(keys[steps.end : highest], keys[steps.end - steps.period : steps.end])
        result.append(RepeatedSteps(steps.start - before, steps.end + after, steps.equal, steps.period))
    return result


def _matching(keys: Sequence[int], step: Sequence[int]) -> int:
    """How many of the first keys are calls of this step, in its order, some of which may be missing."""
    count = place = 0
    while count < len(keys) and keys[count] in step[place:]:
        place = step.index(keys[count], place) + 1
        count += 1
    return count
