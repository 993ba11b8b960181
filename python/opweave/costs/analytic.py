"""Times from operations and bytes, for devices that are not at hand."""

from __future__ import annotations

import logging
import math
from typing import Any

from opweave.cluster import Cluster
from opweave.costs.calls import Times, total
from opweave.costs.curves import Curve
from opweave.costs.devices import CALL_OVERHEAD_NS, MATRIX_EFFICIENCY, MEMORY_EFFICIENCY
from opweave.errors import InputError
from opweave.graph import Graph

log = logging.getLogger("opweave.costs")


def with_default_durations(graph: Graph, cluster: Cluster) -> Graph:
    """The graph with what times the operators that nobody timed, and a line in the log that says so.

    A captured graph gets analytic() costs. Any other keeps to docs/formats.md: the peak rates of the cluster time it.
    """
    untimed = sum("duration_ns" not in op and "modes" not in op for op in graph.operators)
    if not untimed or not cluster.to_dict().get("device_types"):
        return graph  # without rates the planner says what is missing
    if hasattr(graph, "calls"):
        log.warning("%d operators have no duration: opweave.costs.analytic estimates them", untimed)
        return analytic(graph, cluster)
    log.warning(
        "%d operators have no duration: the peak rates of the devices time them, which none reaches "
        "(opweave.costs.analytic has efficiencies)",
        untimed,
    )
    return graph


def analytic(
    graph: Graph,
    cluster: Cluster,
    *,
    matrix_efficiency: Curve = MATRIX_EFFICIENCY,
    memory_efficiency: Curve = MEMORY_EFFICIENCY,
    overhead_ns: int = CALL_OVERHEAD_NS,
) -> Graph:
    """The graph with a duration for every device type of *cluster*, from operations and bytes.

    A call lasts overhead + max(flops / (peak x efficiency), bytes / (bandwidth x efficiency)), where the efficiencies
    depend on the flops and bytes of the call (the roofline of Williams, Waterman and Patterson 2009 with curves).
    An operator lasts as long as its calls one after the other; without calls (a graph from a file), it is one.
    Operators that have a duration or modes already keep them.

    Raises InputError for an operator without flops and bytes, and for a device type without bandwidth or without the
    rate of a dtype that has operations.
    """
    types = cluster.to_dict().get("device_types", [])
    if not types:
        raise InputError(f"cluster {cluster.name!r}: it has no device types with rates")

    def times(kind: dict[str, Any]) -> Times:
        def time_ns(flops: float, size: float, dtype: str) -> float:
            bandwidth = kind.get("memory_bandwidth_bytes_per_s")
            if not bandwidth:
                raise InputError(f'device type "{kind["name"]}": key "memory_bandwidth_bytes_per_s" is missing')
            moving = size / (bandwidth * memory_efficiency.at(max(size, 1.0)))
            computing = 0.0
            if flops:
                peak = kind.get("peak_flops_per_s", {}).get(dtype)
                if not peak:
                    raise InputError(f'device type "{kind["name"]}": no peak rate of dtype "{dtype}"')
                computing = flops / (peak * matrix_efficiency.at(flops))
            return float(overhead_ns + max(moving, computing) * 1e9)

        return time_ns

    durations: dict[str, dict[str, int]] = {}
    for op in graph.operators:
        if "duration_ns" in op or "modes" in op:
            continue
        durations[op["name"]] = {kind["name"]: math.ceil(total(graph, op, times(kind))) for kind in types}
    return graph.with_durations(durations)
