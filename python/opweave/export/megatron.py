"""Layouts for Megatron-LM."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from opweave.run.chain import ranks_of, stages_of
from opweave.run.errors import ProgramError
from opweave.run.program import Program

LayerKind = Callable[[str], str]


@dataclass(frozen=True)
class MegatronLayout:
    """A partition into stages for Megatron-LM. Megatron keeps its own order of actions (1F1B, interleaved with several
    stages per rank): the layout carries where layers lie, not when they run."""

    layout: str
    pipeline_parallel_size: int
    stages_per_rank: int

    def arguments(self) -> list[str]:
        """Command line arguments."""
        return [
            "--pipeline-model-parallel-size",
            str(self.pipeline_parallel_size),
            "--pipeline-model-parallel-layout",
            self.layout,
        ]


def layer_kind(name: str) -> str:
    """Letter of a layer by its name: E embedding, m multi-token prediction, L loss or head, else t (decoder)."""
    last = name.lower()
    if re.search(r"emb|wte", last):
        return "E"
    if re.search(r"mtp", last):
        return "m"
    if re.search(r"loss|lm_head|head$|^output", last):
        return "L"
    return "t"


def megatron_layout(program: Program, layers: Sequence[Sequence[str]], kind: LayerKind = layer_kind) -> MegatronLayout:
    """The `--pipeline-model-parallel-layout` of a program.

    `layers` names the layers of every stage in forward order, `kind` gives the letter of a layer.

    Raises ProgramError where Megatron-LM cannot express it: a stage map other than stage s on rank s mod P, more or
    fewer than one E (first) and one L (last), an m before a t, in several stages or on rank 0; and as `stages_of`.
    """
    names = stages_of(program)
    size = program.processes
    ranks = ranks_of(program)
    if len(layers) != len(names):
        raise ProgramError(f"layers has {len(layers)} entries, expected one for each of {len(names)} stages")
    if ranks != [stage % size for stage in range(len(names))] or len(names) % size:
        raise ProgramError(f"stages lie on ranks {ranks}; Megatron-LM puts stage s on rank s mod {size}")
    stages = [[kind(layer) for layer in stage] for stage in layers]
    _require_order("".join(letter for stage in stages for letter in stage))
    with_prediction = [number for number, stage in enumerate(stages) if "m" in stage]
    if len(with_prediction) > 1:
        raise ProgramError(f"m is in stages {with_prediction}; Megatron-LM keeps multi-token prediction in one stage")
    if with_prediction and ranks[with_prediction[0]] == 0:
        raise ProgramError("m is on rank 0; Megatron-LM allows it on other ranks only")
    return MegatronLayout(_compressed(["".join(stage) for stage in stages]), size, len(names) // size)


def _require_order(letters: str) -> None:
    unknown = sorted(set(letters) - set("EtmL"))
    if unknown:
        raise ProgramError(f"layer kind is {unknown[0]!r}, expected E, t, m or L")
    for letter, place in (("E", 0), ("L", len(letters) - 1)):
        if letters.count(letter) != 1 or letters[place] != letter:
            raise ProgramError(
                f"layers are {letters}; Megatron-LM needs exactly one {letter}, {'first' if letter == 'E' else 'last'}"
            )
    if not re.fullmatch(r"Et*m*L", letters):
        raise ProgramError(f"layers are {letters}; Megatron-LM needs every m after all t")


def _compressed(stages: list[str]) -> str:
    """Stages joined by "|", equal ones in a row and equal letters in a row written once with their number."""
    parts = []
    for stage, equal in groupby(stages):
        letters = "".join(_repeated(letter, len(list(run))) for letter, run in groupby(stage))
        parts.append((letters, len(list(equal))))
    text = ""
    for number, (letters, count) in enumerate(parts):
        last = number + 1 == len(parts)
        if count == 1:
            text += letters + ("" if last else "|")
        elif last:  # a repeated group ends with its separator, which the last stage must not have
            text += (f"({letters}|)*{count - 1}" if count > 2 else f"{letters}|") + letters
        else:
            text += f"({letters}|)*{count}"
    return text


def _repeated(letter: str, count: int) -> str:
    return letter if count == 1 else f"{letter}*{count}"
