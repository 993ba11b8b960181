"""Clusters of named nodes."""

from __future__ import annotations

from typing import Any

from opweave.arguments import expect
from opweave.errors import InputError
from opweave.hardware.devices import NODES, NodeModel


def node_named(name: str) -> NodeModel:
    """The kind of node of this name, in any spelling ("H100", "h-100"). Raises InputError."""
    expect(name, str, "cluster preset", f"one of {', '.join(NODES)}")
    if _key(name) not in NODES:
        raise InputError(f'cluster preset: value is "{name}", expected one of {", ".join(NODES)}')
    return NODES[_key(name)]


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def cluster_content(
    name: str, nodes: int, devices_per_node: int | None, memory_bytes: int, message_bytes: int, contention: str
) -> dict[str, Any]:
    """The cluster file of *nodes* nodes of a kind; Cluster.preset describes the arguments."""
    key, node = _key(name), node_named(name)
    count = node.devices if devices_per_node is None else devices_per_node
    if nodes < 1 or not 1 <= count <= node.devices:
        raise InputError(
            f"cluster preset: {nodes} nodes of {count} devices, expected nodes from 1 and 1 to {node.devices} devices"
        )
    names = [[f"node{n}.gpu{d}" for d in range(count)] for n in range(nodes)]
    devices = [
        {
            "name": device,
            "type": key,
            "memory_bytes": memory_bytes,
            "streams": ["compute", "comm"],
        }
        for group in names
        for device in group
    ]
    intra, adapter = node.intra_link(), node.adapter_link(nodes)
    intra_bandwidth = intra.effective_bandwidth(message_bytes)
    adapter_bandwidth = adapter.effective_bandwidth(message_bytes)
    switches: list[str] = []
    links: list[dict[str, Any]] = []

    def link(a: str, b: str, latency_ns: int, bandwidth: int) -> None:
        links.append({"name": f"{a}-{b}", "a": a, "b": b, "latency_ns": latency_ns, "bandwidth_bytes_per_s": bandwidth})

    for n, group in enumerate(names):
        if node.mesh:
            for d, device in enumerate(group):
                for other in group[d + 1 :]:
                    link(device, other, intra.latency_ns, intra_bandwidth)
        elif count > 1:
            switches.append(f"node{n}.switch")
            for device in group:
                link(device, f"node{n}.switch", intra.latency_ns // 2, intra_bandwidth)
        if nodes > 1:
            for device in group:
                link(device, "fabric", adapter.latency_ns // 2, adapter_bandwidth)
    if nodes > 1:
        switches.append("fabric")
    return {
        "name": f"{nodes} x ({count} of {node.title})" if count < node.devices else f"{nodes} x ({node.title})",
        "contention": contention,
        "device_types": [
            {
                "name": key,
                "peak_flops_per_s": {dtype: rate.value for dtype, rate in node.peak_flops_per_s.items()},
                "memory_bandwidth_bytes_per_s": node.memory_bandwidth_bytes_per_s.value,
            }
        ],
        "devices": devices,
        "switches": switches,
        "links": links,
    }
