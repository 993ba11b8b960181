"""A model as a chain of blocks, each a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from opweave.run.errors import ProgramError


@dataclass(frozen=True)
class Chain:
    """Blocks of a model in the order in which a tensor passes them. Parameters are the model's own."""

    blocks: dict[str, nn.Module]
    layers: tuple[str, ...]
    """Those that a strategy counts; blocks before them go with the first, blocks behind them with the last."""
    parameters: dict[str, dict[str, str]]
    """By block, the model's name of each of its parameters."""
    fixed_positions: bool = False
    """Blocks count tokens from 0, so that the context axis cannot share them out."""


def chain_of(model: nn.Module, blocks: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> Chain:
    """The chain of a model: *blocks* are paths of modules that take what the one before returns; *layers* those of
    them that a strategy counts (all of them if not given).

    Without *blocks*: the children of an nn.Sequential, or the parts of a decoder of transformers whose layers take
    rotary positions (Llama, Mistral, Qwen, ...). Raises ProgramError, by name, for another model and for parameters
    outside of the blocks.
    """
    if blocks is not None:
        chosen = {path: model.get_submodule(path) for path in blocks}
        return _chain(model, chosen, tuple(layers or blocks))
    if isinstance(model, nn.Sequential):
        return _chain(model, dict(model.named_children()), tuple(layers or dict(model.named_children())))
    core = getattr(model, "model", None)
    parts = ("embed_tokens", "layers", "norm", "rotary_emb")
    if core is None or any(not hasattr(core, part) for part in parts) or not hasattr(model, "lm_head"):
        raise ProgramError(
            f"{type(model).__name__} is no chain that is known (an nn.Sequential, a decoder of transformers with "
            "rotary positions)\nhint: give the paths of its blocks, in order: blocks=[...]"
        )
    mask = getattr(model.config, "sliding_window", None)
    if mask is not None:
        raise ProgramError(f"{type(model).__name__} has a sliding window of {mask} tokens, expected none")
    assert isinstance(model.lm_head, nn.Module)
    known: dict[str, nn.Module] = {"embed": core.embed_tokens}
    names = []
    for number, layer in enumerate(core.layers):
        names.append(f"layer{number}")
        known[names[-1]] = _DecoderLayer(layer, core.rotary_emb)
    known["head"] = _Head(core.norm, model.lm_head)
    return _chain(model, known, tuple(names), fixed_positions=True)


class _DecoderLayer(nn.Module):
    """A layer of transformers as a block: it makes positions itself."""

    def __init__(self, layer: nn.Module, rotary: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self._rotary = [rotary]  # not a part of the block
        attention = layer.self_attn
        assert isinstance(attention, nn.Module)
        attention.register_forward_pre_hook(self._with_positions, with_kwargs=True)

    def _with_positions(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Where the layer's tokens lie over the tensor axis, attention sees all of them: positions are made here."""
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        like = torch.empty(0, dtype=hidden.dtype, device=hidden.device)
        return args, {**kwargs, "position_embeddings": self._rotary[0](like, positions)}

    def forward(self, hidden: Tensor) -> Tensor:
        made = self.layer(hidden, attention_mask=None, position_embeddings=None)
        result: Tensor = made[0] if isinstance(made, tuple) else made
        return result


class _Head(nn.Module):
    def __init__(self, norm: nn.Module, lm_head: nn.Module) -> None:
        super().__init__()
        self.norm, self.lm_head = norm, lm_head

    def forward(self, hidden: Tensor) -> Any:
        return self.lm_head(self.norm(hidden))


def _chain(
    model: nn.Module, blocks: dict[str, nn.Module], layers: tuple[str, ...], *, fixed_positions: bool = False
) -> Chain:
    names = {parameter: name for name, parameter in model.named_parameters()}
    unknown = [name for name in layers if name not in blocks]
    if unknown or not layers:
        raise ProgramError(f"layers: {unknown[0] if unknown else 'none'!r}, expected some of {', '.join(blocks)}")
    order = [name for name in blocks if name in layers]
    if list(layers) != order or set(list(blocks)[list(blocks).index(order[0]) :][: len(order)]) != set(order):
        raise ProgramError("layers: expected blocks that follow each other, in their order")
    parameters = {
        name: {path: names[parameter] for path, parameter in block.named_parameters()} for name, block in blocks.items()
    }
    owned = {name for of_block in parameters.values() for name in of_block.values()}
    outside = [name for name in names.values() if name not in owned]
    if outside:
        raise ProgramError(f'parameter "{outside[0]}" is in no block, expected blocks that are the whole model')
    return Chain(blocks, layers, parameters, fixed_positions)
