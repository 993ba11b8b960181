#!/usr/bin/env python3
"""Predicted against measured step times: plans are executed on gloo processes and compared with their simulation.

For each model one plan is run to measure the operators, and a pair of processes to measure a hop. With these numbers
`opweave.simulate` predicts every plan, and every plan is run. The stages of "chain" and "two towers" sleep for stated
times, so that four processes need no four cores; those of "compute" multiply matrices, on two processes. On a machine
that does other work, real-time priority (`chrt -r 1`) keeps that out of the measurement.

    PYTHONPATH=build/default/python python benchmarks/execution.py [--steps 5] [--models chain,compute]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import opweave
import torch
import torch.distributed as dist
from opweave.run import Executor, compile_plan, gather_timings, launch, measured_durations, trace
from torch import Tensor, nn

MICROBATCHES = 8
MS = 1_000_000  # nanoseconds


class Sleep(torch.autograd.Function):
    """Identity whose backward takes a stated time."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, seconds: float) -> Tensor:
        ctx.seconds = seconds
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        time.sleep(ctx.seconds)
        return gradients[0], None


class SleepingStage(nn.Module):
    """F, I and W take stated times: I is the way to the input, W the way to the parameter."""

    def __init__(self, forward_s: float, input_s: float, weight_s: float) -> None:
        super().__init__()
        self.times = (forward_s, input_s, weight_s)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, *inputs: Tensor) -> Tensor:
        time.sleep(self.times[0])
        total = sum(inputs[1:], inputs[0])
        return Sleep.apply(total, self.times[1]) * Sleep.apply(self.weight, self.times[2])


class ComputingStage(nn.Module):
    """Matrix products."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


class Model:
    """Segments with the segments they take their input from, a planned time for each, and a batch."""

    def __init__(self, name: str, devices: int, sources: dict[str, list[str]], forward_ms: list[float]) -> None:
        self.name = name
        self.devices = devices
        self.sources = sources
        self.forward_ms = dict(zip(sources, forward_ms, strict=True))

    def graph(self, placement: dict[str, int] | None = None) -> opweave.Graph:
        """Operators <segment>.F, .I, .W with planned times; on given devices, or wherever the planner puts them."""
        operators = []
        consumers = {s: [c for c in self.sources if s in self.sources[c]] for s in self.sources}
        for phase, factor in (("F", 1.0), ("I", 1.2), ("W", 0.8)):
            for stage, segment in enumerate(self.sources):
                operator: dict[str, Any] = {
                    "name": f"{segment}.{phase}",
                    "phase": phase,
                    "parameters": [f"{segment}.w"],
                }
                operator["duration_ns"] = round(self.forward_ms[segment] * factor * MS)
                operator["stage"] = stage
                if phase == "F":
                    operator["inputs"] = self.sources[segment] or ["x"]
                    operator["outputs"] = [
                        t for t in (segment, f"{segment}.kept") if t != segment or consumers[segment]
                    ]
                elif phase == "I":
                    operator["inputs"] = [f"d{segment}.{c}" for c in consumers[segment]] + [f"{segment}.kept"]
                    operator["outputs"] = [f"d{s}.{segment}" for s in self.sources[segment]] + [f"{segment}.flow"]
                else:
                    operator["inputs"] = [f"{segment}.flow"]
                if placement:
                    operator["devices"] = [f"gpu{placement[segment]}"]
                operators.append(operator)
        tensors = list(dict.fromkeys(t for op in operators for t in op["inputs"] + op.get("outputs", [])))
        return opweave.Graph.from_dict(
            {
                "name": self.name,
                "training": {"microbatches": MICROBATCHES},
                "parameters": [{"name": f"{segment}.w", "bytes": 4} for segment in self.sources],
                "tensors": [{"name": tensor, "bytes": 0} for tensor in tensors],
                "operators": operators,
            }
        )

    def modules(self) -> dict[str, nn.Module]:
        torch.manual_seed(0)
        if self.name == "compute":
            return {segment: ComputingStage(WIDTH, round(ms)) for segment, ms in self.forward_ms.items()}
        return {s: SleepingStage(ms / 1e3, 1.2 * ms / 1e3, 0.8 * ms / 1e3) for s, ms in self.forward_ms.items()}

    def batch(self) -> Tensor:
        shape = (MICROBATCHES * ROWS, WIDTH) if self.name == "compute" else (MICROBATCHES, 4)
        return torch.ones(shape)


WIDTH, ROWS = 384, 256  # of the matrices of the compute model

MODELS = {
    "chain": Model("chain", 4, {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(8)}, [8, 12, 10, 14, 9, 11, 13, 10]),
    "two towers": Model(
        "two towers",
        4,
        {"image0": [], "image1": ["image0"], "text0": [], "fusion": ["image1", "text0"], "head": ["fusion", "text0"]},
        [14, 12, 18, 16, 10],
    ),
    "compute": Model("compute", 2, {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(4)}, [3, 5, 4, 4]),
}


def executable() -> str:
    found = os.environ.get("OPWEAVE_BIN") or shutil.which("opweave")
    return found or str(Path(__file__).resolve().parents[1] / "build/default/opweave")


def expert_plan(expert: str, graph: opweave.Graph, cluster: opweave.Cluster, devices: int) -> opweave.Plan:
    """A published schedule for a graph with stages."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("graph.json", "cluster.json", "schedule.csv", "plan.json")}
        graph.save(files["graph.json"])
        cluster.save(files["cluster.json"])
        convert = [executable(), "convert"]
        sizes = ["--devices", str(devices), "--microbatches", str(MICROBATCHES), "--costs", "10", "12", "8"]
        subprocess.run([*convert, "expert", expert, *sizes, "-o", files["schedule.csv"]], check=True)
        inputs = [files["schedule.csv"], files["graph.json"], files["cluster.json"]]
        subprocess.run([*convert, "csv", *inputs, "-o", files["plan.json"]], check=True)
        return opweave.Plan.from_file(files["plan.json"], graph, cluster)


