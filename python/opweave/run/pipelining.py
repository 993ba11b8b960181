"""The same plan by torch.distributed.pipelining, where it can express it (docs/running.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import _PipelineScheduleRuntime

from opweave.export.pytorch import CsvDialect, pytorch_csv
from opweave.run.backward import boundary
from opweave.run.chain import microbatch_order, stages_of, whole_backwards
from opweave.run.clock import Clock
from opweave.run.errors import ProgramError
from opweave.run.pairs import joined, with_pairs
from opweave.run.program import ActionTiming, Program
from opweave.run.step import LossFunction, StepResult


class PipeliningRunner:
    """Runs steps of a program that is a chain of stages by `_PipelineScheduleRuntime`, with an exported CSV.

    Interface and results as `Executor`, for one input tensor and one target tensor of the whole batch. `schedule`
    is PyTorch's object. Raises ProgramError with the reason where the program cannot be expressed. Private interfaces
    of torch are used: torch 2.13 is what this is tested with.
    """

    def __init__(
        self,
        program: Program,
        segments: Mapping[str, nn.Module],
        loss_fn: LossFunction,
        *,
        dialect: CsvDialect = "compute_comms",
        group: dist.ProcessGroup | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.program = program
        self.rank = dist.get_rank(group)
        self.device = torch.device(device)
        _require_inputs_at_the_start(program)
        names = stages_of(program)
        csv = pytorch_csv(program, dialect)
        self._planned_microbatch = microbatch_order(program)
        self._timings: list[tuple[str, str, int, Any, Any]] = []
        self._clock = Clock(self.device)
        mine = [number for number, name in enumerate(names) if program.segments[name].homes[0] == self.rank]
        stages = [
            PipelineStage(_Stage(segments[names[number]]), number, len(names), self.device, group=group)
            for number in mine  # ascending, or the runtime hangs
        ]
        for stage in stages:
            self._record(stage, names[stage.stage_index])
        self.schedule = _PipelineScheduleRuntime(  # type: ignore[no-untyped-call]
            stages, program.microbatches, loss_fn=loss_fn
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "schedule.csv"
            path.write_text(csv)
            self.schedule._load_csv(str(path), format=dialect)
        self._is_first, self._is_last = 0 in mine, len(names) - 1 in mine

    def step(self, inputs: Tensor, target: Tensor) -> StepResult:
        """One training iteration; all ranks give the whole batch, the ranks that need it use it.

        Losses are by slice of the batch, timings by planned microbatch: they differ where the export numbers
        microbatches anew.
        """
        self._timings.clear()
        self._clock = Clock(self.device)
        losses: list[Tensor] = []
        arguments = (inputs,) if self._is_first else ()
        options: dict[str, Any] = {"target": target, "losses": losses} if self._is_last else {}
        self.schedule.step(*arguments, return_outputs=False, **options)
        self._clock.finish()
        planned = {step.action.key: step.action for step in self.program.ranks[self.rank]}
        whole = whole_backwards(self.program)
        order = [action for action in planned.values() if action.phase != "O"]
        for key in whole & planned.keys():
            planned["B", key[1], key[2]] = planned[key]
        for _, *backward in (group for group in with_pairs(order, whole) if len(group) > 1):
            planned["B", backward[0].segment, backward[0].microbatch] = joined(backward)
        timings = [
            ActionTiming(self.rank, planned[phase, segment, b], self._clock.ns(start), self._clock.ns(end), 0)
            for phase, segment, b, start, end in self._timings
        ]
        return StepResult({b: loss.detach() for b, loss in enumerate(losses)}, {}, timings, self._clock.origin)

    def _record(self, stage: PipelineStage, segment: str) -> None:
        """Times the methods of a stage that compute; waiting for messages is outside of them."""

        def timed(name: str, phase_of: Any) -> None:
            method = getattr(stage, name)

            @wraps(method)
            def wrapper(microbatch: int, *args: Any, **options: Any) -> Any:
                start = self._clock.mark()
                result = method(microbatch, *args, **options)
                planned = self._planned_microbatch[microbatch]
                self._timings.append((phase_of(options), segment, planned, start, self._clock.mark()))
                return result

            setattr(stage, name, wrapper)

        timed("forward_one_chunk", lambda options: "F")
        timed("backward_one_chunk", lambda options: "B" if options.get("full_backward", True) else "I")
        timed("backward_weight_one_chunk", lambda options: "W")


def _require_inputs_at_the_start(program: Program) -> None:
    """What step() takes goes to the first stage, and the target to the last."""
    for name in list(program.segments)[1:]:
        for entry in program.segments[name].inputs:
            if entry.producer is None:
                raise ProgramError(
                    f'segment "{name}" takes "{entry.tensor}" from outside; by torch.distributed.pipelining this '
                    "runner gives inputs to the first stage"
                )


class _Stage(nn.Module):
    """A segment whose outputs the runtime may detach in place and send as they are."""

    def __init__(self, segment: nn.Module) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, *arguments: Any) -> Any:
        made = self.segment(*arguments)
        if isinstance(made, Tensor):
            return boundary(made.contiguous())
        return tuple(boundary(value.contiguous()) for value in made)
