"""Which layers a stage has, from the graph."""

from __future__ import annotations

from typing import Any

from opweave.run.chain import stages_of
from opweave.run.plan_files import document
from opweave.run.program import Placement


def layers_by_stage(program: Placement, graph: Any) -> list[list[str]]:
    """Layers of every stage in forward order: the `layer` of its forward operators, or its segment if none has one.

    Raises as `stages_of`.
    """
    layer = {op["name"]: op.get("layer") for op in document(graph, "graph")["operators"]}
    result = []
    for stage in stages_of(program):
        named = [layer[operator] for operator in program.segments[stage].operators if layer[operator]]
        result.append(list(dict.fromkeys(named)) or [stage])
    return result
