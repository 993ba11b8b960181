#!/usr/bin/env python3
"""Strategies run on gloo processes: predicted against measured step times.

    PYTHONPATH=build/default/python python benchmarks/strategies.py [--steps 5] [--processes 4,8] [--check]

Blocks are real: two products and a tanh, forward and backward, one thread per process. For every choice of meshes one
order is run with everything kept, which measures what instructions take: processor time of actions, copies and
collectives, and how long messages are under way. Steps of other orders and memory modes are predicted from that and
run. Each rank is bound to a core of this machine, which it shares with others; so it does in the prediction. Other work
on the machine is not predicted: leave it alone. Of the steps of a strategy those count that others disturbed least, by
the processor time that the kernel gave to them (half of the steps), and what they still took is printed. With --check,
the exit status is 1 unless the median error is within 10 %, the worst within 25 % and the rank correlation at least
0.9.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from opweave.run import launch
from opweave.run.compiler import compile_plan
from opweave.run.parallel import (
    Mesh,
    ParallelExecutor,
    Timing,
    gather_results,
    measured_costs,
    predict,
    spread,
    step_ns,
    styles,
    tensor_plan,
)
from opweave.run.parallel.strategy import chain_graph
from torch import Tensor, nn

WIDTH, TOKENS, ROWS, MICROBATCHES, LAYERS = 256, 128, 16, 4, 4
CORES = len(os.sched_getaffinity(0))


class Block(nn.Module):
    """Two products, more of them in later blocks."""

    def __init__(self, number: int) -> None:
        super().__init__()
        torch.manual_seed(number)
        hidden = 2 * WIDTH + number * WIDTH // 2
        self.up_proj, self.down_proj = nn.Linear(WIDTH, hidden), nn.Linear(hidden, WIDTH)

    def forward(self, value: Tensor) -> Tensor:
        return value + self.down_proj(torch.tanh(self.up_proj(value)))


@dataclass(frozen=True)
class Family:
    """Strategies that differ in order and memory modes alone."""

    name: str
    mesh: Mesh
    devices: int
    sharding: str = "none"


FAMILIES = [
    Family("tp2 pp2", Mesh(tensor=2), 2),
    Family("tp2 dp2 ZeRO 1", Mesh(tensor=2, data=2), 1, "optimizer"),
    Family("dp2 pp2 ZeRO 3", Mesh(data=2), 2, "weights"),
    Family("cp2 pp2", Mesh(context=2), 2),
    Family("tp2 pp2 dp2", Mesh(tensor=2, data=2), 2),
    Family("pp4 tp2", Mesh(tensor=2), 4),
]
MODES = [("keep", 1), ("drop", 2), ("host", 3), ("drop", 4)]  # memory mode and seed of the order


def plan_of(graph: dict[str, Any], devices: int, seed: int) -> dict[str, Any]:
    """Blocks on devices in turn or in runs, in a random order of what is ready."""
    rng = random.Random(seed)
    names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
    home = {name: (i % devices if seed % 2 else i * devices // len(names)) for i, name in enumerate(names)}
    operators = {op["name"]: op for op in graph["operators"]}
    maker = {tensor: name for name, op in operators.items() for tensor in op["outputs"]}
    waits = {
        n: {maker[t] for t in op["inputs"] if t in maker} | set(op.get("after", [])) for n, op in operators.items()
    }
    todo = [(name, b) for name in operators for b in range(MICROBATCHES)]
    end: dict[tuple[str, int], int] = {}
    free = [0] * devices
    tasks = []
    while todo:
        ready = [(n, b) for n, b in todo if all((w, b) in end for w in waits[n])]
        start = {(n, b): max([free[home[n[:-2]]], *(end[w, b] for w in waits[n])]) for n, b in ready}
        first = min(start.values())
        name, b = rng.choice([task for task in ready if start[task] == first])
        end[name, b] = free[home[name[:-2]]] = first + operators[name]["duration_ns"]
        device = f"gpu{home[name[:-2]]}"
        tasks.append(
            {"operator": name, "microbatch": b, "devices": [device], "start_ns": first, "end_ns": end[name, b]}
        )
        todo.remove((name, b))
    return {
        "format": "opweave.plan",
        "version": 1,
        "graph": graph["name"],
        "settings": {"training": graph["training"]},
        "statistics": {"devices": [{"device": f"gpu{i}"} for i in range(devices)]},
        "tasks": tasks,
    }


def program_of(family: Family, mode: str, seed: int) -> Any:
    """Program of one strategy."""
    graph = chain_graph([f"layer{i}" for i in range(LAYERS)], MICROBATCHES)
    program = compile_plan(plan_of(graph, family.devices, seed), graph)
    return spread(program, family.mesh, sharding=family.sharding, memory=mode)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """A step on one rank, from before it to when all have told of it."""

    timings: list[Timing]  # of all ranks; on rank 0 alone
    wall_ns: int
    own_ns: int  # processor time of the rank's process
    machine_ns: int  # of all processes of the machine; on rank 0 alone


def machine_ns() -> int:
    """Processor time of all processes since the start of the machine (to 10 ms), with what its host has stolen; 0 where
    the system does not tell."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0
    user, nice, system, _, _, _, _, steal = map(int, path.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + steal) * 10**9 // os.sysconf("SC_CLK_TCK")


