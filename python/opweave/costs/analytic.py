"""Times from operations and bytes, for devices that are not at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opweave import _core
from opweave.arguments import expect
from opweave.cluster import Cluster
from opweave.graph import Graph
from opweave.hardware.curves import Curve
from opweave.hardware.efficiencies import Efficiencies, efficiencies_of

log = logging.getLogger("opweave.costs")


def with_default_durations(graph: Graph, cluster: Cluster) -> Graph:
    """The graph with what times the operators that nobody timed, and a line in the log that says so.

    A captured graph gets analytic() costs. Any other keeps to docs/formats.md: the peak rates of the cluster time it.
    """
    untimed = sum(map(_is_untimed, graph.operators))
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
    fused: bool = True,
    dtype: str | None = None,
    efficiencies: Efficiencies | None = None,
    matrix_efficiency: Curve | None = None,
    memory_efficiency: Curve | None = None,
    overhead_ns: int | None = None,
) -> Graph:
    """The graph with a duration for every device type of *cluster*, from operations and bytes.

    A call lasts overhead + max(flops / (peak x efficiency), bytes / (bandwidth x efficiency)), where the efficiencies
    depend on the flops and bytes of the call (the roofline of Williams, Waterman and Patterson 2009 with curves).
    Attention has efficiencies of its own; what causal attention leaves out takes no time. An operator lasts as long as
    its calls one after the other; without calls (a graph from a file), it is one. Operators that have a duration or
    modes already keep them.

    Args:
        graph: From opweave.capture, or any with flops and bytes.
        cluster: Its device types have the rates.
        fused: Chains of element-wise calls of a captured graph are one kernel that reads and writes what goes in and
            out, as a compiler makes them (``graph.kernels``); False takes every call alone, as PyTorch runs them
            without one.
        dtype: The times as if what is computed in fp32 were computed in this dtype ("bf16", "fp16", "fp8"); memory
            stays that of the graph. opweave.capture has the same argument, which changes memory, too.
        efficiencies: For all device types, for example costs.ALONE; None takes those of the named device, and of
            Hopper for a name that costs.NODES does not have.
        matrix_efficiency, memory_efficiency, overhead_ns: Replace those of *efficiencies*.

    Raises InputError for an operator without flops and bytes, and for a device type without bandwidth or without the
    rate of a dtype that has operations.
    """
    expect(graph, Graph, "graph", "an opweave.Graph")
    expect(cluster, Cluster, "cluster", "an opweave.Cluster")
    given: dict[str, Any] = {"matrix": matrix_efficiency, "memory": memory_efficiency, "overhead_ns": overhead_ns}
    wanted = {name: value for name, value in given.items() if value is not None}
    chosen = {}
    if efficiencies is not None or wanted:
        for kind in cluster.to_dict().get("device_types", []):
            chosen[kind["name"]] = replace(efficiencies or efficiencies_of(kind["name"]), **wanted)
    assumed = [] if fused else ["every call alone"]
    assumed += [] if dtype is None else [f"fp32 as {dtype}"]
    timed = _timed(graph, cluster, fused, dtype, chosen, ", ".join([_ORIGIN, *assumed]))
    if dtype is None and any(map(_is_untimed, graph.operators)):
        for text in _core.slow_dtypes(graph._core, cluster._core):
            log.warning(
                '%s (dtype="bf16" of opweave.capture changes times and memory, of costs.analytic times alone)', text
            )
    return timed


def as_planned(graph: Graph, cluster: Cluster) -> Graph:
    """What opweave.plan made of a captured graph without durations, without a word about it."""
    return _timed(graph, cluster, True, None, {}, _ORIGIN)


_ORIGIN = "analytic, from flops and bytes"


def _timed(
    graph: Graph,
    cluster: Cluster,
    fused: bool,
    dtype: str | None,
    efficiencies: Mapping[str, Efficiencies],
    times_from: str,
) -> Graph:
    """The core computes them, for the command line, too; its text of the graph has the calls of a captured one."""
    by_type = {name: value.to_core() for name, value in efficiencies.items()}
    durations = _core.analytic_durations(graph.to_json(), cluster._core, fused, dtype or "", by_type)
    before = f"{graph.times_from}, the rest " if len(durations) < len(graph.operators) and graph.times_from else ""
    return graph.with_durations(durations, before + times_from)


def _is_untimed(op: Mapping[str, Any]) -> bool:
    return "duration_ns" not in op and "modes" not in op
