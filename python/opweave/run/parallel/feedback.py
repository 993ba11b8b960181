"""What a run on groups of ranks found, as a graph and a cluster to plan on again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from opweave.cluster import Cluster
from opweave.graph import Graph
from opweave.plans import Plan
from opweave.run import feedback
from opweave.run.parallel.program import Copy, ParallelProgram
from opweave.run.parallel.step import Timing
from opweave.run.parallel.timings import device_timings


def feed_back(plan: Plan, program: ParallelProgram, steps: Sequence[Sequence[Timing]]) -> tuple[Graph, Cluster]:
    """The graph of *plan* with the times of its operators on their ranks, and its cluster with the latency of a message
    and the bandwidth of host links, as `opweave.run.feed_back` does it for a rank per device.

    Collectives inside of actions are part of the operators' times. A host link gets the bandwidth at which the copies
    of its type of device went, of what the plan says they move, beyond the latency that it has.

    Args:
        plan: That `compile_plan` made the base of *program* from.
        program: That ran.
        steps: Timings of all ranks (`gather_results`), of one step or more; of several, the first warms up.

    Raises InputError where an operator of the plan was not measured.
    """
    graph, cluster = feedback.feed_back(plan, [device_timings(program, timings) for timings in steps])
    content = cluster.to_dict()
    types = {device["name"]: device.get("type", "") for device in content["devices"]}
    moved: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by type of device: bytes and nanoseconds
    for device, size, duration in _copies(plan, program, steps[1:] if len(steps) > 1 else steps):
        moved[types[device]].append((size, duration))
    for kind in content.get("device_types", ()):
        if moved.get(kind["name"]) and "host_link" in kind:
            latency = kind["host_link"].get("latency_ns", 0)
            time = sum(max(1, duration - latency) for _, duration in moved[kind["name"]])
            kind["host_link"]["bandwidth_bytes_per_s"] = max(1, sum(b for b, _ in moved[kind["name"]]) * 10**9 // time)
    return graph, Cluster.from_dict(content, cluster.name)


def _copies(plan: Plan, program: ParallelProgram, steps: Sequence[Sequence[Timing]]) -> Iterator[tuple[str, int, int]]:
    """Device, planned bytes and nanoseconds of the copies of every device's first rank."""
    segment = {operator: s.name for s in program.base.segments.values() for operator in s.operators}
    maker = {tensor: op["name"] for op in plan.graph.operators for tensor in op.get("outputs", ())}
    sizes: dict[tuple[str, int], int] = defaultdict(int)
    for mode in plan.to_dict().get("memory_modes", ()):
        if mode["mode"] == "host":
            sizes[segment[maker[mode["tensor"]]], mode["microbatch"]] += plan.graph.tensors[mode["tensor"]]
    first = {program.grid.of_device(device)[0]: name for device, name in enumerate(program.base.devices)}
    for timing in (timing for timings in steps for timing in timings if timing.rank in first):
        step = timing.instruction
        if isinstance(step, Copy) and (step.segment, step.microbatch) in sizes:
            size = sizes[step.segment, step.microbatch]
            yield first[timing.rank], size, timing.end_ns - timing.start_ns
