"""Clusters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from opweave import _core
from opweave.amounts import Amount, to_bytes
from opweave.document import Document, read_text


class Cluster(Document):
    """Devices and the links between them. Immutable and checked."""

    def __init__(self, core: _core.Cluster) -> None:
        """Users call from_json, from_file, from_dict, uniform or preset."""
        self._core = core

    @classmethod
    def from_json(cls, text: str, source: str = "cluster") -> Cluster:
        """Read a cluster; *source* names the text in errors. Raises InputError."""
        return cls(_core.parse_cluster(text, source))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Cluster:
        """Read a cluster file. Raises InputError naming file, place and value."""
        return cls.from_json(read_text(path), os.fspath(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "cluster") -> Cluster:
        """Read a cluster from a dictionary with the keys of the file; "format" and "version" may be left out."""
        return cls.from_json(json.dumps({"format": "opweave.cluster", "version": 1, **content}), source)

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
        from opweave.costs.nodes import cluster_content

        capacity = None if memory is None else to_bytes(memory, "memory")
        content = cluster_content(name, nodes, devices_per_node, capacity, to_bytes(message, "message"), contention)
        return cls.from_dict(content, f"preset {name}")

    def to_json(self) -> str:
        """The cluster file, in canonical form."""
        return self._core.to_json()

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self._core.name

    @property
    def content_hash(self) -> str:
        """16 hexadecimal digits: equal content, equal hash."""
        return self._core.content_hash()

    @property
    def devices(self) -> list[str]:
        """Names of the devices, in the order of the file."""
        return [device["name"] for device in self._content["devices"]]

    def transfer_time_ns(self, size: Amount, source: str, destination: str) -> int | None:
        """Time for *size* bytes from one device to another: latency + bytes / bandwidth of the route, rounded up.

        0 on the same device, None where nothing joins the two. Raises InputError for an unknown device.
        """
        return self._core.transfer_time_ns(to_bytes(size, "size"), source, destination)

    def __repr__(self) -> str:
        return f"<opweave.Cluster {self.name!r}: {len(self.devices)} devices>"
