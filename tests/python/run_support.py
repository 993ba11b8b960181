"""Graphs and plans for the tests of opweave.run and opweave.export."""

from __future__ import annotations

import random
from typing import Any


def graph(
    edges: dict[str, list[str]], microbatches: int, fused: frozenset[str] = frozenset(), name: str = "model"
) -> dict[str, Any]:
    """Segments with the segments whose output they take. A segment without any takes the graph input "x"; two outputs
    of one segment are written "name:1". Each has F, I and W, or F and B if it is in `fused`."""
    tensors: dict[str, None] = {"x": None}
    operators = []
    made: dict[str, list[str]] = {segment: [] for segment in edges}
    for sources in edges.values():
        for source in sources:
            tensor = source if ":" in source else f"{source}:0"
            made[tensor.split(":")[0]].append(tensor)
    made = {segment: sorted(set(list_)) for segment, list_ in made.items()}
    order = list(edges)
    for segment in order:
        inputs = [s if ":" in s else f"{s}:0" for s in edges[segment]] or ["x"]
        operators.append({"name": f"{segment}.F", "phase": "F", "inputs": inputs, "outputs": made[segment]})
    for segment in reversed(order):
        inputs = sorted(
            f"d{t}>{c}" for t in made[segment] for c in order if t in [s if ":" in s else f"{s}:0" for s in edges[c]]
        )
        outputs = [f"d{s if ':' in s else s + ':0'}>{segment}" for s in edges[segment]]
        if segment in fused:
            operators.append(
                {"name": f"{segment}.B", "phase": "B", "inputs": inputs, "outputs": outputs, "after": [f"{segment}.F"]}
            )
        else:
            operators.append(
                {
                    "name": f"{segment}.I",
                    "phase": "I",
                    "inputs": inputs,
                    "outputs": [*outputs, f"{segment}.kept"],
                    "after": [f"{segment}.F"],
                }
            )
            operators.append({"name": f"{segment}.W", "phase": "W", "inputs": [f"{segment}.kept"]})
    for op in operators:
        for tensor in op.get("inputs", []) + op.get("outputs", []):
            tensors[tensor] = None
        op["colocation"] = op["name"][:-2]
        op["parameters"] = [f"{op['name'][:-2]}.w"]
        op["stage"] = order.index(op["name"][:-2])
        op["layer"] = op["name"][:-2]
        op["duration_ns"] = 1000
    return {
        "format": "opweave.graph",
        "version": 1,
        "name": name,
        "training": {"microbatches": microbatches},
        "parameters": [{"name": f"{segment}.w", "bytes": 100} for segment in order],
        "tensors": [{"name": tensor, "bytes": 100} for tensor in tensors],
        "operators": operators,
    }


def chain(stages: int, microbatches: int, **options: Any) -> dict[str, Any]:
    return graph({f"s{i}": [f"s{i - 1}"] if i else [] for i in range(stages)}, microbatches, **options)


BRANCHES = {
    "image": [],
    "text": [],
    "image2": ["image:0"],
    "fusion": ["image2", "text:0"],
    "decoder": ["fusion", "image:1"],  # a long skip, and a segment with two outputs
    "head": ["decoder", "text:0"],  # one tensor with two consumers
}


def plan(
    graph: dict[str, Any],
    placement: dict[str, int] | dict[str, list[int]],
    devices: int,
    seed: int = 0,
    latency: int = 50,
) -> dict[str, Any]:
    """A random active plan: whenever a device is free it runs a random one of its ready tasks. `placement` gives the
    device of every segment, or one per replica."""
    rng = random.Random(seed)
    microbatches = graph["training"]["microbatches"]
    replicas = graph["training"].get("replicas", 1)
    operators = {op["name"]: op for op in graph["operators"]}
    producer = {t: name for name, op in operators.items() for t in op.get("outputs", [])}
    waits = {
        n: {producer[t] for t in op.get("inputs", []) if t in producer} | set(op.get("after", []))
        for n, op in operators.items()
    }

    def device(name: str, b: int) -> int:
        home = placement[name[:-2]]
        return home if isinstance(home, int) else home[b * replicas // microbatches]

    end: dict[tuple[str, int], int] = {}
    free = [0] * devices
    todo = [(name, b) for name, op in operators.items() if op["phase"] != "O" for b in range(microbatches)]
    tasks = []
    while todo:
        ready = [(n, b) for n, b in todo if all((w, b) in end for w in waits[n])]
        start_of = {
            (n, b): max([free[device(n, b)]] + [end[w, b] + latency * (device(w, b) != device(n, b)) for w in waits[n]])
            for n, b in ready
        }
        first = min(start_of.values())
        name, b = rng.choice([task for task in ready if start_of[task] <= first + 500])
        start = start_of[name, b]
        end[name, b] = start + rng.choice([0, 500, 1000, 2000])
        free[device(name, b)] = end[name, b]
        tasks.append(
            {
                "operator": name,
                "microbatch": b,
                "devices": [f"gpu{device(name, b)}"],
                "start_ns": start,
                "end_ns": end[name, b],
            }
        )
        todo.remove((name, b))
    last = max(end.values())
    for name, op in operators.items():
        for replica in range(replicas if op["phase"] == "O" else 0):
            home = placement[name[:-2]]
            where = home if isinstance(home, int) else home[replica]
            tasks.append(
                {
                    "operator": name,
                    "replica": replica,
                    "devices": [f"gpu{where}"],
                    "start_ns": last,
                    "end_ns": last + 10,
                }
            )
    return {
        "format": "opweave.plan",
        "version": 1,
        "graph": graph["name"],
        "settings": {"training": graph["training"]},
        "statistics": {"devices": [{"device": f"gpu{i}"} for i in range(devices)]},
        "tasks": sorted(tasks, key=lambda task: task["start_ns"]),
    }
