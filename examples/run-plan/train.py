#!/usr/bin/env python3
"""Measures a model with two encoders, plans a training step for two processes, runs it, and compares.

PYTHONPATH=build/default/python .venv/bin/python examples/run-plan/train.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import opweave
import torch
from opweave.run import Executor, compile_plan, gather_timings, launch, measured_graph, trace
from torch import Tensor, nn

PROCESSES, MICROBATCHES, ROWS, WIDTH, WORDS = 2, 8, 64, 256, 1000
OUT = Path("out/run-plan")

# Where the arguments of every segment come from. A plan can place each of them on any process.
WIRING = {
    "image0": ["pixels"],
    "image1": ["image0"],
    "text": ["words"],
    "fusion": ["image1", "text"],
    "head": ["fusion", "text"],
}


class Layers(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(count))

    def forward(self, *inputs: Tensor) -> Tensor:
        x = sum(inputs[1:], inputs[0])
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def modules() -> dict[str, nn.Module]:
    torch.manual_seed(0)  # the same parameters in every process
    return {
        "image0": Layers(6),
        "image1": Layers(8),
        "text": nn.Sequential(nn.Embedding(WORDS, WIDTH), Layers(6)),
        "fusion": Layers(10),
        "head": Layers(4),
    }


def batch(microbatches: int) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(1)
    rows = ROWS * microbatches
    return {"pixels": torch.randn(rows, WIDTH), "words": torch.randint(WORDS, (rows,))}, torch.randn(rows, WIDTH)


def one_process() -> dict[str, nn.Module]:
    """The same step without a plan: modules with their gradients."""
    segments = modules()
    inputs, target = batch(MICROBATCHES)
    text = segments["text"](inputs["words"])
    image = segments["image1"](segments["image0"](inputs["pixels"]))
    nn.functional.mse_loss(segments["head"](segments["fusion"](image, text), text), target).backward()
    return segments


def train(rank: int, graph: str, plan: str) -> tuple[list[Any], float]:
    """Runs in every process: timings of all, and the largest difference of a gradient on this one."""
    program = compile_plan(plan, graph)
    segments = modules()
    executor = Executor(program, segments)
    inputs, target = batch(MICROBATCHES)
    executor.step(inputs, target, nn.functional.mse_loss)  # warms up
    for module in segments.values():
        module.zero_grad()
    timings = gather_timings(executor.step(inputs, target, nn.functional.mse_loss))
    reference = one_process()
    difference = max(
        (mine.grad - right.grad).abs().max().item()
        for name in program.segments_on(rank)
        for mine, right in zip(segments[name].parameters(), reference[name].parameters(), strict=True)
    )
    return timings, difference


def main() -> None:
    torch.set_num_threads(1)
    inputs, target = batch(1)
    graph = measured_graph(
        modules(), WIRING, inputs, target, nn.functional.mse_loss, microbatches=MICROBATCHES, name="two encoders"
    )
    cluster = opweave.Cluster.uniform(PROCESSES, streams=["compute"], latency_ns=100_000)  # a hop on one machine
    plan = opweave.plan(graph, cluster, time_limit=2, progress=False)
    plan.show(100)

    results = launch(train, PROCESSES, (graph.to_json(), plan.to_json()), timeout_s=120)
    timings = results[0][0]
    step_ns = max(t.end_ns for t in timings) - min(t.start_ns for t in timings)
    print(f"measured step {step_ns / 1e6:.1f} ms, predicted {plan.makespan_ns / 1e6:.1f} ms")
    difference = max(difference for _, difference in results)
    print(f"largest difference of a gradient from one process: {difference:.1e}")
    assert difference < 1e-5
    OUT.mkdir(parents=True, exist_ok=True)
    trace(compile_plan(plan), timings, OUT / "trace.json")
    print(f"prediction beside measurement: {OUT}/trace.json (ui.perfetto.dev)")


if __name__ == "__main__":
    main()
