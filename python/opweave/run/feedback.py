"""What a run found, as a graph and a cluster to plan on again."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence

from opweave.cluster import Cluster
from opweave.errors import InputError
from opweave.graph import Graph
from opweave.plans import Plan
from opweave.run.durations import measured_durations, with_durations
from opweave.run.program import ActionTiming

Step = Sequence[ActionTiming]


def feed_back(plan: Plan, timings: Iterable[ActionTiming | Step]) -> tuple[Graph, Cluster]:
    """The graph of *plan* with the times of its operators in a run, and its cluster with the latency of a message.

    The times are those of the executor's own threads and order: an operator lasts as long as its action, median over
    microbatches and steps, and as what lies between actions although no message is missing. The latency is the median
    of what a waiting rank waits beyond the end of the producer; clusters with a default link get it, others stay as
    they are. What other operators took beside it, on shared caches and memory, is in the times.

    Args:
        plan: That ran.
        timings: Of all ranks, as gather_timings gives them: one step, or a list of steps, of which the first warms up
            and does not count.

    Raises InputError where an operator of the plan was not measured.
    """
    steps = _steps(timings)
    durations = measured_durations(steps)
    missing = [op["name"] for op in plan.graph.operators if op["name"] not in durations]
    if missing:
        raise InputError(f'timings: operator "{missing[0]}" was not measured, expected those of all ranks in a step')
    overhead = _overhead_ns(steps)
    first = {timing.action.operators[0] for step in steps for timing in step}
    graph = with_durations(plan.graph, {name: time + overhead * (name in first) for name, time in durations.items()})
    content = plan.cluster.to_dict()
    latency = _latency_ns(plan, steps)
    if latency is not None and "default_link" in content:
        content["default_link"]["latency_ns"] = max(0, latency - overhead)
    return graph, Cluster.from_dict(content, plan.cluster.name)


def _steps(timings: Iterable[ActionTiming | Step]) -> list[Step]:
    entries = list(timings)
    single = [entry for entry in entries if isinstance(entry, ActionTiming)]
    steps: list[Step] = [single] if single else [entry for entry in entries if not isinstance(entry, ActionTiming)]
    if not steps or not all(steps):
        raise InputError("timings: no actions, expected the timings of all ranks in one step or more")
    return steps[1:] if len(steps) > 1 else steps


def _overhead_ns(steps: Iterable[Step]) -> int:
    """Before an action whose messages are there: of each action the shortest wait in any step, of these the median,
    since some always wait for others."""
    shortest: dict[tuple[str, str, int], int] = {}
    for step in steps:
        for timing in step:
            key = timing.action.key
            shortest[key] = min(shortest.get(key, timing.wait_ns), timing.wait_ns)
    return round(statistics.median(shortest.values()))


def _latency_ns(plan: Plan, steps: Iterable[Step]) -> int | None:
    """From the end of a producer to the start of a consumer that had nothing else to do; None without any."""
    consumers: dict[str, list[str]] = {}
    producer = {tensor: op["name"] for op in plan.graph.operators for tensor in op.get("outputs", ())}
    for op in plan.graph.operators:
        for tensor in op.get("inputs", ()):
            consumers.setdefault(tensor, []).append(op["name"])
    ranks = {device: rank for rank, device in enumerate(plan.cluster.devices)}
    gaps = []
    for step in steps:
        ran = {(timing.rank, op, timing.action.microbatch): timing for timing in step for op in timing.action.operators}
        for transfer in plan.transfers:
            made = ran.get((ranks[transfer["source"]], producer.get(transfer["tensor"], ""), transfer["microbatch"]))
            users = _users(ran, ranks[transfer["destination"]], consumers[transfer["tensor"]], transfer["microbatch"])
            first = min(users, key=lambda timing: timing.start_ns, default=None)
            if made is not None and first is not None and first.start_ns - first.wait_ns <= made.end_ns:
                gaps.append(first.start_ns - made.end_ns)
    return round(statistics.median(gaps)) if gaps else None


def _users(
    ran: dict[tuple[int, str, int], ActionTiming], rank: int, names: Iterable[str], microbatch: int
) -> Iterator[ActionTiming]:
    for name in names:
        timing = ran.get((rank, name, microbatch))
        if timing is not None:
            yield timing
