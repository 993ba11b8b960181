"""Layouts for Megatron-LM."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opweave import _core
from opweave.export.names import Role, role_of, whole_layers
from opweave.run.chain import ranks_of, stages_of
from opweave.run.errors import ProgramError
from opweave.run.program import Placement

LayerKind = Callable[[str], str]


@dataclass(frozen=True)
class MegatronLayout:
    """A partition into stages for Megatron-LM. Megatron keeps its own order of actions (1F1B, interleaved with several
    stages per rank): the layout carries where layers lie, not when they run."""

    layout: str
    pipeline_parallel_size: int
    stages_per_rank: int
    layers: int  #: decoder layers
    predictions: int  #: layers of multi-token prediction

    def arguments(self) -> list[str]:
        """Command line arguments: what the layout must agree with, and the layout."""
        predictions = ["--mtp-num-layers", str(self.predictions)] if self.predictions else []
        return [
            "--num-layers",
            str(self.layers),
            *predictions,
            "--pipeline-model-parallel-size",
            str(self.pipeline_parallel_size),
            "--pipeline-model-parallel-layout",
            self.layout,
        ]


_LETTERS: dict[Role, str] = {
    "embedding": "E",
    "decoder": "t",
    "state space": "t",
    "prediction": "m",
    "head": "L",
    "loss": "L",
}


def layer_kind(name: str) -> str:
    """Letter of a layer by its name (`role_of`): E embedding, m multi-token prediction, L output head or loss; nothing
    ("") for what Megatron-LM computes with its neighbour (positions, rotary tables, dropout, a last norm); else t
    (decoder)."""
    return _LETTERS.get(role_of(name), "")


def megatron_layout(
    program: Placement, layers: Sequence[Sequence[str]], kind: LayerKind = layer_kind
) -> MegatronLayout:
    """The `--pipeline-model-parallel-layout` of a program, or of a placement alone (`compile_placement`).

    `layers` names the layers of every stage in forward order, or modules of them (`whole_layers`); `kind` gives the
    letter of a layer, each of which is then one. Embeddings in a row in a stage are one E, an output head and a loss
    one L; layers without a letter are left out, so that a stage may be empty.

    Raises ProgramError where Megatron-LM cannot express it: a stage map other than stage s on rank s mod P, several
    stages on one rank alone, no t, more or fewer than one E (first) and one L (last), an m before a t, in several
    stages or in a stage that is not the last of its rank; and as `stages_of` and `whole_layers`.
    """
    names = stages_of(program)
    size = program.processes
    ranks = ranks_of(program)
    if len(layers) != len(names):
        raise ProgramError(f"layers has {len(layers)} entries, expected one for each of {len(names)} stages")
    if ranks != [stage % size for stage in range(len(names))] or len(names) % size:
        raise ProgramError(f"stages lie on ranks {ranks}; Megatron-LM puts stage s on rank s mod {size}")
    if size == 1 and len(names) > 1:
        raise ProgramError(f"{len(names)} stages lie on one rank; Megatron-LM interleaves stages of at least 2 ranks")
    whole = whole_layers(layers, "Megatron-LM") if kind is layer_kind else layers
    stages = [_letters(stage, kind) for stage in whole]
    _require_order(stages)
    with_prediction = [number for number, stage in enumerate(stages) if "m" in stage]
    if len(with_prediction) > 1:
        raise ProgramError(f"m is in stages {with_prediction}; Megatron-LM keeps multi-token prediction in one stage")
    if with_prediction and with_prediction[0] < len(stages) - size:
        raise ProgramError(
            f"m is in stage {with_prediction[0]}, after which rank {ranks[with_prediction[0]]} has another; "
            "Megatron-LM allows it in the last stage of a rank only"
        )
    letters = [letter for stage in stages for letter in stage]
    return MegatronLayout(
        _core.megatron_layout(["".join(stage) for stage in stages]),
        size,
        len(names) // size,
        letters.count("t"),
        letters.count("m"),
    )


def _letters(stage: Sequence[str], kind: LayerKind) -> list[str]:
    letters: list[str] = []
    for letter in map(kind, stage):
        if letter and (letter not in ("E", "L") or letters[-1:] != [letter]):
            letters.append(letter)
    return letters


def _require_order(stages: Sequence[Sequence[str]]) -> None:
    letters = "".join(letter for stage in stages for letter in stage)
    unknown = sorted(set(letters) - set("EtmL"))
    if unknown:
        raise ProgramError(f"layer kind is {unknown[0]!r}, expected E, t, m or L")
    for letter, place in (("E", 0), ("L", len(letters) - 1)):
        if letters.count(letter) != 1 or letters[place] != letter:
            where = [number for number, stage in enumerate(stages) if letter in stage]
            raise ProgramError(
                f"layers are {letters}, {letter} in stages {where}; Megatron-LM needs exactly one {letter}, "
                f"{'first' if letter == 'E' else 'last: head and loss together'}"
            )
    if "t" not in letters:
        raise ProgramError(f"layers are {letters}; Megatron-LM needs a t, a decoder layer")
    if not re.fullmatch(r"Et*m*L", letters):
        raise ProgramError(f"layers are {letters}; Megatron-LM needs every m after all t")
