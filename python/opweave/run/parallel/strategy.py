"""From a strategy to the program of its ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opweave.run.compiler import compile_plan
from opweave.run.errors import ProgramError
from opweave.run.parallel.mesh import Mesh
from opweave.run.parallel.program import Mode, ParallelProgram
from opweave.run.parallel.schedules import published, scheduled
from opweave.run.parallel.spreading import spread
from opweave.run.program import Program

# Keys of the file (docs/formats.md) that decide what ranks do.
_DEGREES = ("tensor", "context", "data", "pipeline", "expert", "chunks", "micro_batch")
_OTHERS = ("sequence_parallel", "sharding", "recompute", "recomputed_layers", "recomputed_per_stage",
           "recomputed_modules", "schedule", "layers_per_stage", "expert_tensor", "overlaps_tensor", "overlaps_data",
           "components", "format", "version", "for")  # fmt: skip
_COMPONENT = ("name", "tensor", "context", "data", "pipeline", "sequence_parallel")
# What a strategy may say as long as it says nothing.
_NOT_YET = ("activation_offload", "offload_per_stage", "optimizer_offload", "modules_per_stage")


def strategy_program(
    strategy: Mapping[str, Any],
    blocks: list[str],
    layers: tuple[str, ...],
    *,
    global_batch: int,
    memory: Mapping[str | tuple[str, int], Mode] | None = None,
    experts: frozenset[str] = frozenset(),
    plan: Any = None,
    graph: Any = None,
) -> ParallelProgram:
    """The program of a strategy (docs/formats.md) for a chain of blocks.

    Args:
        strategy: Content of the file.
        blocks: Names of all blocks, in order; those of *layers* are counted by the strategy.
        global_batch: Rows of one step.
        memory: Modes beside those of the strategy's recomputation, by block or by (block, microbatch).
        experts: Blocks with experts.
        plan, graph: A plan with as many devices as the strategy has pipeline ranks, and its graph, whose segments are
            the blocks; without, the strategy's schedule.

    Where a component has a mesh of its own (docs/strategies.md), its layers are the first of *layers*, and its devices
    the first.

    Raises ProgramError, naming the key and its value, for what cannot be run.
    """
    degree = {key: _count(strategy, key) for key in _DEGREES}
    _refuse(strategy, degree)
    per_step = degree["micro_batch"] * degree["data"]
    if global_batch % per_step:
        raise ProgramError(
            f"{global_batch} rows a step, expected a multiple of micro_batch x data = {degree['micro_batch']} x "
            f"{degree['data']}"
        )
    own = _component(strategy, per_step)
    mesh = Mesh(degree["data"], degree["context"], degree["tensor"], degree["expert"])
    first = own["pipeline"] if own else 0
    ranks, chunks = first + degree["pipeline"], degree["chunks"]
    if plan is None:
        default = "Interleaved-1F1B" if chunks > 1 else "1F1B"
        order = published(strategy.get("schedule", default), ranks, chunks, global_batch // per_step)
        stages = _stages(strategy, order.homes, chunks, blocks, layers)
        graph = chain_graph(blocks, global_batch // per_step, splits_backward=order.splits_backward)
        plan = scheduled(graph, stages, order)
    program = compile_plan(plan, graph)
    if len(program.devices) != ranks:
        raise ProgramError(f"the plan has {len(program.devices)} devices, the strategy {ranks} of pipeline")
    meshes: Mesh | dict[str, Mesh] = mesh
    if own:
        before = Mesh(own["data"], own["context"], own["tensor"])
        meshes = {name: before if number < first else mesh for number, name in enumerate(program.devices)}
    splits = {}
    if strategy.get("sequence_parallel", False) and degree["tensor"] > 1:
        splits = {name: (i > 0, i < len(blocks) - 1) for i, name in enumerate(blocks)}
    modes: dict[str | tuple[str, int], Mode] = {**_dropped(strategy, program, layers), **(memory or {})}
    is_selective = strategy.get("recompute") == "attention" or bool(strategy.get("recomputed_modules"))
    return spread(
        program,
        meshes,
        splits=splits,
        sharding=strategy.get("sharding", "none"),
        memory=modes,
        experts=experts,
        attention_again=[name for name in layers if is_selective and modes.get(name) != "drop"],
    )


def chain_graph(blocks: list[str], microbatches: int, *, splits_backward: bool = False) -> dict[str, Any]:
    """The graph of a chain: F and B of every block, or F, I and W."""
    operators: list[dict[str, Any]] = []
    for number, name in enumerate(blocks):
        before = [blocks[number - 1]] if number else []
        behind = [name] if number < len(blocks) - 1 else []

        def operator(phase: str, duration_ns: int, **wiring: list[str]) -> dict[str, Any]:
            return {"name": f"{name}.{phase}", "phase": phase, "duration_ns": duration_ns, **wiring}  # noqa: B023

        forward = {"inputs": [f"{b}:0" for b in before] or ["input"], "outputs": [f"{b}:0" for b in behind]}
        backward = {
            "inputs": [f"d{b}:0" for b in behind],
            "outputs": [f"d{b}:0" for b in before],
            "after": [f"{name}.F"],
        }
        operators.append(operator("F", 1000, **forward))
        if splits_backward:
            operators.append(operator("I", 1000, **backward))
            operators.append(operator("W", 1000, inputs=[], outputs=[], after=[f"{name}.I"]))
        else:
            operators.append(operator("B", 2000, **backward))
    tensors = list(dict.fromkeys(t for op in operators for t in op["inputs"] + op["outputs"]))
    return {
        "format": "opweave.graph",
        "version": 1,
        "name": "chain",
        "training": {"microbatches": microbatches},
        "tensors": [{"name": tensor, "bytes": 1} for tensor in tensors],
        "operators": operators,
    }


def _count(strategy: Mapping[str, Any], key: str) -> int:
    value = strategy.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ProgramError(f"strategy: {key} is {value!r}, expected an integer from 1")
    return value


def _component(strategy: Mapping[str, Any], rows: int) -> dict[str, int] | None:
    """Degrees of the component with a mesh of its own."""
    components = strategy.get("components") or []
    if not components:
        return None
    if len(components) > 1:
        raise ProgramError(f"strategy: components has {len(components)} entries, expected one with a mesh of its own")
    name = components[0].get("name")
    unknown = [key for key in components[0] if key not in _COMPONENT]
    if unknown:
        raise ProgramError(f"strategy: component {name!r}: {unknown[0]!r} is no key of a component")
    degree = {key: _count(components[0], key) for key in ("tensor", "context", "data", "pipeline")}
    if strategy.get("sequence_parallel") or components[0].get("sequence_parallel"):
        raise ProgramError(
            f"strategy: sequence_parallel is true and component {name!r} has a mesh of its own; between the meshes no "
            "embedding shares out tokens over the tensor axis"
        )
    if strategy.get("chunks", 1) != 1 or strategy.get("schedule", "1F1B") not in ("1F1B", "ZB1P", "ZB-2P"):
        raise ProgramError(
            f"strategy: component {name!r} has a mesh of its own, expected 1F1B, ZB1P or ZB-2P without chunks"
        )
    if not strategy.get("layers_per_stage"):
        raise ProgramError(
            f"strategy: component {name!r} has a mesh of its own, expected layers_per_stage: it says which layers are "
            "the component's"
        )
    if rows % degree["data"]:
        raise ProgramError(
            f"strategy: component {name!r}: data is {degree['data']}, expected a divisor of the {rows} rows of a "
            "microbatch"
        )
    return degree


def _refuse(strategy: Mapping[str, Any], degree: dict[str, int]) -> None:
    unknown = [
        key for key, value in strategy.items() if key not in (*_DEGREES, *_OTHERS, *(_NOT_YET if not value else ()))
    ]
    if unknown:
        raise ProgramError(f"strategy: {unknown[0]!r} is no key of a strategy that can be run")
    if strategy.get("expert_tensor", 1) != 1:
        raise ProgramError(f"strategy: expert_tensor is {strategy['expert_tensor']}, expected 1: experts run whole")
    if strategy.get("overlaps_tensor"):
        raise ProgramError("strategy: overlaps_tensor is true; collectives of the tensor axis run between the products")
    if strategy.get("recompute", "none") not in ("none", "full", "selective", "attention"):
        raise ProgramError(
            f'strategy: recompute is "{strategy["recompute"]}", expected "none", "selective", "attention" or "full"'
        )
    others = [name for name in strategy.get("recomputed_modules", ()) if name != "core_attn"]
    if others:
        raise ProgramError(
            f'strategy: recomputed_modules has "{others[0]}", expected "core_attn" alone: attention is made again, or '
            "whole layers are"
        )
    if degree["data"] % degree["expert"]:
        raise ProgramError(
            f"strategy: expert is {degree['expert']}, expected a divisor of data ({degree['data']}): tensor and "
            "context ranks hold the same experts"
        )


def _stages(
    strategy: Mapping[str, Any], homes: Sequence[int], chunks: int, blocks: list[str], layers: tuple[str, ...]
) -> list[list[str]]:
    """Blocks of each stage, of which *homes* has the rank: each of the chunks of a rank as many."""
    ranks = len(homes) // chunks
    counts = strategy.get("layers_per_stage")
    if counts is None:
        if len(layers) % (ranks * chunks):
            raise ProgramError(
                f"{len(layers)} layers, expected a multiple of {ranks * chunks} stages, or layers_per_stage"
            )
        counts = [len(layers) // ranks] * ranks
    if len(counts) != ranks or sum(counts) != len(layers) or any(count % chunks for count in counts):
        raise ProgramError(
            f"strategy: layers_per_stage is {list(counts)}, expected {ranks} multiples of {chunks} chunks that add up "
            f"to {len(layers)} layers"
        )
    stages: list[list[str]] = []
    left = list(layers)
    for home in homes:
        stages.append(left[: counts[home] // chunks])
        left = left[counts[home] // chunks :]
    first = blocks.index(layers[0])
    stages[0] = blocks[:first] + stages[0]
    stages[-1] = stages[-1] + blocks[first + len(layers) :]
    if any(not stage for stage in stages):
        raise ProgramError(f"strategy: layers_per_stage is {list(counts)}, expected a block on every stage")
    return stages


def _dropped(
    strategy: Mapping[str, Any], program: Program, layers: tuple[str, ...]
) -> dict[str | tuple[str, int], Mode]:
    """Layers that are made again: the first ones of each rank."""
    if strategy.get("recompute") != "full":
        return {}
    ranks = len(program.devices)
    result: dict[str | tuple[str, int], Mode] = {}
    limits = strategy.get("recomputed_per_stage") or [strategy.get("recomputed_layers", len(layers))] * ranks
    if len(limits) != ranks:
        raise ProgramError(f"strategy: recomputed_per_stage has {len(limits)} numbers, expected {ranks}")
    for rank, limit in enumerate(limits):
        mine = [name for name, segment in program.segments.items() if segment.homes[0] == rank and name in layers]
        result.update(dict.fromkeys(mine[:limit], "drop"))
    return result
