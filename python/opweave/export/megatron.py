"""Layouts for Megatron-LM."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

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

    def arguments(self) -> list[str]:
        """Command line arguments."""
        return [
            "--pipeline-model-parallel-size",
            str(self.pipeline_parallel_size),
            "--pipeline-model-parallel-layout",
            self.layout,
        ]


# Names of modules in models of PyTorch, Hugging Face, torchtitan and Megatron-Core, and of layers in examples.
_EMBEDDINGS = frozenset(
    "embedding embeddings embed emb embed_tokens embed_in embed_input input_embedding input_embeddings wte shared"
    " tok_embed tok_emb tok_embedding tok_embeddings token_embed token_emb token_embedding token_embeddings"
    " word_embed word_embedding word_embeddings text_embedding text_embeddings".split()
)
_HEADS = frozenset(
    "loss loss_fn criterion head lm_head output_head output output_layer embed_out unembed unembedding score"
    " classifier cls logits".split()
)
_PREDICTIONS = frozenset("mtp mtp_layer mtp_layers mtp_block mtp_head".split())
# Computed with the embedding, or with the last decoder layer.
_WITHOUT_LETTER = frozenset(
    "wpe pos_embed pos_emb pos_embedding position_embedding position_embeddings positional_embedding embed_positions"
    " rotary rotary_emb rotary_embed rotary_embedding rotary_pos_emb rope freqs_cis"
    " norm final_norm norm_f norm_out last_norm layernorm layer_norm final_layernorm final_layer_norm rmsnorm rms_norm"
    " final_rmsnorm post_layernorm ln ln_f ln_final final_ln embed_norm emb_norm embedding_norm"
    " drop dropout embd_drop embed_dropout embedding_dropout".split()
)


def layer_kind(name: str) -> str:
    """Letter of a layer by its name: E embedding, m multi-token prediction, L output head or loss; nothing ("") for
    what Megatron-LM computes with its neighbour (positions, rotary tables, dropout, a last norm); else t (decoder).

    The name is the path of a module ("model.embed_tokens", "decoder.final_layernorm"). Only whole parts of it count,
    not letters within them ("member" is a decoder layer), and what lies within a numbered layer belongs to that layer
    ("layers.3.norm" is a t, "mtp.layers.0" an m).
    """
    parts = re.split(r"[./]", re.sub(r"[\s-]+", "_", name.lower()))
    number = next((at for at, part in enumerate(parts) if at and part.isdigit()), len(parts))
    whole = [re.sub(r"_?\d+$", "", part) for part in parts[:number]]  # up to a list of layers, if there is one
    if any(part in _PREDICTIONS for part in whole):
        return "m"
    if whole[-1] in _WITHOUT_LETTER:
        return ""
    if any(part in _HEADS for part in whole):
        return "L"
    return "E" if any(part in _EMBEDDINGS for part in whole) else "t"


def megatron_layout(
    program: Placement, layers: Sequence[Sequence[str]], kind: LayerKind = layer_kind
) -> MegatronLayout:
    """The `--pipeline-model-parallel-layout` of a program, or of a placement alone (`compile_placement`).

    `layers` names the layers of every stage in forward order, `kind` gives the letter of a layer. An output head and
    a loss that follow each other in a stage are one L; layers without a letter are left out.

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
    stages = [_letters(stage, kind) for stage in layers]
    _require_order("".join(letter for stage in stages for letter in stage))
    with_prediction = [number for number, stage in enumerate(stages) if "m" in stage]
    if len(with_prediction) > 1:
        raise ProgramError(f"m is in stages {with_prediction}; Megatron-LM keeps multi-token prediction in one stage")
    if with_prediction and ranks[with_prediction[0]] == 0:
        raise ProgramError("m is on rank 0; Megatron-LM allows it on other ranks only")
    return MegatronLayout(_compressed(["".join(stage) for stage in stages]), size, len(names) // size)


def _letters(stage: Sequence[str], kind: LayerKind) -> list[str]:
    letters: list[str] = []
    for letter in map(kind, stage):
        if letter and (letter != "L" or letters[-1:] != ["L"]):
            letters.append(letter)
    return letters


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
