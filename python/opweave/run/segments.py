"""Which operators form a segment, and how tensors wire segments together."""

from __future__ import annotations

import re
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


@dataclass(frozen=True)
class Wiring:
    """Inputs and outputs of one segment, from the tensors between forward operators."""

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


def phase_of(operator: dict[str, Any]) -> str:
    """Phase of an operator; one without a phase (inference) counts as F."""
    return operator.get("phase") or "F"


def wire(graph: dict[str, Any], rule: SegmentRule) -> dict[str, Wiring]:
    """Segments in topological order.

    Only tensors from a forward operator to a forward operator of another segment move data; their gradients come
    back the same way. What goes from a forward to a backward operator stands for what autograd keeps.
    """
    operators = graph["operators"]
    producer: dict[str, dict[str, Any]] = {t: op for op in operators for t in op.get("outputs", [])}
    names = list(dict.fromkeys(segment_of(op, rule) for op in operators))
    inputs: dict[str, dict[str, Input]] = {name: {} for name in names}
    consumed: set[str] = set()
    for op in operators:
        if phase_of(op) != "F":
            continue
        name = segment_of(op, rule)
        for tensor in op.get("inputs", []):
            source = producer.get(tensor)
            if source is None:
                inputs[name].setdefault(tensor, Input(tensor, None))
                continue
            if phase_of(source) != "F":
                raise ProgramError(
                    f'tensor "{tensor}" goes from phase {phase_of(source)} to forward operator "{op["name"]}"'
                )
            if segment_of(source, rule) != name:
                inputs[name].setdefault(tensor, Input(tensor, segment_of(source, rule)))
                consumed.add(tensor)
    outputs: dict[str, list[str]] = {name: [] for name in names}
    for op in operators:
        if phase_of(op) == "F":
            outputs[segment_of(op, rule)] += [t for t in op.get("outputs", []) if t in consumed]
    order = _topological({name: {i.producer for i in inputs[name].values() if i.producer} for name in names})
    return {name: Wiring(tuple(inputs[name].values()), tuple(outputs[name])) for name in order}


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
