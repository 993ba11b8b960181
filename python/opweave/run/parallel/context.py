"""Attention whose tokens are shared out over the context axis."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from opweave.run.errors import ProgramError
from opweave.run.parallel.exchange import gather


class ContextAttention(TorchFunctionMode):
    """Inside, `scaled_dot_product_attention` lets each rank's queries see the keys and values of all tokens.

    Rank i holds the ith of equal runs of tokens. Keys and values are gathered, and a causal mask knows where the
    queries stand; the result is that of the whole sequence. Refused: masks given as tensors, which a rank has only its
    own rows and columns of.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.group = group
        self.rank = dist.get_rank(group)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        if attn_mask is not None:
            raise ProgramError(
                "attention has a mask that is a tensor, of which a rank of the context axis has its own tokens alone; "
                "expected is_causal=True or no mask"
            )
        if any(isinstance(tensor, DTensor) for tensor in (query, key, value)):
            raise ProgramError("attention on the context axis has DTensors, expected local tensors (use_local_output)")
        key, value = gather(key, key.dim() - 2, self.group), gather(value, value.dim() - 2, self.group)
        mask = None
        if is_causal:
            mine = torch.arange(query.shape[-2], device=query.device) + self.rank * query.shape[-2]
            mask = mine[:, None] >= torch.arange(key.shape[-2], device=key.device)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout_p, **options
        )
