"""From a plan to where its segments live: all that a target without an order of its own takes."""

from __future__ import annotations

from typing import Any

from opweave.run.errors import ProgramError
from opweave.run.movements import refuse_modes
from opweave.run.plan_files import device_names, document, training
from opweave.run.program import Placement, Segment
from opweave.run.segments import SegmentRule, phase_of, segments_of, wire


def compile_placement(plan: Any, graph: Any = None, segments: SegmentRule = "stage") -> Placement:
    """The placement of *plan*, with arguments as for `compile_plan`. The order of its tasks plays no part.

    Raises ProgramError if operators of one segment and microbatch (those of phase O aside) run on different devices,
    or one is missing.
    """
    graph = getattr(plan, "graph", None) if graph is None else graph
    graph, plan = document(graph, "graph"), document(plan, "plan")
    refuse_modes(plan, "a placement")
    devices = device_names(plan)
    microbatches, _ = training(graph, plan)
    segment = segments_of(graph, segments)
    phase = {op["name"]: phase_of(op) for op in graph["operators"]}
    runs: dict[tuple[str, int], tuple[str, str]] = {}  # operator and device, by segment and microbatch
    for task in plan["tasks"]:
        name = task["operator"]
        if name not in phase:
            raise ProgramError(f'plan runs operator "{name}", which the graph does not have')
        if phase[name] == "O":
            continue
        if len(task["devices"]) != 1:
            raise ProgramError(f'operator "{name}" runs on {len(task["devices"])} devices, expected 1')
        here = task["devices"][0]
        other, there = runs.setdefault((str(segment[name]), task["microbatch"]), (name, here))
        if here != there:
            raise ProgramError(
                f'segment "{segment[name]}", microbatch {task["microbatch"]}: "{other}" runs on {there}, "{name}" on '
                f"{here}, expected the same device\nhint: plan runnable_graph(graph), which demands it"
            )
    result: dict[str, Segment] = {}
    for name, wiring in wire(graph, segments).items():
        homes = [runs.get((name, b)) for b in range(microbatches)]
        if None in homes:
            raise ProgramError(f'segment "{name}" does not run for microbatch {homes.index(None)}')
        has_backward = any(segment[op] == name and phase[op] in "IWB" for op in phase)
        at = tuple(devices.index(home[1]) for home in homes if home)
        result[name] = Segment(name, wiring.inputs, wiring.outputs, at, has_backward, wiring.operators)
    return Placement(plan.get("graph", ""), tuple(devices), microbatches, result)
