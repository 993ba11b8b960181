"""Graphs, clusters and plans as notebooks show them."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from opweave import _core
from opweave.gantt import rows, runs
from opweave.table import as_html, titled

if TYPE_CHECKING:
    from opweave.cluster import Cluster
    from opweave.graph import Graph
    from opweave.plans import Plan

_COLOURS = {"F": "#1f77b4", "I": "#17becf", "W": "#2ca02c", "B": "#ff7f0e", "O": "#9467bd", "=": "#7f7f7f"}


def graph_html(graph: Graph) -> str:
    """Key figures, and operators by phase."""
    phases = Counter(op.get("phase") or "none" for op in graph.operators)
    flops = {phase: 0.0 for phase in phases}
    for op in graph.operators:
        flops[op.get("phase") or "none"] += op.get("flops", 0.0)
    weights = sum(graph.parameters.values())
    title = (
        f"{len(graph.operators)} operators, {len(graph.tensors)} tensors, {len(graph.parameters)} parameters "
        f"of {_core.human_bytes(weights)}, {graph.training['microbatches']} microbatches"
    )
    if graph.times_from:
        title += f"; times: {graph.times_from}"
    table = [(phase, str(count), f"{flops[phase] / 1e12:.4g}") for phase, count in phases.items()]
    return titled(graph.name, title) + as_html(("phase", "operators", "Tflop"), table)


def cluster_html(cluster: Cluster) -> str:
    """Kinds of devices with their rates and memory."""
    content = cluster.to_dict()
    kinds = Counter((device.get("type", ""), device.get("memory_bytes")) for device in content["devices"])
    rates = {kind["name"]: kind for kind in content.get("device_types", ())}
    table = []
    for (name, memory), count in kinds.items():
        peaks = rates.get(name, {}).get("peak_flops_per_s", {})
        fastest = ", ".join(f"{dtype} {rate / 1e12:.4g}" for dtype, rate in peaks.items())
        bandwidth = rates.get(name, {}).get("memory_bandwidth_bytes_per_s")
        table.append(
            (
                name or "-",
                str(count),
                "no limit" if memory is None else _core.human_bytes(memory),
                fastest or "-",
                f"{bandwidth / 1e12:.3g}" if bandwidth else "-",
            )
        )
    title = f"{len(cluster.devices)} devices, {len(content.get('links', ()))} links"
    headings = ("type", "devices", "memory", "TFLOP/s", "TB/s")
    return titled(cluster.name, title) + as_html(headings, table)


def plan_html(plan: Plan, width: int = 120) -> str:
    """The chart, key figures, and the memory of each device."""
    figures = [plan.summary()]
    if plan.flops_per_s:
        figures.append(f"{plan.flops_per_s / 1e12:.4g} TFLOP/s")
    if plan.mfu is not None:
        figures.append(f"MFU {100 * plan.mfu:.1f}%")
    if plan.graph.times_from:
        figures.append(f"times: {plan.graph.times_from}")
    headings = ("device", "layers", "busy", "peak memory", "limit", "")
    title = titled(f"{plan.graph.name} on {plan.cluster.name}", "; ".join(figures))
    return title + _chart(plan, width) + as_html(headings, _devices(plan))


def _devices(plan: Plan) -> list[tuple[str, ...]]:
    order = list(dict.fromkeys(op["layer"] for op in plan.graph.operators if op.get("layer")))
    limits = {device["name"]: device.get("memory_bytes") for device in plan.cluster.to_dict()["devices"]}
    held = plan.layers
    table: list[tuple[str, ...]] = []
    for name, figures in zip(plan.cluster.devices, plan.statistics["devices"], strict=True):
        peak, limit = figures["peak_memory_bytes"], limits[name]
        busy = figures["compute_busy_ns"] / plan.makespan_ns if plan.makespan_ns else 0.0
        table.append(
            (
                name,
                runs(held[name], order) or "-",
                f"{100 * busy:.1f}%",
                _core.human_bytes(peak),
                "none" if limit is None else _core.human_bytes(limit),
                _bar(peak / limit) if limit else "",
            )
        )
    return table


def _chart(plan: Plan, width: int) -> str:
    lines = []
    chart = rows(plan, width)
    label_width = max((len(f"{device} {stream}") for device, stream, _ in chart), default=0)
    for device, stream, letters in chart:
        cells = "".join(
            f'<span style="color:{_COLOURS[letter]}">{letter}</span>' if letter in _COLOURS else letter
            for letter in letters
        )
        lines.append(f"{escape(_core.readable(f'{device} {stream}')):>{label_width}} {cells}")
    return "<pre style='line-height:1.1'>" + "\n".join(lines) + "</pre>"


def _bar(share: float) -> str:
    """Ten squares, filled as far as the share goes."""
    filled = min(10, max(0, round(10 * share)))
    return "\u25a0" * filled + "\u25a1" * (10 - filled)
