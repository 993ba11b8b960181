"""What running demands of a graph beyond its tensors."""

from __future__ import annotations

import copy
from typing import Any

from opweave.graph import Graph
from opweave.run.plan_files import document
from opweave.run.segments import SegmentRule, phase_of, segments_of


def runnable_graph(graph: Any, rule: SegmentRule = "operator") -> Graph:
    """The graph with what autograd needs of every segment; every plan of it can be compiled if each segment's
    operators follow each other.

    The operators of a segment share a device, because autograd keeps what a backward needs where the forward ran (those
    that read one parameter share it anyway). The backward comes after the forward and W after I also where no tensor
    says so: the result of a loss, for instance, is needed by nobody. Colocation and control edges that are there
    already are kept.
    """
    content = copy.deepcopy(document(graph, "graph"))
    make_runnable(content, rule)
    return graph._derived(content) if isinstance(graph, Graph) else Graph.from_dict(content)


def make_runnable(content: dict[str, Any], rule: SegmentRule = "operator") -> None:
    """Changes the content of a graph's file to that of its runnable_graph."""
    segments = segments_of(content, rule)
    operators = [op for op in content["operators"] if segments[op["name"]] is not None]
    _colocate(operators, segments)
    _order_phases(operators, segments)


def _colocate(operators: list[dict[str, Any]], segments: dict[str, str | None]) -> None:
    """Joins the colocation groups that a segment touches."""
    representative: dict[str, str] = {}

    def find(label: str) -> str:
        while representative.setdefault(label, label) != label:
            label = representative[label]
        return label

    labels = {}
    for operator in operators:
        labels[operator["name"]] = f"segment {segments[operator['name']]}"
        if operator.get("colocation"):
            representative[find(f"colocation {operator['colocation']}")] = find(labels[operator["name"]])
    for operator in operators:
        operator["colocation"] = find(labels[operator["name"]])


def _order_phases(operators: list[dict[str, Any]], segments: dict[str, str | None]) -> None:
    """Control edges from the last operators of F to the first of the backward, and of I to W, within a segment."""
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for operator in operators:
        parts.setdefault((str(segments[operator["name"]]), phase_of(operator)), []).append(operator)
    for (segment, phase), first in parts.items():
        for later in {"F": "IBW", "I": "W"}.get(phase, ""):
            given = {tensor for operator in first for tensor in operator.get("inputs", [])}
            last = [operator["name"] for operator in first if not given & set(operator.get("outputs", []))]
            made = {tensor for operator in parts.get((segment, later), []) for tensor in operator.get("outputs", [])}
            for operator in parts.get((segment, later), []):
                if not made & set(operator.get("inputs", [])):
                    operator["after"] = list(dict.fromkeys([*operator.get("after", []), *last]))
