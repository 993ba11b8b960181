"""Programs that are a chain of stages: what torch.distributed.pipelining can express."""

from __future__ import annotations

from opweave.run.errors import ProgramError
from opweave.run.movements import refuse_movements
from opweave.run.program import Placement, Program


def stages_of(program: Placement) -> list[str]:
    """The segments of a chain, in the order in which tensors pass them; segment i is stage i.

    Inputs of the model may enter anywhere: PyTorch's step() hands keyword arguments to the stages of every rank. Raises
    ProgramError with the reason where the target has no word for it: a branch, a skip, a segment with two homes, a rank
    without a stage.
    """
    names = list(program.segments)
    target = "torch.distributed.pipelining"
    if isinstance(program, Program):
        refuse_movements(program, target)
    for number, name in enumerate(names):
        segment = program.segments[name]
        if len(set(segment.homes)) > 1:
            homes = ", ".join(program.devices[rank] for rank in sorted(set(segment.homes)))
            raise ProgramError(f'segment "{name}" lives on {homes}; {target} has one rank per stage')
        before = names[number - 1] if number else None
        taken = [entry for entry in segment.inputs if entry.producer is not None]
        for entry in taken:
            if entry.producer != before:
                raise ProgramError(
                    f'segment "{name}" takes "{entry.tensor}" from "{entry.producer}"; {target} passes tensors only '
                    f'from a stage to the next, here from "{before}"'
                )
        if before is not None and tuple(entry.tensor for entry in taken) != program.segments[before].outputs:
            raise ProgramError(
                f'segment "{name}" takes {len(taken)} tensors, "{before}" makes '
                f"{len(program.segments[before].outputs)}; {target} passes them all, in their order"
            )
    for rank, device in enumerate(program.devices):
        if not program.segments_on(rank):
            raise ProgramError(f"device {device} runs nothing; {target} needs a stage on every rank")
    return names


def ranks_of(program: Placement) -> list[int]:
    """Rank of every stage. Raises as stages_of."""
    return [program.segments[name].homes[0] for name in stages_of(program)]


def microbatch_order(program: Program) -> list[int]:
    """Microbatches in the order in which the last stage runs them forward.

    torch.distributed.pipelining finds losses by the number of forwards so far, so that exported schedules number the
    microbatches in this order. Microbatches are alike: only the slice of the batch that each one gets changes.
    """
    last = stages_of(program)[-1]
    return [
        b for phase, segment, b in program.order(program.segments[last].homes[0]) if (phase, segment) == ("F", last)
    ]


def whole_backwards(program: Program) -> set[tuple[str, str, int]]:
    """Keys of I actions without a W and of W actions without an I: a stage without parameters or without gradients of
    inputs. Each is all of its backward, which torch.distributed.pipelining calls B."""
    keys = {action.key for _, action in program.actions()}
    other = {"I": "W", "W": "I"}
    return {
        (phase, segment, b) for phase, segment, b in keys if phase in other and (other[phase], segment, b) not in keys
    }
