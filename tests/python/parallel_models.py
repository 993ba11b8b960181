"""Small models whose segments run on groups of ranks, and the step in one process that every run is compared with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import run_support
import torch
from opweave.run import compile_plan
from opweave.run.parallel import (
    MixtureOfExperts,
    ParallelExecutor,
    ParallelProgram,
    planned_bytes,
    spread,
    styles,
    tensor_plan,
)
from opweave.run.parallel.program import Compute, Copy
from torch import nn
from torch.nn import functional

WIDTH, HEADS, WORDS, TOKENS = 16, 4, 32, 8


class Attention(nn.Module):
    """Causal, with rotary positions where they are given."""

    def __init__(self, causal: bool = True) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.o_proj = nn.Linear(WIDTH, WIDTH)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens = x.shape[:2]
        parts = (
            made.view(rows, tokens, -1, WIDTH // HEADS).transpose(1, 2)
            for made in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        mixed = functional.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, tokens, -1))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, seed: int, experts: int = 0, causal: bool = True) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(causal)
        if experts:
            self.mlp: nn.Module = MixtureOfExperts(nn.Linear(WIDTH, experts), [Mlp() for _ in range(experts)], 2)
        else:
            self.mlp = Mlp()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1)[..., :WIDTH] + inputs[1]
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1000)
        self.norm, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.norm(x))


def modules(graph: dict[str, Any], experts: int = 0, causal: bool = True) -> dict[str, nn.Module]:
    """A module for every segment of a graph of run_support: "embed", "head", "words*" and blocks."""
    names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
    result: dict[str, nn.Module] = {}
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        if name in ("embed", "words"):
            result[name] = nn.Embedding(WORDS, WIDTH)
        elif name == "head":
            result[name] = Head()
        else:
            result[name] = Block(seed, experts, causal)
    return result


def tensor_plans(segments: dict[str, nn.Module], tokens_split: bool) -> dict[str, dict[str, Any]]:
    """The plans of all segments."""
    return {
        name: styles(tensor_plan(module, tokens_split=tokens_split), tokens_split=tokens_split)
        for name, module in segments.items()
    }


def batch(rows: int, seed: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(WORDS, (rows, TOKENS), generator=generator) for _ in range(2))  # type: ignore[return-value]


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


CHAIN = {"embed": [], "b0": ["embed"], "b1": ["b0"], "b2": ["b1"], "head": ["b2"]}
TOWERS = {"embed": [], "words": [], "b0": ["embed"], "b1": ["words"], "b2": ["b0", "b1"], "head": ["b2"]}


@dataclass(frozen=True)
class Case:
    """One plan on one choice of meshes and modes."""

    name: str
    meshes: Any  # a Mesh, or one by device
    placement: dict[str, int]  # device of each segment
    edges: dict[str, list[str]] = field(default_factory=lambda: CHAIN)
    sharding: Any = "none"
    memory: Any = "keep"
    tokens_split: bool = False  # sequence parallelism
    experts: int = 0
    causal: bool = True
    microbatches: int = 4
    seed: int = 0  # of the random order
    split: Any = "graph"
    optimizer: Any = None
    rows: int = 16


def program_of(case: Case) -> tuple[ParallelProgram, dict[str, Any], dict[str, Any]]:
    """Program, graph and plan."""
    graph = run_support.graph(case.edges, case.microbatches)
    plan = run_support.plan(graph, case.placement, 1 + max(case.placement.values()), case.seed)
    names = list(case.edges)
    splits = {name: (bool(case.edges[name]), name != "head") for name in names} if case.tokens_split else None
    program = spread(
        compile_plan(plan, graph),
        case.meshes,
        splits=splits,
        sharding=case.sharding,
        memory=case.memory,
        experts=[name for name in names if case.experts and name.startswith("b")],
    )
    return program, graph, plan


def one_process(graph: dict[str, Any], segments: dict[str, nn.Module], case: Case) -> list[float]:
    """Losses of a step in one process; gradients are left in the modules."""
    x, target = batch(case.rows)
    losses = []
    for xb, tb in zip(x.chunk(case.microbatches), target.chunk(case.microbatches), strict=True):
        values = {"x": xb}
        for op in graph["operators"]:
            if op["phase"] != "F":
                continue
            made = segments[op["name"][:-2]](*(values[tensor] for tensor in op["inputs"]))
            values.update(dict.fromkeys(op["outputs"], made))
            if not op["outputs"]:
                (loss(made, tb) / case.microbatches).backward()
                losses.append(loss(made, tb).item())
    return losses


def compare(rank: int, case: Case) -> dict[str, Any]:
    """Runs a case on this process group and returns what is wrong, as numbers."""
    program, graph, plan = program_of(case)
    found = held(rank, program, graph, case)
    device = program.grid.device_of(rank)
    planned = [
        (task["operator"][-1], task["operator"][:-2], task["microbatch"])
        for task in plan["tasks"]
        if task["devices"] == [f"gpu{device}"]
    ]
    starts = {(t["operator"][-1], t["operator"][:-2], t["microbatch"]): t["start_ns"] for t in plan["tasks"]}
    executed = found["executed"]
    in_order = all(starts[a] <= starts[b] for a, b in itertools.pairwise(executed))
    return {**found, "in order": in_order and sorted(executed) == sorted(planned)}


def held(rank: int, program: ParallelProgram, graph: dict[str, Any], case: Case) -> dict[str, Any]:
    """Runs a program and holds it against one process: differences, memory, and the actions in executed order."""
    segments, reference = (modules(graph, case.experts, case.causal) for _ in range(2))
    device = program.grid.device_of(rank)
    plans = tensor_plans(segments, case.tokens_split) if program.meshes[device].tensor > 1 else {}
    executor = ParallelExecutor(
        program, segments, tensor_plans=plans, split=case.split, optimizer=case.optimizer, counts_memory=True
    )
    x, target = batch(case.rows)
    result = executor.step(x, target, loss)
    losses = one_process(graph, reference, case)
    if case.optimizer:
        for module in reference.values():
            case.optimizer(list(module.parameters())).step()
    found = executor.weights() if case.optimizer else executor.gradients()
    error = 0.0
    for name, values in found.items():
        parameters = dict(reference[name].named_parameters())
        assert values.keys() == parameters.keys() or case.experts
        for path, value in values.items():
            right = parameters[path].detach() if case.optimizer else parameters[path].grad
            error = max(error, float((value - right).abs().max() / right.abs().max().clamp(min=0.05)))
    counted = [of_device for of_device, _ in result.saved_bytes]
    expected = [of_device for of_device, _ in planned_bytes(program, rank, executor.kept_bytes, executor.specs)]
    return {
        "gradients": error,
        "losses": max((abs(float(value) - losses[b]) for b, value in result.losses.items()), default=0.0),
        "executed": [step.action.key for step in (t.instruction for t in result.timings) if is_run(step)],
        "instructions": [str(t.instruction) for t in result.timings if isinstance(t.instruction, (Compute, Copy))],
        "memory": max(abs(a - b) / max(max(expected), 1) for a, b in zip(counted, expected, strict=True)),
        "peak": max(counted),
        "host": max(host for _, host in result.saved_bytes),
    }


def is_run(step: Any) -> bool:
    """An action of the plan, not one made again."""
    return isinstance(step, Compute) and step.kind == "run"
