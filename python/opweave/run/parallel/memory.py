"""What a rank keeps for backward passes at every moment, as its program says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from opweave.run.parallel.program import Compute, Copy, ParallelProgram
from opweave.run.step import TensorSpec


def planned_bytes(
    program: ParallelProgram, rank: int, kept: Mapping[str, int], specs: Mapping[str, TensorSpec]
) -> list[tuple[int, int]]:
    """Bytes on the device and on the host of a rank after each Compute of it.

    *kept*: what one forward of each segment keeps beside its inputs and results; *specs* of whole tensors. Inputs of a
    forward are there until its backward; its results too, unless it is dropped, and again once it is made again; a
    tensor that several have counts once.
    """
    base = program.base
    splits_backward = {c.action.key[1:] for c in program.computes(rank) if c.action.phase == "W"}
    open_forwards: dict[tuple[str, int], Literal["kept", "made again", "dropped", "away"]] = {}
    result: list[tuple[int, int]] = []
    for step in program.ranks[rank]:
        if isinstance(step, Copy):
            open_forwards[step.segment, step.microbatch] = "away" if step.kind == "out" else "kept"
        if not isinstance(step, Compute):
            continue
        key = step.action.segment, step.action.microbatch
        segment = base.segments[key[0]]
        if step.kind == "again":
            open_forwards[key] = "made again"
        elif step.action.phase == "F":
            if segment.has_backward:
                open_forwards[key] = "dropped" if program.modes[key] == "drop" else "kept"
        elif step.action.phase != "I" or key not in splits_backward:
            del open_forwards[key]
        tensors: dict[tuple[str, int, bool], int] = {}
        device = host = 0
        for (name, b), form in open_forwards.items():
            device += kept[name] if form in ("kept", "made again") else 0
            host += kept[name] if form == "away" else 0
            for entry in base.segments[name].inputs:
                if entry.producer:
                    tensors[entry.tensor, b, False] = _bytes(program, rank, entry.tensor, name, specs, is_input=True)
            for tensor in base.segments[name].outputs if form != "dropped" else ():
                made_again = form == "made again"
                tensors[tensor, b, made_again] = _bytes(program, rank, tensor, name, specs, is_input=False)
        result.append((device + sum(tensors.values()), host))
    return result


def _bytes(
    program: ParallelProgram,
    rank: int,
    tensor: str,
    segment: str,
    specs: Mapping[str, TensorSpec],
    *,
    is_input: bool,
) -> int:
    """Of a rank's part."""
    spec = specs[tensor]
    assert spec.shape is not None
    box = program.box(rank, tensor, segment, is_input=is_input)
    return math.prod(box.shape(spec.shape, tensor)) * spec.dtype.itemsize
