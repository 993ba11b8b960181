"""A plan beside the published pipeline schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opweave import _core
from opweave.amounts import Amount
from opweave.arguments import expect
from opweave.cluster import Cluster
from opweave.costs.analytic import with_default_durations
from opweave.graph import Graph
from opweave.planner import settings
from opweave.plans import Plan
from opweave.table import as_frame, as_html

if TYPE_CHECKING:
    import pandas

# Activations and memory at their highest on any device; copies of parameters.
_HEADINGS = ("schedule", "makespan", "gap", "bubble", "activations", "memory", "fits", "copies")


@dataclass(frozen=True)
class Comparison:
    """The published schedules that apply to a problem, longest makespan first, and the plan as the last."""

    problem: str
    lower_bound_ns: int
    lower_bound_name: str
    schedules: list[dict[str, Any]]
    """Of each: name, makespan_ns, gap, bubble_ratio, peak_memory_bytes, peak_activations, fits_memory,
    parameter_copies. Memory is reported, not enforced."""
    left_out: list[str]
    """Schedules for the same placement that are not defined for these sizes, each with the reason."""

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, without headings."""
        table: list[tuple[str, ...]] = []
        for schedule in self.schedules:
            gap, activations = schedule["gap"], schedule["peak_activations"]
            table.append(
                (
                    schedule["name"],
                    _core.human_time(schedule["makespan_ns"]),
                    "-" if gap is None else f"{100 * gap:.1f}%",
                    f"{100 * schedule['bubble_ratio']:.1f}%",
                    "-" if activations is None else f"{activations:.2f}",
                    _core.human_bytes(schedule["peak_memory_bytes"]),
                    "yes" if schedule["fits_memory"] else "no",
                    str(schedule["parameter_copies"]),
                )
            )
        bound = f"lower bound ({self.lower_bound_name})"
        table.append((bound, _core.human_time(self.lower_bound_ns), "", "", "", "", "", ""))
        return table

    def show(self) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(_core.readable(self.problem)) if self.problem else None, box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading, justify="left" if heading == "schedule" else "right", no_wrap=True)
        for row in self.rows():
            table.add_row(*row)
        console = Console()
        console.width = max(console.width, 100)  # a line that wraps is easier to read than figures cut off
        console.print(table)

    def to_pandas(self) -> pandas.DataFrame:
        """A row per schedule, keys as in ``schedules``, as a table of pandas, which must be installed."""
        return as_frame(self.schedules)

    def _repr_html_(self) -> str:
        return as_html(_HEADINGS, self.rows())


def compare(
    graph: Graph | Plan,
    cluster: Cluster | None = None,
    *,
    microbatches: int | None = None,
    replicas: int | None = None,
    contention: str | None = None,
    memory_limit: Amount | None = None,
) -> Comparison:
    """Simulate the published schedules that apply: ``compare(plan)``, or ``compare(graph, cluster)`` without a plan.

    Which ones apply follows from the graph's stages, their devices and the replicas (docs/experts.md). The other
    arguments are those of opweave.plan; a plan carries its own settings.
    """
    expect(graph, (Graph, Plan), "graph", "an opweave.Plan, or an opweave.Graph and an opweave.Cluster")
    where = graph.cluster if isinstance(graph, Plan) else cluster
    expect(where, Cluster, "cluster", "an opweave.Cluster")
    assert where is not None
    replacements = settings(where, microbatches, replicas, contention, memory_limit)
    if isinstance(graph, Plan):
        figures = _core.compare(graph.graph._core, graph.cluster._core, graph._core, replacements)
    else:
        timed = with_default_durations(graph, where)
        figures = _core.compare(timed._core, where._core, None, replacements)
    return Comparison(**figures)
