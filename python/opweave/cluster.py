"""Clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opweave import _core
from opweave.amounts import Amount, to_bytes, to_memory
from opweave.arguments import expect_count
from opweave.document import Input


class Cluster(Input[_core.Cluster]):
    """Devices and the links between them: from_json, from_file, from_dict, uniform or preset. Immutable and checked."""

    _kind = "cluster"

    @staticmethod
    def _parse(text: str, source: str) -> _core.Cluster:
        return _core.parse_cluster(text, source)

    @classmethod
    def uniform(
        cls,
        devices: int,
        *,
        memory: Amount | None = None,
        streams: Sequence[str] = ("compute", "comm"),
        latency_ns: int = 0,
        bandwidth_bytes_per_s: int | None = None,
        contention: str = "none",
    ) -> Cluster:
        """Equal devices "gpu0", "gpu1", ..., every ordered pair joined by a link of its own.

        Their type has no rates, so every operator of a graph for them needs a duration. *memory* is bytes or a text
        such as "80GiB"; None means unlimited, as does a bandwidth of None.
        """
        expect_count(devices, "devices")
        device: dict[str, Any] = {"streams": list(streams)}
        if memory is not None:
            device["memory_bytes"] = to_bytes(memory, "memory")
        link: dict[str, Any] = {"latency_ns": latency_ns}
        if bandwidth_bytes_per_s is not None:
            link["bandwidth_bytes_per_s"] = bandwidth_bytes_per_s
        return cls.from_dict(
            {
                "name": f"{devices} equal devices",
                "contention": contention,
                "devices": [{"name": f"gpu{index}", **device} for index in range(devices)],
                "default_link": link,
            }
        )

    @classmethod
    def preset(
        cls,
        name: str,
        *,
        nodes: int = 1,
        devices_per_node: int | None = None,
        memory: Amount | None = None,
        message: Amount = "64MB",
        contention: str = "none",
    ) -> Cluster:
        """Nodes of a named kind: "a100", "h100", "h800", "h200", "b200", "mi300x", "ascend910b".

        Devices are "node0.gpu0", ...; those of a node are joined by a switch or pairwise, those of different nodes by
        one adapter each. opweave.costs.NODES has the numbers and their sources.

        Args:
            name: Kind of the nodes.
            nodes: Number of nodes.
            devices_per_node: Fewer than the node has; None takes all.
            memory: Of a device; None takes all of it. What the framework needs for itself should not be planned.
            message: Links get the bandwidth that messages of this size reach.
            contention: "none", "endpoint" or "link".

        Raises InputError.
        """
        from opweave.hardware.nodes import cluster_content, node_named

        node = node_named(name)
        expect_count(nodes, "nodes")
        if devices_per_node is not None:
            expect_count(devices_per_node, "devices_per_node")
        whole = int(node.memory_bytes.value)
        capacity = whole if memory is None else to_memory(memory, "memory", whole)
        content = cluster_content(name, nodes, devices_per_node, capacity, to_bytes(message, "message"), contention)
        return cls.from_dict(content, f"preset {name}")

    @property
    def devices(self) -> list[str]:
        """Names of the devices, in the order of the file."""
        return [device["name"] for device in self._content["devices"]]

    def transfer_time_ns(self, size: Amount, source: str, destination: str) -> int | None:
        """Time for *size* bytes from one device to another: latency + bytes / bandwidth of the route, rounded up.

        0 on the same device, None where nothing joins the two. Raises InputError for an unknown device.
        """
        return self._core.transfer_time_ns(to_bytes(size, "size"), source, destination)

    def _repr_html_(self) -> str:
        from opweave.notebook import cluster_html

        return cluster_html(self)

    def __repr__(self) -> str:
        return f"<opweave.Cluster {self.name!r}: {len(self.devices)} devices>"
