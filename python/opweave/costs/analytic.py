"""Times from operations and bytes, for devices that are not at hand."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opweave.arguments import expect
from opweave.cluster import Cluster
from opweave.costs.attention import fused_attention
from opweave.costs.calls import calls_of
from opweave.costs.kernels import Kernel, shares
from opweave.errors import InputError
from opweave.graph import Graph
from opweave.hardware.curves import Curve
from opweave.hardware.devices import NODES
from opweave.hardware.efficiencies import HOPPER, Efficiencies

if TYPE_CHECKING:
    from opweave.costs.call import Call

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
    if dtype is not None and dtype not in _BYTES:
        raise InputError(f'dtype: value is "{dtype}", expected one of {", ".join(_BYTES)}')
    given: dict[str, Any] = {"matrix": matrix_efficiency, "memory": memory_efficiency, "overhead_ns": overhead_ns}
    wanted = {name: value for name, value in given.items() if value is not None}

    def roofline(kind: Mapping[str, Any]) -> _Roofline:
        return _Roofline(kind, replace(efficiencies or _efficiencies_of(kind), **wanted), dtype)

    assumed = [] if fused else ["every call alone"]
    assumed += [] if dtype is None else [f"fp32 as {dtype}"]
    timed = _timed(graph, cluster, roofline, fused, ", ".join([_ORIGIN, *assumed]))
    if dtype is None:
        for kind in cluster.to_dict()["device_types"]:
            _warn_of_fp32(_untimed(graph), kind)
    return timed


def as_planned(graph: Graph, cluster: Cluster) -> Graph:
    """What opweave.plan made of a captured graph without durations, without a word about it."""
    return _timed(graph, cluster, lambda kind: _Roofline(kind, _efficiencies_of(kind), None), True, _ORIGIN)


_ORIGIN = "analytic, from flops and bytes"


def _timed(
    graph: Graph,
    cluster: Cluster,
    roofline_of: Callable[[Mapping[str, Any]], _Roofline],
    fused: bool,
    times_from: str,
) -> Graph:
    types = cluster.to_dict().get("device_types", [])
    if not types:
        raise InputError(f"cluster {cluster.name!r}: it has no device types with rates")
    durations: dict[str, dict[str, int]] = {}
    for kind in types:
        roofline = roofline_of(kind)
        kernels = _kernel_times(graph, roofline) if fused else {}
        for op in _untimed(graph):
            duration = math.ceil(_operator_ns(graph, op, roofline, kernels))
            durations.setdefault(op["name"], {})[kind["name"]] = duration
    before = f"{graph.times_from}, the rest " if len(durations) < len(graph.operators) and graph.times_from else ""
    return graph.with_durations(durations, before + times_from)


def _untimed(graph: Graph) -> list[dict[str, Any]]:
    return [op for op in graph.operators if "duration_ns" not in op and "modes" not in op]


def _efficiencies_of(kind: Mapping[str, Any]) -> Efficiencies:
    return NODES[kind["name"]].efficiencies if kind["name"] in NODES else HOPPER


# Of the dtypes that fp32 may be replaced by.
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}


class _Roofline:
    """Times on one device type, in nanoseconds."""

    def __init__(self, kind: Mapping[str, Any], efficiencies: Efficiencies, dtype: str | None) -> None:
        self._kind = kind
        self._efficiencies = efficiencies
        self._dtype = dtype
        if not kind.get("memory_bandwidth_bytes_per_s"):
            raise InputError(f'device type "{kind["name"]}": key "memory_bandwidth_bytes_per_s" is missing')

    def time_ns(self, flops: float, size: float, dtype: str) -> float:
        """Of any work: the longer of computing and moving."""
        computing = flops / (self._peak(dtype) * self._efficiencies.matrix.at(flops)) if flops else 0.0
        return self._efficiencies.overhead_ns + max(self.moving_ns(size, dtype), computing * 1e9)

    def moving_ns(self, size: float, dtype: str) -> float:
        """Of reading and writing."""
        scaled = size * self._narrowing(dtype)
        return self._bytes_ns(scaled, self._efficiencies.memory.at(max(scaled, 1.0)))

    def attention_ns(self, call: Call, tokens: int, causal: bool, backward: bool) -> float:
        """Of one kernel of attention."""
        own = self._efficiencies
        share = (own.attention_backward if backward else own.attention_forward).at(tokens)
        computing = call.flops / (2 if causal else 1) / (self._peak(call.dtype) * share) * 1e9
        return own.overhead_ns + max(self.moving_ns(call.bytes, call.dtype), computing)

    def optimizer_ns(self, size: float) -> float:
        """Of a step of the optimizer, which is in fp32 whatever the rest is."""
        return self._efficiencies.overhead_ns + self._bytes_ns(size, self._efficiencies.optimizer)

    def _bytes_ns(self, size: float, share: float) -> float:
        return float(size / (self._kind["memory_bandwidth_bytes_per_s"] * share) * 1e9)

    def _peak(self, dtype: str) -> float:
        name = self._dtype if self._dtype and dtype == "fp32" else dtype
        peak = self._kind.get("peak_flops_per_s", {}).get(name)
        if not peak:
            raise InputError(f'device type "{self._kind["name"]}": no peak rate of dtype "{name}"')
        return float(peak)

    def _narrowing(self, dtype: str) -> float:
        return _BYTES[self._dtype] / 4 if self._dtype and dtype == "fp32" else 1.0


def _operator_ns(
    graph: Graph, op: Mapping[str, Any], roofline: _Roofline, kernels: Mapping[tuple[str, int], float]
) -> float:
    calls = calls_of(graph, op["name"])
    if calls:
        return sum(
            kernels[op["name"], index] if (op["name"], index) in kernels else _call_ns(call, roofline)
            for index, call in enumerate(calls)
        )
    if "flops" not in op and "bytes_accessed" not in op:
        raise InputError(f'operator "{op["name"]}" has neither flops nor bytes_accessed')
    if op.get("phase") == "O" and op.get("bytes_accessed"):
        return roofline.optimizer_ns(op["bytes_accessed"])
    return roofline.time_ns(op.get("flops", 0.0), op.get("bytes_accessed", 0.0), op.get("dtype", "bf16"))


def _call_ns(call: Call, roofline: _Roofline) -> float:
    attention = fused_attention(call)
    if attention is not None:
        return roofline.attention_ns(call, *attention)
    return roofline.time_ns(call.flops, call.bytes, call.dtype)


def _kernel_times(graph: Graph, roofline: _Roofline) -> dict[tuple[str, int], float]:
    """The share of every call that runs in a kernel with others, by operator and number."""
    kernels: list[Kernel] = getattr(graph, "kernels", [])
    times = {}
    for kernel in kernels:
        dtypes = {calls_of(graph, part.operator)[part.index].dtype for part in kernel.parts}
        narrow = next(iter(dtypes)) if len(dtypes) == 1 else ""
        times[kernel] = roofline.time_ns(0.0, kernel.bytes, narrow)
    return shares(kernels, times)


def _warn_of_fp32(operators: Sequence[Mapping[str, Any]], kind: Mapping[str, Any]) -> None:
    """fp32 is what PyTorch takes unless told otherwise, and most devices are many times faster in shorter formats."""
    rates = kind.get("peak_flops_per_s", {})
    fast = rates.get("bf16", 0.0)
    counts = {True: 0.0, False: 0.0}
    for op in operators:
        counts[op.get("dtype", "bf16") == "fp32" and op.get("phase") != "O"] += op.get("flops", 0.0)
    if counts[True] > counts[False] and fast > rates.get("fp32", fast):
        log.warning(
            "%.0f%% of the operations are in fp32, in which %s has %.3g of its %.4g TFLOP/s in bf16 "
            '(dtype="bf16" of opweave.capture changes times and memory, of costs.analytic times alone)',
            100 * counts[True] / (counts[True] + counts[False]),
            kind["name"],
            rates["fp32"] / 1e12,
            fast / 1e12,
        )
