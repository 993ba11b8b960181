"""Schedules for torch.distributed.pipelining."""

from __future__ import annotations

from typing import Literal

from opweave import _core
from opweave.run.chain import microbatch_order, stages_of, whole_backwards
from opweave.run.pairs import with_pairs
from opweave.run.program import Action, Program

CsvDialect = Literal["compute_only", "compute_comms"]


def pytorch_csv(program: Program, dialect: CsvDialect = "compute_only") -> str:
    """The order of a program in the CSV form of torch.distributed.pipelining: a row per rank, stage i is segment i.

    "compute_only" has the actions alone, each in a column after what it needs, so that runtimes that go column by
    column work as well; PyTorch adds messages. "compute_comms" places both ends of a message where the plan ends the
    action that makes it, so that no messages wait in a circle whatever the transport (docs/messages.md), and the
    reduction that scales gradients after each stage's last backward. Optimizer steps are left out: they are not part
    of PyTorch's schedules. Microbatches are numbered anew where the last stage does not take them in ascending order
    (`microbatch_order`). An I without a W, or the reverse, is a whole backward and becomes a B. A forward that the plan
    runs beside a complete backward is written with it as OVERLAP_F_B (`compile_plan(..., pairs=True)` where their
    operators are woven).

    Raises ProgramError where the program is no chain of stages (`stages_of`), and InputError where it is one that
    PyTorch does not accept, for instance a stage without a backward.
    """
    stage = {name: number for number, name in enumerate(stages_of(program))}
    number = {planned: exported for exported, planned in enumerate(microbatch_order(program))}
    backward = whole_backwards(program)
    ranks = [[step.action for step in steps if step.action.phase != "O"] for steps in program.ranks]
    groups = [list(with_pairs(actions, backward)) for actions in ranks]

    def cell(action: Action, phase: str) -> str:
        return f"{stage[action.segment]}{phase}{number[action.microbatch]}"

    def cell_of(group: tuple[Action, ...]) -> str:
        first = group[0]
        if len(group) > 1:
            return f"({cell(first, 'F')};{cell(group[1], 'B')})OVERLAP_F_B"
        return cell(first, "B" if first.key in backward else first.phase)

    rows = [",".join(cell_of(group) for group in on_rank) for on_rank in groups]
    ends = [[max(action.end_ns for action in group) for group in on_rank] for on_rank in groups]
    return _core.format_schedule("\n".join(rows) + "\n", dialect, ends)