def plans_of(model: Model, cluster: opweave.Cluster) -> dict[str, opweave.Plan]:
    """Different plans of one model: published schedules of a chain, our own, and irregular placements."""
    free = model.graph()
    plans = {}
    if model.name != "two towers":
        experts = ["GPipe", "1F1B", "ZB1P", "Interleaved-1F1B", "ZB-V", "V-Half", "V-Min"]
        for expert in experts:
            plans[expert] = expert_plan(expert, free, cluster, model.devices)
    plans["opweave"] = opweave.plan(free, cluster, work_limit=300, threads=1, progress=False)
    rng = random.Random(11)
    for number in (1, 2):
        names = list(model.sources)
        ranks = [i % model.devices for i in range(len(names))]
        rng.shuffle(ranks)
        irregular = model.graph(dict(zip(names, ranks, strict=True)))
        plans[f"opweave, placement {number}"] = opweave.plan(
            irregular, cluster, work_limit=100, threads=1, progress=False
        )
    return plans


def hop_ns(rank: int, rounds: int = 50) -> int:
    """Median time of a small message one way, between ranks 0 and 1."""
    value = torch.zeros(4)
    times = []
    for _ in range(rounds):
        began = time.monotonic_ns()
        if rank == 0:
            dist.send(value, 1)
            dist.recv(value, 1)
        else:
            dist.recv(value, 0)
            dist.send(value, 0)
        times.append((time.monotonic_ns() - began) // 2)
    return round(statistics.median(times))


def run_plan(rank: int, model_name: str, graph: str, plan: str, steps: int) -> list[Any]:
    """Timings of every step but the first, which warms up."""
    model = MODELS[model_name]
    executor = Executor(compile_plan(plan, graph), model.modules())
    batch = model.batch()
    measured = []
    for _ in range(steps + 1):
        result = executor.step(batch, batch, lambda output, target: output.mean())
        measured.append(gather_timings(result))
    return measured[1:] if rank == 0 else []


def execute(model: Model, plan: opweave.Plan, steps: int) -> list[Any]:
    arguments = (model.name, plan.graph.to_json(), plan.to_json(), steps)
    return launch(run_plan, model.devices, arguments, timeout_s=300, start_method="fork")[0]


def step_ms(timings: list[Any]) -> float:
    return (max(t.end_ns for t in timings) - min(t.start_ns for t in timings)) / MS


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's: the correlation of ranks, ties in the order given."""

    def ranks(values: list[float]) -> list[float]:
        order = sorted(range(len(values)), key=values.__getitem__)
        return [float(order.index(i)) for i in range(len(values))]

    return statistics.correlation(ranks(first), ranks(second))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="measured steps of each plan; the median counts [5]")
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated [all]")
    parser.add_argument("--traces", help="folder for a Perfetto trace of each plan, predicted beside measured")
    options = parser.parse_args()

    hop = min(launch(hop_ns, 2, timeout_s=60, start_method="fork"))
    print(
        f"one hop {hop / 1e6:.2f} ms, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, "
        f"torch {torch.__version__}\n"
    )
    print(f"{'model':<11} {'plan':<22} {'predicted':>10} {'measured':>10} {'error':>7}")
    errors = []
    for name in options.models.split(","):
        model = MODELS[name]
        cluster = opweave.Cluster.uniform(model.devices, streams=("compute",), latency_ns=hop)
        plans = plans_of(model, cluster)
        durations = measured_durations(execute(model, next(iter(plans.values())), options.steps))
        predicted, measured = [], []
        for plan_name, plan in plans.items():
            predicted.append(opweave.simulate(plan, durations=durations).makespan_ns / MS)
            steps = execute(model, plan, options.steps)
            measured.append(statistics.median(map(step_ms, steps)))
            errors.append(abs(predicted[-1] - measured[-1]) / measured[-1])
            signed = (predicted[-1] - measured[-1]) / measured[-1]
            print(
                f"{name:<11} {plan_name:<22} {predicted[-1]:7.1f} ms {measured[-1]:7.1f} ms {signed:+7.1%}", flush=True
            )
            if options.traces:
                folder = Path(options.traces)
                folder.mkdir(parents=True, exist_ok=True)
                trace(compile_plan(plan), steps[-1], folder / f"{name}-{plan_name}.json".replace(" ", "-"))
        print(f"{name:<11} rank correlation of predicted and measured: {rank_correlation(predicted, measured):.2f}\n")
    print(f"{len(errors)} plans: error median {statistics.median(errors):.1%}, worst {max(errors):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
