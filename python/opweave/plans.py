"""Plans: where and when every operator runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from opweave import _core
from opweave.arguments import expect
from opweave.bound import Bound
from opweave.cluster import Cluster
from opweave.costs.analytic import as_planned
from opweave.document import Document, read_text
from opweave.graph import Graph


@dataclass(frozen=True)
class Violation:
    """A rule that a plan breaks."""

    rule: str
    """once, stream, presence, transfer, memory, placement, figures or blocks (docs/concepts.md)."""
    message: str


class Plan(Document):
    """A checked schedule of a graph on a cluster, with its figures, its lower bounds and where it comes from.

    `tasks` and `transfers` say what runs where and when; `statistics` holds the figures per device.
    """

    def __init__(self, core: _core.Plan, graph: Graph, cluster: Cluster) -> None:
        """Users call opweave.plan, from_json or from_file."""
        self._core = core
        self.graph = graph
        self.cluster = cluster
        self.stopped_by = ""
        """What ended the search: "time 60 s", "work 1000", "interrupt"; empty if it ended by itself, or for a file."""

    @classmethod
    def from_json(cls, text: str, graph: Graph, cluster: Cluster, source: str = "plan") -> Plan:
        """Read a plan for this graph and cluster. Whether it obeys the rules is for check() to say.

        For a captured graph without durations, a plan that opweave.plan made of it has those of costs.analytic.
        Raises InputError.
        """
        expect(text, str, "plan", "a text in JSON")
        expect(graph, Graph, "graph", "an opweave.Graph")
        expect(cluster, Cluster, "cluster", "an opweave.Cluster")
        plan = cls(_core.parse_plan(text, source, graph._core, cluster._core), graph, cluster)
        made_for = plan.provenance.get("graph_hash", "")
        if hasattr(graph, "calls") and made_for not in ("", graph.content_hash):
            timed = as_planned(graph, cluster)
            if timed.content_hash == made_for:
                return cls(_core.parse_plan(text, source, timed._core, cluster._core), timed, cluster)
        return plan

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], graph: Graph, cluster: Cluster) -> Plan:
        """Read a plan file for this graph and cluster. Raises InputError naming file, place and value."""
        expect(path, (str, os.PathLike), "plan", "the path of a file")
        return cls.from_json(read_text(path), graph, cluster, os.fspath(path))

    def to_json(self) -> str:
        """The plan file, in canonical form."""
        return self._core.to_json(self.graph._core, self.cluster._core)

    def __reduce__(self) -> tuple[Any, ...]:  # pickle and copy know nothing of the core
        return _restored, (self.to_json(), self.graph, self.cluster, self.stopped_by)

    @property
    def makespan_ns(self) -> int:
        """End of the last task."""
        return int(self._content["makespan_ns"])

    @property
    def lower_bound_ns(self) -> int:
        """Proven: no valid plan is shorter. 0 if nothing was proven."""
        return int(self._content["lower_bound_ns"])

    @property
    def gap(self) -> float:
        """(makespan - lower bound) / makespan."""
        return float(self._content["gap"])

    @property
    def optimal(self) -> bool:
        """True if the makespan equals the lower bound."""
        return bool(self._content["status"] == "optimal")

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """All lower bounds, largest first."""
        return tuple(
            Bound(bound["name"], bound["value_ns"], bound.get("detail", ""))
            for bound in self._content.get("bounds", ())
        )

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Tasks by start, keys as in the file: operator, microbatch or replica, devices, streams, start_ns, end_ns."""
        tasks: list[dict[str, Any]] = self._content["tasks"]
        return tasks

    @property
    def transfers(self) -> list[dict[str, Any]]:
        """Transfers by start, keys as in the file: tensor, microbatch, source, destination, start_ns, end_ns."""
        transfers: list[dict[str, Any]] = self._content.get("transfers", [])
        return transfers

    @property
    def statistics(self) -> dict[str, Any]:
        """Period, bubble ratio, bytes moved, and per device busy time, bubble and memory; keys as in the file."""
        statistics: dict[str, Any] = self._content["statistics"]
        return statistics

    @property
    def provenance(self) -> dict[str, Any]:
        """Version, method, seed, limit and hashes of the inputs; keys as in the file."""
        provenance: dict[str, Any] = self._content.get("provenance", {})
        return provenance

    def check(self, limit: int = 100) -> list[Violation]:
        """What the plan breaks, at most *limit* findings; empty for a valid plan.

        The validator uses nothing of what made the plan.
        """
        return [
            Violation(rule, message)
            for rule, message in _core.check(self.graph._core, self.cluster._core, self._core, limit)
        ]

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page that needs no network: Gantt, memory, transfers, comparison, bounds."""
        tokens = getattr(self.graph, "tokens", None)
        page = _core.report_html(self.graph._core, self.cluster._core, self._core, tokens, self.graph.times_from)
        _core.write_file(os.fspath(path), page)

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write a trace for Perfetto (ui.perfetto.dev)."""
        _core.write_file(os.fspath(path), _core.perfetto_trace(self.graph._core, self.cluster._core, self._core))

    def show(self, width: int | None = None) -> None:
        """Print the plan as a Gantt chart of letters: a line per stream of each device, phases F, I, W, B and O.

        Below, the layers on each device, where the graph has layers. *width* is in characters; None takes that of the
        terminal.
        """
        from opweave.gantt import show

        show(self, width)

    def _repr_html_(self) -> str:
        from opweave.notebook import plan_html

        return plan_html(self)

    @property
    def layers(self) -> dict[str, list[str]]:
        """Names of the layers with operators on each device, in the order of the graph."""
        layer_of = {op["name"]: op.get("layer", "") for op in self.graph.operators}
        held: dict[str, set[str]] = {device: set() for device in self.cluster.devices}
        for task in self.tasks:
            for device in task["devices"]:
                held[device].add(layer_of[task["operator"]])
        order = [layer for layer in dict.fromkeys(layer_of.values()) if layer]
        return {device: [layer for layer in order if layer in names] for device, names in held.items()}

    @property
    def flops_per_s(self) -> float:
        """Operations of the graph without the optimizer, per second of the iteration; 0 where they are unknown."""
        flops = sum(op.get("flops", 0.0) for op in self.graph.operators if op.get("phase") != "O")
        count = self._content.get("settings", {}).get("training", {}).get("microbatches", 1)
        return float(flops * count / (self.makespan_ns * 1e-9)) if self.makespan_ns else 0.0

    @property
    def mfu(self) -> float | None:
        """flops_per_s over the peak rates of all devices, in the dtype of most operations; None where one is unknown.

        Attention counts as a full square, as published figures do, and what is computed again counts again.
        """
        by_dtype: dict[str, float] = {}
        for op in self.graph.operators:
            if op.get("phase") != "O":
                dtype = op.get("dtype", "bf16")
                by_dtype[dtype] = by_dtype.get(dtype, 0.0) + op.get("flops", 0.0)
        content = self.cluster.to_dict()
        rates = {kind["name"]: kind.get("peak_flops_per_s", {}) for kind in content.get("device_types", ())}
        dtype = max(by_dtype, key=lambda name: by_dtype[name], default="")
        peaks = [rates.get(device.get("type", ""), {}).get(dtype) for device in content["devices"]]
        if not self.flops_per_s or not all(peaks):
            return None
        return float(self.flops_per_s / sum(peaks))

    def summary(self) -> str:
        """Makespan, lower bound and gap in one line."""
        return (
            f"makespan {_core.human_time(self.makespan_ns)}, lower bound {_core.human_time(self.lower_bound_ns)}, "
            f"gap {100 * self.gap:.1f}%, bubble {100 * self.statistics['bubble_ratio']:.1f}%"
        )

    def __repr__(self) -> str:
        return f"<opweave.Plan of {self.graph.name!r} on {self.cluster.name!r}: {self.summary()}>"


def _restored(text: str, graph: Graph, cluster: Cluster, stopped_by: str) -> Plan:
    plan = Plan.from_json(text, graph, cluster)
    plan.stopped_by = stopped_by
    return plan
