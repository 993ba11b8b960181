"""A strategy run on processes, held against the model itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from opweave.run.backward import BackwardSplit
from opweave.run.errors import ProgramError
from opweave.run.launcher import launch
from opweave.run.measure import unchanged
from opweave.run.parallel.chain import chain_of
from opweave.run.parallel.executor import ParallelExecutor
from opweave.run.parallel.experts import mixtures_of
from opweave.run.parallel.memory import planned_bytes
from opweave.run.parallel.program import Mode, ParallelProgram
from opweave.run.parallel.step import Timing
from opweave.run.parallel.strategy import strategy_program
from opweave.run.parallel.tensor_words import Word, require_ends, styles, tensor_plan
from opweave.run.parallel.timings import gather_results
from opweave.run.verification import compare_gradients, compare_losses, default_tolerance


@dataclass(frozen=True)
class ParallelVerification:
    """A step of a strategy on processes that has the losses and gradients of the model itself."""

    program: ParallelProgram
    """What ran."""
    tolerance: float
    losses: tuple[float, ...]
    """By microbatch."""
    differences: dict[str, float]
    """Of the gradient of every parameter, as in Verification."""
    saved_bytes: tuple[int, ...]
    """By rank: the most that was kept for backward passes on its device at a time, counted."""
    planned_bytes: tuple[int, ...]
    """The same as the program says, from what one forward of each block keeps."""
    timings: list[Timing]
    """Of all ranks in the step, on one clock."""

    @property
    def largest(self) -> float:
        """The largest difference of all gradients."""
        return max(self.differences.values(), default=0.0)


def verify_strategy(
    model: nn.Module,
    strategy: Mapping[str, Any],
    inputs: Tensor,
    target: Any,
    loss: Callable[[Any, Any], Tensor],
    *,
    blocks: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    tensor_plans: Mapping[str, Mapping[str, Word]] | None = None,
    memory: Mapping[str | tuple[str, int], Mode] | None = None,
    plan: Any = None,
    graph: Any = None,
    split: BackwardSplit = "graph",
    tolerance: float | None = None,
    timeout_s: float = 300.0,
) -> ParallelVerification:
    """Run one step of *strategy* on this machine, a gloo process per rank, and compare it with the model itself: the
    loss of every microbatch, and the gradient of every parameter.

    Args:
        model: A chain of blocks (`chain_of`: an nn.Sequential, a decoder of transformers, or the paths in *blocks*).
            It is left as it was.
        strategy: Content of a strategy's file (docs/formats.md).
        inputs: Of the first block: rows of the whole step; row i belongs to microbatch i * microbatches // rows.
        target: Rows likewise.
        loss: Of the last block's result and the target; a mean over rows and tokens.
        layers: Blocks that the strategy counts; all, if not given.
        tensor_plans: By block, how its modules lie over the tensor axis; if not given, from their names.
        memory: Modes of blocks or of (block, microbatch), beside the strategy's recomputation.
        plan, graph: An order of one's own, see strategy_program.
        split: How backwards are split where the plan has I and W.
        tolerance: As for `verify`.

    Raises VerificationError for a loss or gradient that differs; ProgramError for what cannot be run, before
    any process is started; LaunchError for a process that fails.
    """
    chain = chain_of(copy.deepcopy(model), blocks, layers)
    contexts = [part.get("context", 1) for part in (strategy, *(strategy.get("components") or ()))]
    if chain.fixed_positions and max(contexts) > 1:
        raise ProgramError("strategy: context is above 1, but the model's layers count tokens from 0 on each rank")
    _refuse_random(model)
    program = strategy_program(
        strategy,
        list(chain.blocks),
        chain.layers,
        global_batch=len(inputs),
        memory=memory,
        experts=frozenset(name for name, block in chain.blocks.items() if mixtures_of(block)),
        plan=plan,
        graph=graph,
    )
    tensor_split = bool(strategy.get("sequence_parallel")) and strategy.get("tensor", 1) > 1
    words = tensor_plans or {n: tensor_plan(block, tokens_split=tensor_split) for n, block in chain.blocks.items()}
    plans = {name: styles(plan, tokens_split=tensor_split) for name, plan in words.items()}
    require_ends(program.splits, plans)
    tolerance = default_tolerance(model) if tolerance is None else tolerance

    def run(rank: int) -> tuple[dict[int, Tensor], dict[str, Tensor], list[tuple[int, int]], Any]:
        executor = ParallelExecutor(
            program,
            chain.blocks,
            tensor_plans=plans,
            split=split,
            timeout_s=timeout_s,
            counts_memory=True,
            records_collectives=True,
        )
        result = executor.step(inputs, target, loss)
        by_name = {
            chain.parameters[block][path]: value
            for block, gradients in executor.gradients().items()
            for path, value in gradients.items()
        }
        timings = gather_results(result)
        return result.losses, by_name, result.saved_bytes, (executor.kept_bytes, executor.specs, timings)

    ranks = launch(run, program.processes, timeout_s=timeout_s, start_method="fork")
    with unchanged([model]):
        expected = _step(model, program, inputs, target, loss)
        losses = {b: float(value) for found, _, _, _ in ranks for b, value in found.items()}
        compare_losses([losses[b] for b in range(program.base.microbatches)], expected, tolerance)
        names = [program.base.devices[program.grid.device_of(rank)] + f" rank {rank}" for rank in range(len(ranks))]
        differences = compare_gradients(model, [found for _, found, _, _ in ranks], names, tolerance)
    planned = tuple(
        max((device for device, _ in planned_bytes(program, rank, kept, specs)), default=0)
        for rank, (_, _, _, (kept, specs, _)) in enumerate(ranks)
    )
    saved = tuple(max((device for device, _ in counted), default=0) for _, _, counted, _ in ranks)
    by_microbatch = tuple(losses[b] for b in range(program.base.microbatches))
    return ParallelVerification(program, tolerance, by_microbatch, differences, saved, planned, ranks[0][3][2])


def _step(model: nn.Module, program: ParallelProgram, inputs: Tensor, target: Any, loss: Any) -> list[float]:
    """Losses of the model itself; its gradients are in .grad."""
    count = program.base.microbatches
    losses = []
    for parameter in model.parameters():
        parameter.grad = None
    for value, right in zip(inputs.chunk(count), target.chunk(count), strict=True):
        made = model(value)
        made = made if isinstance(made, Tensor) else made.logits
        found = loss(made, right)
        (found / count).backward()
        losses.append(float(found.detach()))
    return losses


def _refuse_random(model: nn.Module) -> None:
    """Each rank would draw numbers of its own, for its own part of a tensor."""
    for path, part in model.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ProgramError(f"{path} drops out {part.p:g} of its inputs, at random on each rank; expected none")
