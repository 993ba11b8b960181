"""A batch as what each microbatch gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from opweave.run.errors import ProgramError
from opweave.run.program import Placement

Batch = Tensor | Sequence[Any]


def in_microbatches(name: str, batch: Batch | None, count: int) -> Sequence[Any]:
    """An entry for each of *count* microbatches: of a tensor its equal runs of rows, of a sequence its entries.

    Raises ProgramError, naming the batch, where it has another number of them.
    """
    if batch is None:
        return [None] * count
    if isinstance(batch, Tensor):
        if batch.shape[0] % count:
            raise ProgramError(
                f"{name}: first dimension is {batch.shape[0]}, expected a multiple of {count} microbatches"
            )
        return batch.chunk(count)
    if len(batch) != count:
        raise ProgramError(f"{name}: {len(batch)} entries, expected one for each of {count} microbatches")
    return batch


def inputs_in_microbatches(
    program: Placement, inputs: Batch | Mapping[str, Batch], segments: Iterable[str]
) -> dict[str, Sequence[Any]]:
    """By input of the model, an entry for each microbatch; *segments* need theirs. Without names if there is one alone.

    Raises ProgramError for an input that no segment takes, and for one that is missing.
    """
    names = program.external_inputs()
    wanted = list(dict.fromkeys(name for of_segment in names.values() for name in of_segment))
    if not isinstance(inputs, Mapping):
        if len(wanted) != 1:
            raise ProgramError(f"inputs have no names, the plan needs {', '.join(map(repr, wanted))}")
        inputs = {wanted[0]: inputs}
    unknown = [name for name in inputs if name not in wanted]
    if unknown:
        raise ProgramError(f"no segment takes input {unknown[0]!r}, expected {', '.join(map(repr, wanted))}")
    for segment in segments:
        for name in names[segment]:
            if name not in inputs:
                raise ProgramError(f"segment {segment!r} needs input {name!r}")
    return {name: in_microbatches(f"inputs of {name!r}", batch, program.microbatches) for name, batch in inputs.items()}
