"""What the layers of a model are, by the names of their modules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from opweave.run.errors import ProgramError

Role = Literal[
    "embedding", "positions", "rotary", "dropout", "decoder", "state space", "prediction", "norm", "head", "loss"
]

# Names of modules in models of PyTorch, Hugging Face, torchtitan and Megatron-Core, and of layers in examples.
_EMBEDDINGS = frozenset(
    "embedding embeddings embed emb embed_tokens embed_in embed_input input_embedding input_embeddings wte shared"
    " tok_embed tok_emb tok_embedding tok_embeddings token_embed token_emb token_embedding token_embeddings"
    " word_embed word_embedding word_embeddings text_embedding text_embeddings".split()
)
_HEADS = frozenset(
    "head lm_head output_head output output_layer embed_out unembed unembedding score classifier cls logits".split()
)
_LOSSES = frozenset("loss loss_fn criterion".split())
_PREDICTIONS = frozenset("mtp mtp_layer mtp_layers mtp_block mtp_head".split())
_BY_LAST_PART: dict[Role, frozenset[str]] = {
    "positions": frozenset(
        "wpe pos_embed pos_emb pos_embedding position_embedding position_embeddings positional_embedding"
        " embed_positions".split()
    ),
    "rotary": frozenset("rotary rotary_emb rotary_embed rotary_embedding rotary_pos_emb rope freqs_cis".split()),
    "norm": frozenset(
        "norm final_norm norm_f norm_out last_norm layernorm layer_norm final_layernorm final_layer_norm rmsnorm"
        " rms_norm final_rmsnorm post_layernorm ln ln_f ln_final final_ln embed_norm emb_norm embedding_norm".split()
    ),
    "dropout": frozenset("drop dropout embd_drop embed_dropout embedding_dropout".split()),
}
# Parts of layers that Megatron-LM and torchtitan build from no list of equal decoder layers.
_STATE_SPACES = frozenset("mamba mamba2 mamba_mixer ssm ssm_block rwkv recurrent_block hyena".split())
_ENCODERS = frozenset("encoder vision visual vision_model vision_tower audio audio_tower audio_model image".split())
_NUMBERED = re.compile(r"(layers?|blocks?|decoder|h|l)_?\d+")


def parts_of(name: str) -> list[str]:
    """Parts of a module's path, in lower case."""
    return re.split(r"[./]", re.sub(r"[\s-]+", "_", name.lower()))


def _end_of_layer(parts: Sequence[str]) -> int:
    """How many parts name a layer of a list ("model.layers.3" of "model.layers.3.mlp"); 0 where there is none."""
    for at, part in enumerate(parts):
        if (at and part.isdigit()) or _NUMBERED.fullmatch(part):
            return at + 1
    return 0


def is_numbered(name: str) -> bool:
    """Is it a layer of a list, or lies in one?"""
    return _end_of_layer(parts_of(name)) > 0


def role_of(name: str) -> Role:
    """What a layer is, by the path of its module ("model.embed_tokens", "decoder.final_layernorm").

    Only whole parts count, not letters within them ("member" is a decoder layer), and what lies within a numbered layer
    belongs to that layer ("layers.3.norm" is a decoder layer, "mtp.layers.0" a prediction). Unknown names are decoder
    layers.
    """
    parts = parts_of(name)
    if _STATE_SPACES & {re.sub(r"_?\d+$", "", part) for part in parts} or _STATE_SPACES & set(parts):
        return "state space"
    number = next((at for at, part in enumerate(parts) if at and part.isdigit()), len(parts))
    whole = [re.sub(r"_?\d+$", "", part) for part in parts[:number]]  # up to a list of layers, if there is one
    if _PREDICTIONS & set(whole):
        return "prediction"
    for role, names in _BY_LAST_PART.items():
        if whole[-1] in names:
            return role
    if _LOSSES & set(whole):
        return "loss"
    if _HEADS & set(whole):
        return "head"
    return "embedding" if _EMBEDDINGS & set(whole) else "decoder"


def whole_layers(stages: Sequence[Sequence[str]], target: str) -> list[list[str]]:
    """The layers of every stage with each numbered layer once, whatever modules of it are named; without modules that
    only hold others, and of predictions without a number one.

    Raises ProgramError, in the name of `target`, for a layer in two stages, layers of a state space model, and two
    lists of layers one of which is an encoder's.
    """
    named = [name for stage in stages for name in stage]
    hybrid = next((name for name in named if role_of(name) == "state space"), None)
    if hybrid is not None:
        raise ProgramError(
            f'layer "{hybrid}" is no attention layer; {target} has no layout for hybrid models '
            "(Megatron-LM takes --hybrid-layer-pattern instead, which excludes one)"
        )
    holders = {name for name in named if any(other.startswith(name + ".") for other in named) and not is_numbered(name)}
    numbered_predictions = any(role_of(name) == "prediction" and is_numbered(name) for name in named)
    stage_of: dict[str, int] = {}
    result: list[list[str]] = []
    for number, stage in enumerate(stages):
        layers: list[str] = []
        for name in stage:
            if name in holders:
                continue
            layer = name
            if is_numbered(name):
                layer = ".".join(re.split(r"[./]", name)[: _end_of_layer(parts_of(name))])
            elif role_of(name) == "prediction":
                if numbered_predictions:
                    continue
                layer = name.split(".")[0]
            is_shared = role_of(layer) in ("positions", "rotary", "norm", "dropout")  # may be computed where needed
            if stage_of.setdefault(layer, number) != number and not is_shared:
                raise ProgramError(f'layer "{layer}" is in stages {stage_of[layer]} and {number}, expected one')
            if layer not in layers:
                layers.append(layer)
        result.append(layers)
    _require_one_list(result, target)
    return result


def _require_one_list(stages: Sequence[Sequence[str]], target: str) -> None:
    lists = dict.fromkeys(
        ".".join(parts_of(layer)[:-1])
        for stage in stages
        for layer in stage
        if role_of(layer) == "decoder" and is_numbered(layer)
    )
    encoder = next((name for name in lists if _ENCODERS & set(name.split("."))), None)
    if encoder is not None and len(lists) > 1:
        other = next(name for name in lists if name != encoder)
        raise ProgramError(
            f'layers of "{encoder}" and of "{other}" are in the pipeline; {target} has one list of layers'
        )
