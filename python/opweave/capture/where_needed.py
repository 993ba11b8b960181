"""Values that no parameter has a part in - masks, positions, rotary tables - made in every segment that needs them.

A model makes them once and hands them to all of its blocks. As tensors of a graph they would skip from stage to
stage, which pipelines of other frameworks cannot express; each of their stages makes them itself, from the inputs.
"""

from __future__ import annotations

from dataclasses import replace

from opweave.capture.primitives import Primitive, Primitives
from opweave.capture.segments import Segments
from opweave.capture.torch_joint import Joint, is_random

_LARGEST_SHARE = 0.01  # of the operations of a step: what takes more is made once


def made_where_needed(primitives: Primitives, joint: Joint, segments: Segments) -> Primitives:
    """The same calls, those that are free of parameters moved to the segment that needs their result, or copied where
    several do. In the forward pass, or in the backward pass if that alone needs it. O(calls x segments + edges)."""
    free = _free_calls(primitives, joint)
    phases = _phases_by_segment(primitives, free, segments)
    copies: dict[tuple[int, str], list[Primitive]] = {}
    renamed: dict[tuple[int, str], str] = {}
    tensors = dict(primitives.tensors)
    for call in primitives.calls:
        if call.name not in free:
            continue
        for number, (segment, needed) in enumerate(sorted(phases[call.name].items())):
            copy = call
            if number:
                name = segments.all[segment].name
                for tensor in call.outputs:
                    renamed[segment, tensor] = f"{tensor} of {name}"
                    tensors[renamed[segment, tensor]] = tensors[tensor]
                copy = replace(call, name=f"{call.name} of {name}")
            copy = replace(copy, phase=_earliest(needed), position=segments.all[segment].start)
            copies.setdefault((segment, copy.phase), []).append(copy)

    def wired(call: Primitive, segment: int) -> Primitive:
        def name(tensor: str) -> str:
            return renamed.get((segment, tensor), tensor)

        return replace(
            call,
            inputs=[name(tensor) for tensor in call.inputs],
            read_bytes={name(tensor): taken for tensor, taken in call.read_bytes.items()},
            outputs=[name(tensor) for tensor in call.outputs],
        )

    calls: list[Primitive] = []
    for call in primitives.calls:
        if call.name in free:
            continue
        segment = segments.index_of(call.position)
        for phase in ("F", "I", "W") if call.phase == "W" else ("F", "I") if call.phase in "IB" else ("F",):
            calls += [wired(copy, segment) for copy in copies.pop((segment, phase), ())]
        calls.append(wired(call, segment))
    return replace(primitives, calls=calls, tensors=tensors)


def _free_calls(primitives: Primitives, joint: Joint) -> set[str]:
    """Forward calls that see inputs, buffers and constants alone, the same ones whenever they run; and that something
    else needs."""
    changing = set(joint.updated_buffers.values())
    known = {given.name for given in joint.givens.values() if given.kind != "gradient" and given.name not in changing}
    updates = {node for node in joint.updated_buffers} | set(joint.results)
    most = _LARGEST_SHARE * sum(call.call.flops for call in primitives.calls)
    read = {tensor for call in primitives.calls for tensor in call.inputs}
    found: set[str] = set()
    for call in primitives.calls:
        if call.phase != "F" or call.parameters or is_random(call.node) or call.call.flops > most:
            continue
        if any(tensor not in known for tensor in call.inputs) or not updates.isdisjoint(call.results):
            continue
        if read.isdisjoint(call.outputs):
            continue
        found.add(call.name)
        known.update(call.outputs)
    return found


def _phases_by_segment(primitives: Primitives, free: set[str], segments: Segments) -> dict[str, dict[int, set[str]]]:
    """For every free call, the segments that need its result, and the phases in which they do."""
    needs: dict[str, dict[int, set[str]]] = {}
    result: dict[str, dict[int, set[str]]] = {}
    for call in reversed(primitives.calls):
        uses = {segments.index_of(call.position): {call.phase}}
        if call.name in free:
            uses = {}
            for tensor in call.outputs:
                for segment, phases in needs.get(tensor, {}).items():
                    uses.setdefault(segment, set()).update(phases)
            result[call.name] = uses
            uses = {segment: {_earliest(phases)} for segment, phases in uses.items()}
        for tensor in call.inputs:
            for segment, phases in uses.items():
                needs.setdefault(tensor, {}).setdefault(segment, set()).update(phases)
    return result


def _earliest(phases: set[str]) -> str:
    """The phase in which something is made that these phases need."""
    if "F" in phases:
        return "F"
    return "I" if phases & {"I", "B"} else "W"
