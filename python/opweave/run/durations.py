"""Measured times, fed back: to the simulation of a plan, or to a graph that is planned again."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from opweave.graph import Graph
from opweave.run.plan_files import document
from opweave.run.program import ActionTiming


def measured_durations(timings: Iterable[ActionTiming | Sequence[ActionTiming]]) -> dict[str, int]:
    """Nanoseconds by operator: the median over microbatches and steps.

    *timings* are those of all ranks in one step, as gather_timings gives them, or a list of such lists.

    The time of an action with several operators is shared out as planned, or evenly if they were planned to take none.

    This is the file of measured durations of docs/formats.md: `opweave.simulate(plan, durations=...)`.
    """
    samples: dict[str, list[float]] = {}
    for step in timings:
        for timing in [step] if isinstance(step, ActionTiming) else step:
            action = timing.action
            total = sum(action.durations_ns)
            for operator, planned in zip(action.operators, action.durations_ns, strict=True):
                share = planned / total if total else 1 / len(action.operators)
                samples.setdefault(operator, []).append(share * (timing.end_ns - timing.start_ns))
    return {operator: round(statistics.median(values)) for operator, values in samples.items()}


def with_durations(graph: Any, durations: dict[str, int]) -> Graph:
    """The graph with these durations on every device type, ready to be planned again.

    Operators that were not measured keep what they have. An operator with explicit modes keeps its devices.
    """
    result = copy.deepcopy(document(graph, "graph"))
    for operator in result["operators"]:
        if operator["name"] not in durations:
            continue
        if operator.get("modes"):
            for mode in operator["modes"]:
                mode["duration_ns"] = durations[operator["name"]]
        else:
            operator["duration_ns"] = durations[operator["name"]]
    timed = Graph.from_dict(result)
    timed.times_from = "measured in a run"
    return timed
