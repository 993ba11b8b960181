"""Joining primitives to operators: one per segment and phase, with the tensors that cross from one to another."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from opweave.capture.primitives import Primitive, Primitives
from opweave.costs.call import Call


@dataclass
class Operator:
    """An operator of the graph to be, and the calls that it stands for."""

    name: str
    phase: str
    segment: int
    layer: str
    kind: str
    primitives: list[Primitive] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    workspace_bytes: int = 0

    @property
    def calls(self) -> list[Call]:
        """In the order in which they run."""
        return [primitive.call for primitive in self.primitives]

    @property
    def parameters(self) -> list[str]:
        """All that it reads or whose gradients it makes."""
        return list(dict.fromkeys(name for primitive in self.primitives for name in primitive.parameters))


@dataclass
class Joined:
    """Operators in an order that obeys their dependencies, with the tensors between them."""

    operators: list[Operator]
    tensors: dict[str, int]


def join(primitives: Primitives, operator_of: Callable[[Primitive], Operator]) -> Joined:
    """Join the primitives for which *operator_of* gives the same operator.

    Tensors that leave an operator become one for each set of operators that consume them, which is exact: they live
    equally long. Those that stay inside become workspace, at their highest. O(calls + edges).
    """
    owner: dict[str, Operator] = {}
    operators: dict[str, Operator] = {}
    consumers: dict[str, dict[str, None]] = {}
    for primitive in primitives.calls:
        operator = operator_of(primitive)
        operators[operator.name] = operator
        operator.primitives.append(primitive)
        for tensor in primitive.outputs:
            owner[tensor] = operator
        for tensor in primitive.inputs:
            consumers.setdefault(tensor, {})[operator.name] = None

    tensors: dict[str, int] = {}
    bundles: dict[Hashable, list[str]] = {}
    for tensor, names in consumers.items():
        maker = owner[tensor].name if tensor in owner else ""
        outside = tuple(name for name in names if name != maker)
        if outside:
            # Inputs of the step stay apart: they have names of their own.
            bundles.setdefault((maker, outside) if maker else tensor, []).append(tensor)
    counts: dict[str, int] = {}
    for members in bundles.values():
        maker = owner[members[0]].name if members[0] in owner else ""
        name = members[0]
        if maker and len(operators[maker].primitives) > 1:
            counts[maker] = counts.get(maker, 0) + 1
            name = f"{maker}:{counts[maker]}"
        tensors[name] = sum(primitives.tensors[member] for member in members)
        if maker:
            operators[maker].outputs.append(name)
        for consumer in consumers[members[0]]:
            if consumer != maker:
                operators[consumer].inputs.append(name)
    for operator in operators.values():
        operator.workspace_bytes = _workspace(operator, primitives.tensors, consumers)
    return Joined(list(operators.values()), tensors)


def _workspace(operator: Operator, sizes: dict[str, int], consumers: dict[str, Any]) -> int:
    """Highest number of bytes of tensors that live inside the operator alone, its calls run in order."""
    if len(operator.primitives) == 1:
        return 0
    last_use: dict[str, int] = {}
    made: dict[str, int] = {}
    for index, primitive in enumerate(operator.primitives):
        for tensor in primitive.outputs:
            if all(name == operator.name for name in consumers.get(tensor, ())):
                made[tensor] = index
                last_use[tensor] = index
        for tensor in primitive.inputs:
            if tensor in made:
                last_use[tensor] = index
    changes = [0] * (len(operator.primitives) + 1)
    for tensor, index in made.items():
        changes[index] += sizes[tensor]
        changes[last_use[tensor] + 1] -= sizes[tensor]
    highest = current = 0
    for change in changes:
        current += change
        highest = max(highest, current)
    return highest
