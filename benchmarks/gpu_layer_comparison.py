"""Measurements of benchmarks/gpu_layer beside the durations of opweave.costs.analytic."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Any

import gpu_layer_models as models
import opweave
import torch
from opweave.costs import ALONE, analytic
from torch import Tensor, nn
from torch.nn import functional

Row = tuple[str, float, float]
"""What, measured and predicted microseconds."""


def show(lines: list[dict[str, Any]], device: str) -> None:
    """Prints predicted over measured times, by default and as a device alone reaches them."""
    lines = [line for line in lines if "error" not in line]
    where = lines[0]
    print(f"{where['device']}, torch {where['torch']}, {where['date']}; predicted / measured of {device}")
    print(f"{'':44}{'measured':>12}{'default':>9}{'alone':>9}")
    default, alone = (list(rows(lines, device, how)) for how in (None, ALONE))
    shown: dict[str, list[tuple[float, float]]] = {}
    for (name, measured, first), (_, _, second) in zip(default, alone, strict=True):
        section = name.split(":")[0]
        shown.setdefault(section, []).append((first / measured, second / measured))
        if section in ("layer", "sustained", "optimizer"):
            print(f"{name:44}{measured / 1e3:9.2f} ms{first / measured:9.2f}{second / measured:9.2f}")
    for section, ratios in shown.items():
        for column, title in enumerate(("default", "alone")):
            values = sorted(ratio[column] for ratio in ratios)
            print(
                f"{section}, {title}: {len(values)} times, predicted / measured "
                f"median {statistics.median(values):.2f}, from {values[0]:.2f} to {values[-1]:.2f}"
            )


def rows(lines: Iterable[dict[str, Any]], device: str, efficiencies: Any) -> Iterator[Row]:
    """Of everything that has a prediction."""
    cluster = opweave.Cluster.preset(device, devices_per_node=1)

    def total(graph: opweave.Graph, fused: bool, phases: str) -> float:
        timed = analytic(graph, cluster, fused=fused, efficiencies=efficiencies)
        durations = (op["duration_ns"][device] for op in timed.operators if op.get("phase", "") in phases)
        return sum(durations) / 1e3

    def alone(**operator: Any) -> float:
        graph = opweave.Graph.from_dict({"operators": [{"name": "one", "phase": "F", **operator}]})
        return total(graph, True, "FO")

    layers = {name: layer(sizes) for name, sizes in (("llama", models.LLAMA), ("mixtral", models.MIXTRAL))}
    for line in lines:
        section = line["section"]
        if section == "matmul":
            m, k, n = line["m"], line["k"], line["n"]
            predicted = alone(flops=line["flops"], bytes_accessed=2 * (m * k + k * n + m * n))
            yield f"matmul: {m} x {k} x {n}", line["us"], predicted
        elif section == "elementwise":
            yield f"elementwise: {line['bytes']} bytes", line["us"], alone(bytes_accessed=line["bytes"])
        elif section == "attention":
            graph = attention(line["batch"], line["tokens"])
            name = f"attention: {line['batch']} x {line['tokens']} tokens"
            yield name, line["us"], total(graph, True, "F")
            yield f"{name}, backward", line["backward_us"], total(graph, True, "IWB")
        elif section == "layer" and line["how"] in ("eager", "compiled"):
            fused = line["how"] == "compiled"
            name = f"layer: {line['name']}, {line['how']}, short run"
            yield f"{name}, F", line["F_us"], total(layers[line["name"]], fused, "F")
            yield f"{name}, I and W", line["IW_us"], total(layers[line["name"]], fused, "IWB")
        elif section == "sustained" and line["name"] in layers:
            fused = line["how"] == "compiled"
            predicted = total(layers[line["name"]], fused, "FIWB")
            yield f"sustained: {line['name']}, {line['how']}", steady(line), predicted
        elif section == "sustained" and line["name"] == "products":
            predicted = alone(flops=line["flops"], bytes_accessed=3 * 2 * 8192**2)
            yield "sustained: 8192 x 8192 x 8192", steady(line), predicted
        elif section == "sustained":
            phases = "IWB" if "backward" in line["name"] else "F"
            yield f"sustained: {line['name']}", steady(line), total(attention(1, 8192), True, phases)
        elif section == "optimizer" and (line["how"], line["dtype"]) == ("fused", "float32"):
            moved = 28 * line["elements"]  # reads weights, gradients and two moments, writes all but the gradients
            yield "optimizer: AdamW", line["us"], alone(phase="O", bytes_accessed=moved, parameters=[])


def steady(line: dict[str, Any]) -> float:
    """The median of the seconds after the first, in which the clock comes down."""
    return statistics.median(line["us"][1:])


def layer(sizes: models.Sizes) -> opweave.Graph:
    """The captured step of a layer whose input needs a gradient."""
    inputs = (torch.empty(1, sizes.tokens, sizes.width, device="meta", requires_grad=True),)
    tokens = 2 * sizes.tokens
    return opweave.capture(
        lambda: models.Layer(sizes), inputs, granularity="block", optimizer=None, assumed_size=tokens, dtype="bf16"
    )


class _Attention(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


def attention(batch: int, tokens: int) -> opweave.Graph:
    """As it is measured: 32 heads of 128, of which four share their keys and values."""
    query, key, value = (
        torch.empty(batch, heads, tokens, 128, device="meta", requires_grad=True) for heads in (32, 8, 8)
    )
    return opweave.capture(_Attention(), (query, key, value), optimizer=None, dtype="bf16")
