"""Named devices and nodes, every number with its source.

"unchecked" marks numbers that are in circulation but that we did not find in a source that we trust. Correct them in a
cluster file (Cluster.preset(...).save).
"""

from __future__ import annotations

from dataclasses import dataclass

from opweave.hardware.curves import Curve
from opweave.hardware.efficiencies import Efficiencies, efficiencies_of
from opweave.hardware.links import LinkModel

_SIMAI = "SimAI (Wang et al. 2025), tables of bandwidth by message size"
_DATASHEET = "vendor's data sheet, unchecked"

NVLINK_EFFICIENCY = Curve(((16e6, 0.45), (64e6, 0.65), (256e6, 0.73), (1e9, 0.77)), _SIMAI)
NIC_EFFICIENCY = Curve(((16e6, 0.32), (64e6, 0.50), (256e6, 0.85), (1e9, 0.92)), _SIMAI + ", 2 nodes")
NIC_EFFICIENCY_16_NODES = Curve(((16e6, 0.05), (64e6, 0.21), (256e6, 0.57), (1e9, 0.76)), _SIMAI + ", 16 nodes")


@dataclass(frozen=True)
class Number:
    """A figure and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class NodeModel:
    """Equal devices in one chassis, each with a network adapter."""

    title: str
    devices: int
    peak_flops_per_s: dict[str, Number]
    """Dense, by dtype."""
    memory_bytes: Number
    memory_bandwidth_bytes_per_s: Number
    intra: Number
    """Bytes per second that a device sends within the node; over all pairs together where it is a mesh."""
    mesh: bool
    """Every pair of devices has a link of its own; else they share a switch."""
    adapter: Number
    """Bytes per second of the adapter of one device."""
    latency_ns: Number
    adapter_latency_ns: Number
    efficiencies: Efficiencies
    """In training; the core holds them by the name of the device (src/cost/efficiencies.cpp)."""

    def intra_link(self) -> LinkModel:
        """Between two devices of a node."""
        share = self.devices - 1 if self.mesh else 1
        return LinkModel(int(self.latency_ns.value), self.intra.value / share, NVLINK_EFFICIENCY)

    def adapter_link(self, nodes: int = 2) -> LinkModel:
        """Between two devices of different nodes."""
        curve = NIC_EFFICIENCY if nodes < 16 else NIC_EFFICIENCY_16_NODES
        return LinkModel(int(self.adapter_latency_ns.value), self.adapter.value, curve)

    def sources(self) -> dict[str, str]:
        """Where each number comes from."""
        rates = {f"peak_flops_per_s.{dtype}": rate.source for dtype, rate in self.peak_flops_per_s.items()}
        names = ("memory_bytes", "memory_bandwidth_bytes_per_s", "intra", "adapter", "latency_ns", "adapter_latency_ns")
        shares = {
            f"efficiencies.{name}": getattr(self.efficiencies, name).source
            for name in ("matrix", "memory", "attention_forward", "attention_backward")
        }
        return rates | {name: getattr(self, name).source for name in names} | shares


def _rates(source: str, bf16: float, fp32: float, fp8: float | None = None) -> dict[str, Number]:
    """From TFLOP/s; fp16 has the rate of bf16 on all of these."""
    rates = {"bf16": Number(bf16 * 1e12, source), "fp16": Number(bf16 * 1e12, f"as bf16: {source}")}
    rates["fp32"] = Number(fp32 * 1e12, _DATASHEET)
    if fp8 is not None:
        rates["fp8"] = Number(fp8 * 1e12, _DATASHEET)
    return rates


_NVLINK_LATENCY = Number(1000, "calculon")
_NIC_LATENCY = Number(2000, "calculon")
_NIC_200G = Number(25e9, "line rate of 200 Gbit/s")
_NIC_400G = Number(50e9, "line rate of 400 Gbit/s")
_LLM_ANALYSIS = "llm-analysis (Li 2023)"
_AUTOPARALLEL = "autoparallel (PyTorch)"

NODES: dict[str, NodeModel] = {
    "a100": NodeModel(
        "8 x NVIDIA A100 SXM 80 GB",
        8,
        _rates(_LLM_ANALYSIS, 312, 19.5),
        Number(80e9, _LLM_ANALYSIS),
        Number(2039e9, _LLM_ANALYSIS),
        Number(300e9, _LLM_ANALYSIS),
        False,
        _NIC_200G,
        _NVLINK_LATENCY,
        _NIC_LATENCY,
        efficiencies_of("a100"),
    ),
    "h100": NodeModel(
        "8 x NVIDIA H100 SXM 80 GB",
        8,
        _rates(_LLM_ANALYSIS, 989, 67, 1979),
        Number(80e9, _LLM_ANALYSIS),
        Number(3350e9, _LLM_ANALYSIS),
        Number(450e9, _LLM_ANALYSIS),
        False,
        _NIC_400G,
        _NVLINK_LATENCY,
        _NIC_LATENCY,
        efficiencies_of("h100"),
    ),
    "h800": NodeModel(
        "8 x NVIDIA H800 SXM 80 GB",
        8,
        _rates("as H100, unchecked", 989, 67, 1979),
        Number(80e9, "as H100"),
        Number(3350e9, "as H100"),
        # The source gives what is usable, 165 GB/s; 200 GB/s is the peak of 8 NVLink ports.
        Number(200e9, "data sheet, unchecked; SimAI has 165e9 usable"),
        False,
        _NIC_400G,
        _NVLINK_LATENCY,
        _NIC_LATENCY,
        efficiencies_of("h800"),
    ),
    "h200": NodeModel(
        "8 x NVIDIA H200 SXM 141 GB",
        8,
        _rates("NVIDIA H200 data sheet", 989, 67, 1979),
        Number(141e9, "NVIDIA H200 data sheet"),
        Number(4800e9, _DATASHEET),
        Number(450e9, "as H100"),
        False,
        _NIC_400G,
        _NVLINK_LATENCY,
        _NIC_LATENCY,
        efficiencies_of("h200"),
    ),
    "b200": NodeModel(
        "8 x NVIDIA B200 180 GB",
        8,
        _rates(_AUTOPARALLEL, 2250, 75, 4500),
        Number(180e9, _AUTOPARALLEL),
        Number(7700e9, _AUTOPARALLEL),
        Number(900e9, "data sheet, unchecked; autoparallel has 640e9 usable"),
        False,
        _NIC_400G,
        _NVLINK_LATENCY,
        _NIC_LATENCY,
        efficiencies_of("b200"),
    ),
    "mi300x": NodeModel(
        "8 x AMD MI300X 192 GB",
        8,
        _rates(_AUTOPARALLEL, 1307, 163.4, 2615),
        Number(192e9, _AUTOPARALLEL),
        Number(5300e9, _AUTOPARALLEL),
        Number(448e9, "data sheet (7 links of 64e9), unchecked"),
        True,
        _NIC_400G,
        Number(1000, "as NVLink, unchecked"),
        _NIC_LATENCY,
        efficiencies_of("mi300x"),
    ),
    "ascend910b": NodeModel(
        "8 x Huawei Ascend 910B 64 GB",
        8,
        _rates("280 to 320 in circulation, unchecked", 300, 75),
        Number(64e9, "unchecked"),
        Number(1600e9, "unchecked"),
        Number(392e9, "over 7 links, unchecked"),
        True,
        _NIC_200G,
        Number(1000, "as NVLink, unchecked"),
        _NIC_LATENCY,
        efficiencies_of("ascend910b"),
    ),
}
