"""What the rows have in common: tiny sizes of published architectures, from configurations alone, with one microbatch.

A row is a function that gives a function that builds the model, its arguments and its loss. Hugging Face models are
built on the processor with random weights, so that FlopCounterMode can run them for real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig

LENGTH, BATCH = 16, 2


@dataclass(frozen=True)
class Row:
    """One model with one microbatch."""

    build: Callable[[], nn.Module]
    inputs: dict[str, Any]
    loss: Callable[[Any], torch.Tensor]


def ids(length: int = LENGTH, words: int = 64) -> torch.Tensor:
    """Tokens; values matter only to what counts them."""
    return torch.arange(BATCH * length).reshape(BATCH, length) % (words - 8) + 4


def pictures(size: int, channels: int = 3) -> torch.Tensor:
    """Pictures."""
    return torch.rand(BATCH, channels, size, size)


def own_loss(output: Any) -> torch.Tensor:
    """The loss that a Hugging Face model computes from its labels."""
    return output.loss


def first_output(output: Any) -> torch.Tensor:
    """A loss of what a model without labels gives."""
    value = output if isinstance(output, torch.Tensor) else output[0]
    return value.float().square().mean()


def hugging_face(
    kind: str, head: str, inputs: dict[str, Any], *, loss: Any = own_loss, dtype: Any = None, **sizes: Any
) -> Row:
    """A model of a kind ("llama") with a head ("ForCausalLM") or the class named *head*."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **sizes)
        auto = getattr(transformers, f"AutoModel{head}", None)
        model: nn.Module = auto.from_config(config) if auto is not None else getattr(transformers, head)(config)
        return (model if dtype is None else model.to(dtype)).train()

    return Row(build, inputs, loss)


LLAMA = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 64,
}
GROUPED = {**LLAMA, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
GPT = {
    "vocab_size": 64,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SEQ2SEQ = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 2,
}
T5 = {
    "vocab_size": 64,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
MLA = {
    **LLAMA,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 4,
}


def causal(kind: str, **sizes: Any) -> Row:
    """A language model."""
    return hugging_face(kind, "ForCausalLM", {"input_ids": ids(), "labels": ids()}, **sizes)


def checkpointed(row: Row) -> Row:
    """The same with activation checkpointing."""

    def build() -> nn.Module:
        model = row.build()
        model.gradient_checkpointing_enable()  # type: ignore[operator]
        return model

    return Row(build, row.inputs, row.loss)


def masked(kind: str, **sizes: Any) -> Row:
    """An encoder of texts."""
    return hugging_face(kind, "ForMaskedLM", {"input_ids": ids(), "labels": ids()}, **sizes)


def sequences(kind: str, **sizes: Any) -> Row:
    """Encoder and decoder of texts."""
    return hugging_face(kind, "ForSeq2SeqLM", {"input_ids": ids(), "labels": ids()}, **sizes)


def images(kind: str, size: int = 32, **sizes: Any) -> Row:
    """An encoder of pictures."""
    labels = torch.arange(BATCH) % 4
    return hugging_face(kind, "ForImageClassification", {"pixel_values": pictures(size), "labels": labels}, **sizes)


BERT = {**LLAMA, "type_vocab_size": 2}
