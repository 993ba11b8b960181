"""The one call that does the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opweave import _core
from opweave.amounts import Amount, to_memory
from opweave.arguments import expect, expect_count
from opweave.bound import Bound
from opweave.cluster import Cluster
from opweave.costs.analytic import with_default_durations
from opweave.errors import NoPlanError
from opweave.graph import Graph
from opweave.places import to_place
from opweave.plans import Plan, Violation
from opweave.progress import ProgressBar
from opweave.work import run


@dataclass(frozen=True)
class Progress:
    """State of a running search."""

    seconds: float
    makespan_ns: int | None
    """Of the best plan so far; None before the first."""
    lower_bound_ns: int
    method: str
    """What is at work, or what found the best plan."""


def settings(
    cluster: Cluster,
    microbatches: int | None,
    replicas: int | None,
    contention: str | None,
    memory_limit: Amount | None,
    blocks: str | None = None,
    memory_modes: Sequence[str] | None = None,
) -> _core.Settings:
    """Replacements for what graph and cluster say; None keeps that. Raises InputError for values of the wrong kind."""
    for name, count in (("microbatches", microbatches), ("replicas", replicas)):
        if count is not None:
            expect_count(count, name)
    for name, text in (("contention", contention), ("blocks", blocks)):
        expect(text, (str, type(None)), name, "a text")
    largest = max((device.get("memory_bytes", 0) for device in cluster.to_dict()["devices"]), default=0)
    limit = None if memory_limit is None else to_memory(memory_limit, "memory_limit", largest)
    modes = None
    if memory_modes is not None:
        modes = list(memory_modes)
        for mode in modes if not isinstance(memory_modes, str) else [None]:
            expect(mode, str, "memory_modes", 'a list of texts such as ["drop", "host"]')
    return _core.Settings(microbatches, replicas, contention, limit, blocks, modes)


def plan(
    graph: Graph,
    cluster: Cluster,
    *,
    time_limit: float | None = None,
    work_limit: int | None = None,
    seed: int = 1,
    threads: int | None = None,
    microbatches: int | None = None,
    replicas: int | None = None,
    contention: str | None = None,
    memory_limit: Amount | None = None,
    blocks: str | None = None,
    memory_modes: Sequence[str] | None = None,
    method: str = "auto",
    objectives: str | Sequence[str] = "makespan",
    deadline_ns: int | None = None,
    warm_start: Plan | None = None,
    on: str | None = None,
    workers: int | None = None,
    searches: int = 4,
    progress: bool | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Plan *graph* on *cluster*: the best placement and schedule found within the limits, checked.

    Args:
        graph: Operators of one microbatch, with durations or with flops and bytes. Operators of a captured graph that
            have no duration get those of costs.analytic, those of another graph what the peak rates of the cluster
            give; a line in the log says so, and the ``graph`` of the plan has them.
        cluster: Devices and links.
        time_limit: Seconds; 60 if neither limit is given. Wall time stays within 5 % and half a second of it.
        work_limit: Evaluations of candidate plans. With this limit alone the result is repeatable to the byte.
        seed: Of the search.
        threads: Of the search; None takes all cores, and one thread per worker where *on* is given.
        microbatches, replicas, contention, memory_limit: Replace what graph and cluster say. *memory_limit* is the
            capacity of every device in bytes or as a text such as "80GiB".
        blocks: "stage" or "layer": F, I and W of each run in one piece per microbatch, on one device, as the exports of
            `opweave.export` need it (docs/blocks.md). None lets every operator run for itself.
        memory_modes: What values of the forward pass may do beside staying, where their tensor does not say: "drop"
            (and be made again), "host" (be copied there and back) (docs/memory-modes.md).
        method: "auto" puts everything to work; "heuristic" no solver; "mip-disjunctive", "mip-time-indexed" and "cp"
            one complete formulation alone.
        objectives: In order of importance, as a list or separated by commas: "makespan", "period", "peak-memory",
            "devices", "communication", "utilisation" (docs/objectives.md).
        deadline_ns: The plan ends by then.
        warm_start: A plan of the same graph and cluster; the result is never worse.
        on: Where workers search side by side and share the best plan and the bound (docs/distributed.md): "processes",
            "ray" or "ray://HOST:PORT". None searches in this process. Workers know the makespan alone.
        workers: How many work at a time; None takes all cores of the place.
        searches: With *on* and *work_limit*: searches of one seed each, whatever the workers.
        progress: Show a progress bar on standard error or in the notebook; None shows one where somebody watches.
        on_progress: Called in this thread a few times a second. An exception from it ends the search and is raised.

    Ctrl-C ends the search, and the best plan so far is returned with ``plan.stopped_by == "interrupt"``.
    KeyboardInterrupt is raised if there is no plan yet, or at once at a second Ctrl-C. The interpreter is free
    meanwhile: other Python threads run.

    Raises:
        InputError: No plan can be valid whatever the order, an argument is out of range, or no worker starts.
        NoPlanError: No plan exists, or none was found within the limits.
    """
    if time_limit is None and work_limit is None:
        time_limit = 60.0
    _expect_problem(graph, cluster)
    for name, limit in (("time_limit", time_limit), ("work_limit", work_limit)):
        if limit is not None:
            expect(limit, (int, float), name, "a number from 0")
            if not limit >= 0:
                raise _core.InputError(f"{name}: value is {limit}, expected a number from 0")
    expect_count(seed, "seed", 0)
    if threads is not None:
        expect_count(threads, "threads")
    expect(method, str, "method", "a text")
    expect(objectives, (str, Sequence), "objectives", "a text or a list of texts")
    expect(warm_start, (Plan, type(None)), "warm_start", "an opweave.Plan")
    names = objectives if isinstance(objectives, str) else ",".join(objectives)
    place, worker_count = to_place(on, workers)
    expect_count(searches, "searches")
    if place is not None and (names != "makespan" or deadline_ns is not None):
        raise _core.InputError("on: workers share the makespan alone, expected no other objectives and no deadline_ns")
    replacements = settings(cluster, microbatches, replicas, contention, memory_limit, blocks, memory_modes)
    graph = with_default_durations(graph, cluster)
    search = _core.Search(
        graph._core,
        cluster._core,
        replacements,
        time_limit,
        work_limit,
        seed,
        threads or (0 if place is None else 1),
        method,
        names,
        deadline_ns,
        None if warm_start is None else warm_start._core,
        place,
        worker_count,
        searches,
    )

    interrupted = False
    with ProgressBar(progress, time_limit) as bar:

        def look() -> None:
            state = search.progress()
            bar.show(state)
            if on_progress is not None:
                on_progress(Progress(state.seconds, state.makespan_ns, state.lower_bound_ns, state.method))

        result, interrupted = run(search.run, search, look)
    if result.plan is None:
        if interrupted:
            raise KeyboardInterrupt
        raise NoPlanError(
            infeasible=result.infeasible,
            detail=result.detail,
            limit=result.limit,
            bounds=tuple(Bound(*bound) for bound in result.bounds),
        )
    best = Plan(result.plan, graph, cluster)
    best.stopped_by = result.limit
    if interrupted:
        print(f"opweave: interrupted: {best.summary()}", file=sys.stderr)
    return best


def _expect_problem(graph: Graph, cluster: Cluster) -> None:
    expect(graph, Graph, "graph", "an opweave.Graph (Graph.from_file reads one)")
    expect(cluster, Cluster, "cluster", "an opweave.Cluster (Cluster.from_file reads one)")


def check(plan: Plan, limit: int = 100) -> list[Violation]:
    """What *plan* breaks, at most *limit* findings; empty for a valid plan. The same as plan.check()."""
    expect(plan, Plan, "plan", "an opweave.Plan")
    return plan.check(limit)


def lower_bounds(
    graph: Graph,
    cluster: Cluster,
    *,
    microbatches: int | None = None,
    replicas: int | None = None,
    contention: str | None = None,
    memory_limit: Amount | None = None,
    memory_modes: Sequence[str] | None = None,
) -> tuple[Bound, ...]:
    """Bounds on the makespan that need no search, largest first; arguments as for plan(). Raises InputError."""
    _expect_problem(graph, cluster)
    replacements = settings(cluster, microbatches, replicas, contention, memory_limit, memory_modes=memory_modes)
    graph = with_default_durations(graph, cluster)
    return tuple(Bound(*bound) for bound in _core.lower_bounds(graph._core, cluster._core, replacements))
