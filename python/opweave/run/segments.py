"""Which operators form a segment, and how tensors wire segments together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from opweave.run.errors import ProgramError
from opweave.run.program import Input

SegmentRule = Literal["operator", "layer", "stage"] | Callable[[dict[str, Any]], str]

_PHASE_SUFFIX = re.compile(r"\.[FIWBO]$")


def segment_of(operator: dict[str, Any], rule: SegmentRule) -> str:
    """Name of the segment of an operator of the graph.

    "operator": its name without the phase ("mlp.F" and "mlp.W" belong to "mlp"); "layer": its layer; "stage": its
    stage as text; or a function of the operator as it stands in the graph's file.
    """
    if callable(rule):
        return rule(operator)
    if rule == "operator":
        return _PHASE_SUFFIX.sub("", operator["name"])
    if rule in ("layer", "stage"):
        if operator.get(rule) in (None, ""):
            raise ProgramError(f'operator "{operator["name"]}" has no {rule}, expected one to name its segment')
        return str(operator[rule])
    raise ProgramError(f'segment rule is {rule!r}, expected "operator", "layer", "stage" or a function')


def segments_of(graph: dict[str, Any], rule: SegmentRule) -> dict[str, str | None]:
    """Segment of every operator.

    An operator of phase O needs no stage or layer: it belongs to the segment whose parameters it updates, and to none
    (None) if they are not those of one segment.
    """
    result: dict[str, str | None] = {}
    readers: dict[str, set[str]] = {}
    for op in graph["operators"]:
        if phase_of(op) != "O":
            result[op["name"]] = segment = segment_of(op, rule)
            for parameter in op.get("parameters", []):
                readers.setdefault(parameter, set()).add(segment)
    for op in graph["operators"]:
        if phase_of(op) != "O":
            continue
        if callable(rule) or rule not in ("stage", "layer") or op.get(rule) not in (None, ""):
            result[op["name"]] = segment_of(op, rule)
            continue
        owners = {owner for parameter in op.get("parameters", []) for owner in readers.get(parameter, ())}
        result[op["name"]] = owners.pop() if len(owners) == 1 else None
    return result


def positions(graph: dict[str, Any]) -> dict[str, int]:
    """A topological number of every operator."""
    producer = {t: op["name"] for op in graph["operators"] for t in op.get("outputs", [])}
    waits = {
        op["name"]: {producer[t] for t in op.get("inputs", []) if t in producer} | set(op.get("after", []))
        for op in graph["operators"]
    }
    followers: dict[str, list[str]] = defaultdict(list)
    for name, sources in waits.items():
        for source in sources:
            followers[source].append(name)
    ready = [name for name, sources in waits.items() if not sources]
    result: dict[str, int] = {}
    for name in ready:
        result[name] = len(result)
        for follower in followers[name]:
            waits[follower].discard(name)
            if not waits[follower]:
                ready.append(follower)
    if len(result) != len(waits):
        raise ProgramError("graph has a cycle")
    return result


@dataclass(frozen=True)
class Wiring:
    """Inputs and outputs of one segment, from the tensors between forward operators."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]  #: of its forward, such that what comes first is listed first


def phase_of(operator: dict[str, Any]) -> str:
    """Phase of an operator; one without a phase (inference) counts as F."""
    return operator.get("phase") or "F"


def wire(graph: dict[str, Any], rule: SegmentRule) -> dict[str, Wiring]:
    """Segments in topological order.

    Only tensors from a forward operator to a forward operator of another segment move data; their gradients come
    back the same way. What goes from a forward to a backward operator stands for what autograd keeps. Buffers and
    constants of a captured model are with its modules, so that nobody gives them.
    """
    operators = graph["operators"]
    kinds = graph.get("captured", {}).get("inputs", {})
    held = {tensor for tensor, kind in kinds.items() if kind in ("buffer", "constant")}
    segments = segments_of(graph, rule)
    producer: dict[str, dict[str, Any]] = {t: op for op in operators for t in op.get("outputs", [])}
    names = [name for name in dict.fromkeys(segments[op["name"]] for op in operators) if name is not None]
    inputs: dict[str, dict[str, Input]] = {name: {} for name in names}
    consumed: set[str] = set()
    forward = {op["name"]: str(segments[op["name"]]) for op in operators if phase_of(op) == "F"}
    for op in operators:
        if op["name"] not in forward:
            continue
        name = forward[op["name"]]
        for tensor in op.get("inputs", []):
            source = producer.get(tensor)
            if source is None:
                if tensor not in held:
                    inputs[name].setdefault(tensor, Input(tensor, None))
                continue
            if source["name"] not in forward:
                raise ProgramError(
                    f'tensor "{tensor}" goes from phase {phase_of(source)} to forward operator "{op["name"]}"'
                )
            if forward[source["name"]] != name:
                inputs[name].setdefault(tensor, Input(tensor, forward[source["name"]]))
                consumed.add(tensor)
    outputs: dict[str, list[str]] = {name: [] for name in names}
    made_of: dict[str, list[str]] = {name: [] for name in names}
    for op in operators:
        if op["name"] in forward:
            outputs[forward[op["name"]]] += [t for t in op.get("outputs", []) if t in consumed]
            made_of[forward[op["name"]]].append(op["name"])
    position = positions(graph)
    order = _topological({name: {i.producer for i in inputs[name].values() if i.producer} for name in names})
    return {
        name: Wiring(
            tuple(inputs[name].values()),
            tuple(outputs[name]),
            tuple(sorted(made_of[name], key=position.__getitem__)),
        )
        for name in order
    }


def _topological(producers: dict[str, set[str]]) -> list[str]:
    """Names, each after its producers, otherwise in the given order."""
    order: list[str] = []
    placed: set[str] = set()
    waiting = list(producers)
    while waiting:
        ready = [name for name in waiting if producers[name] <= placed]
        if not ready:
            raise ProgramError(f"segments wait for each other: {', '.join(waiting)}")
        order += ready
        placed.update(ready)
        waiting = [name for name in waiting if name not in placed]
    return order