def measure(rank: int, families: list[Family], steps: int) -> list[list[list[Run]]]:
    """Runs on this rank, by family, strategy and step."""
    result = []
    generator = torch.Generator().manual_seed(1)
    value, target = (torch.randn(ROWS, TOKENS, WIDTH, generator=generator) for _ in range(2))
    for family in families:
        result.append([])
        for mode, seed in MODES:
            program = program_of(family, mode, seed)
            blocks = {f"layer{i}": Block(i) for i in range(LAYERS)}
            words = {name: styles(tensor_plan(b, tokens_split=False), tokens_split=False) for name, b in blocks.items()}
            plans = words if family.mesh.tensor > 1 else {}
            executor = ParallelExecutor(program, blocks, tensor_plans=plans)
            runs = []
            for _ in range(steps):
                before = time.monotonic_ns(), time.process_time_ns(), machine_ns()
                timings = gather_results(executor.step(value, target, nn.functional.mse_loss))
                after = time.monotonic_ns(), time.process_time_ns(), machine_ns()
                wall, own, machine = (b - a for a, b in zip(before, after, strict=True))
                runs.append(Run(timings if rank == 0 else [], wall, own, machine))
            result[-1].append(runs)
    return result


def least_disturbed(ranks: list[list[Run]]) -> tuple[list[list[Timing]], float]:
    """From the runs of all ranks: timings of the half of the steps in which other processes took least, the first step
    aside, and the share of the cores that they took then."""
    others = []
    for step, run in enumerate(ranks[0]):
        own = sum(of_rank[step].own_ns for of_rank in ranks)
        others.append(max(0, run.machine_ns - own) / (CORES * run.wall_ns))
    order = sorted(range(1, len(others)), key=others.__getitem__)
    chosen = sorted(order[: (len(order) + 1) // 2])
    return [ranks[0][step].timings for step in chosen], statistics.fmean(others[step] for step in chosen)


def ranking(values: list[float]) -> list[int]:
    """Place of each value."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return [order.index(i) for i in range(len(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=9, help="of each strategy, at least 2; the first warms up")
    parser.add_argument("--processes", default="4,8", help="numbers of processes whose strategies run")
    parser.add_argument("--check", action="store_true", help="fail where errors are above the bars")
    options = parser.parse_args()
    errors, predictions, measurements, others = [], [], [], []
    for processes in map(int, options.processes.split(",")):
        families = [f for f in FAMILIES if f.mesh.size * f.devices == processes]
        found = launch(
            measure, processes, (families, max(2, options.steps)), timeout_s=900, start_method="fork", bound=True
        )
        for number, family in enumerate(families):
            strategies = [least_disturbed([rank[number][i] for rank in found]) for i in range(len(MODES))]
            # What instructions take is measured in all modes' own first order: "host" has copies that "keep" has not.
            for (mode, seed), (runs, taken) in zip(MODES, strategies, strict=True):
                program = program_of(family, mode, seed)
                costs = measured_costs(strategies[0][0], warms_up=False)
                if mode == "host":
                    copies = measured_costs(runs, warms_up=False).busy_ns
                    costs.busy_ns.update({k: v for k, v in copies.items() if k[0].startswith("copy")})
                predicted = step_ns(predict(program, costs, cores=CORES, bound=True))
                measured = statistics.median(step_ns(run) for run in runs)
                others.append(taken)
                errors.append(abs(predicted / measured - 1))
                predictions.append(predicted)
                measurements.append(measured)
                print(
                    f"{family.name:18} {mode:5} order {seed}: predicted {predicted / 1e6:7.1f} ms, measured "
                    f"{measured / 1e6:7.1f} ms, {predicted / measured - 1:+6.1%}, others {taken:.1%}",
                    flush=True,
                )
    ranks = ranking(predictions), ranking(measurements)
    n = len(errors)
    correlation = 1 - 6 * sum((a - b) ** 2 for a, b in zip(*ranks, strict=True)) / (n * (n * n - 1))
    print(
        f"{n} strategies: median error {statistics.median(errors):.1%}, worst {max(errors):.1%}, rank correlation "
        f"{correlation:.2f}; others took {statistics.fmean(others):.1%} of the cores"
    )
    if options.check and (statistics.median(errors) > 0.1 or max(errors) > 0.25 or correlation < 0.9):
        sys.exit("expected a median error of at most 10%, at most 25% at worst, a rank correlation of at least 0.9")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
