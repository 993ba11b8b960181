"""Makespan against memory: how much time a byte is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.amounts import Amount
from opweave.arguments import expect, expect_count
from opweave.cluster import Cluster
from opweave.costs.analytic import with_default_durations
from opweave.errors import NoPlanError
from opweave.graph import Graph
from opweave.planner import settings
from opweave.table import as_frame, as_html, as_text
from opweave.work import answer

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ParetoPoint:
    """One point of the curve. Plans at this memory limit are plans at every larger one."""

    memory_limit_bytes: int
    """Capacity of every device."""
    lower_bound_ns: int
    """No valid plan at this limit is shorter."""
    bound: str
    """The argument that proves it, as in docs/bounds.md."""
    infeasible: bool
    """Proven: no valid plan keeps this limit."""
    makespan_ns: int | None = None
    """Of the best plan known; None if none is."""
    peak_memory_bytes: int | None = None
    """Of that plan."""
    method: str = ""
    """What found it."""

    @property
    def gap(self) -> float | None:
        """(makespan - bound) / makespan; None without a plan."""
        if self.makespan_ns is None:
            return None
        return (self.makespan_ns - self.lower_bound_ns) / self.makespan_ns if self.makespan_ns else 0.0


@dataclass(frozen=True)
class ParetoCurve(Sequence[ParetoPoint]):
    """Makespan at each memory limit, smallest limit first. Neither makespans nor bounds ever rise."""

    points: tuple[ParetoPoint, ...]

    @overload
    def __getitem__(self, index: int) -> ParetoPoint: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ParetoPoint]: ...
    def __getitem__(self, index: int | slice) -> ParetoPoint | Sequence[ParetoPoint]:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[ParetoPoint]:
        return iter(self.points)

    def records(self) -> list[dict[str, Any]]:
        """A dictionary per point, its fields and the gap."""
        return [{**vars(point), "gap": point.gap} for point in self.points]

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                _core.human_bytes(point.memory_limit_bytes),
                "-" if point.makespan_ns is None else _core.human_time(point.makespan_ns),
                _core.human_time(point.lower_bound_ns),
                "-" if point.gap is None else f"{100 * point.gap:.1f}%",
                "-" if point.peak_memory_bytes is None else _core.human_bytes(point.peak_memory_bytes),
                point.bound,
                "proven: no plan" if point.infeasible else point.method,
            )
            for point in self.points
        ]

    def __str__(self) -> str:
        return as_text(_HEADINGS, self._rows())

    def _repr_html_(self) -> str:
        return as_html(_HEADINGS, self._rows())


_HEADINGS = ("memory limit", "makespan", "lower bound", "gap", "peak memory", "bound by", "found by")


def pareto(
    graph: Graph,
    cluster: Cluster,
    *,
    points: int = 8,
    time_limit: float | None = None,
    work_limit: int | None = None,
    seed: int = 1,
    threads: int | None = None,
    microbatches: int | None = None,
    replicas: int | None = None,
    contention: str | None = None,
    memory_limit: Amount | None = None,
    blocks: str | None = None,
    method: str = "auto",
    progress: bool | None = None,
) -> ParetoCurve:
    """Makespan against the memory of every device, each point with its plan's figures and a proven bound.

    Args:
        graph: As for plan().
        cluster: Devices and links. All devices get the memory of the one that has most: the curve's largest limit.
        points: Memory limits, evenly spaced from the least for which a plan is known to the peak of the shortest plan
            known; from 2 to 1000. Fewer where the ends lie close together.
        time_limit: Seconds for the whole curve; 60 if neither limit is given.
        work_limit: Evaluations for the whole curve; with this limit alone the result is repeatable.
        seed, threads, microbatches, replicas, contention, memory_limit, blocks, method, progress: As for plan().

    Ctrl-C ends the search, and what is known so far is returned.

    Raises:
        InputError: No plan can be valid whatever the order, or an argument is out of range.
        NoPlanError: No plan exists, or none was found within the limits.
    """
    expect(graph, Graph, "graph", "an opweave.Graph (Graph.from_file reads one)")
    expect(cluster, Cluster, "cluster", "an opweave.Cluster (Cluster.from_file reads one)")
    expect_count(points, "points", 2)
    if points > 1000:
        raise _core.InputError(f"points: value is {points}, expected an integer from 2 to 1000")
    if time_limit is None and work_limit is None:
        time_limit = 60.0
    for name, limit in (("time_limit", time_limit), ("work_limit", work_limit)):
        if limit is not None:
            expect(limit, (int, float), name, "a number from 0")
            if not limit >= 0:
                raise _core.InputError(f"{name}: value is {limit}, expected a number from 0")
    expect_count(seed, "seed", 0)
    if threads is not None:
        expect_count(threads, "threads")
    replacements = settings(cluster, microbatches, replicas, contention, memory_limit, blocks)
    timed = with_default_durations(graph, cluster)
    work = _core.pareto(
        timed._core, cluster._core, replacements, points, time_limit, work_limit, seed, threads or 0, method
    )
    content = answer(work, time_limit, progress)
    if "points" not in content:
        limit_text = f"time {time_limit:g} s" if work_limit is None else f"work {work_limit}"
        raise NoPlanError(
            infeasible=content["infeasible"],
            detail=content["detail"],
            limit="" if content["infeasible"] else limit_text,
            bounds=(),
        )
    return ParetoCurve(tuple(ParetoPoint(**point) for point in content["points"]))
