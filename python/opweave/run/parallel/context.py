"""Attention whose tokens are shared out over the context axis, and attention that is made again."""

from __future__ import annotations

import contextlib
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


class AttentionAgain(TorchFunctionMode):
    """Inside, `scaled_dot_product_attention` keeps its arguments alone for the backward and is made again there."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *rest: Any, **options: Any
    ) -> Any:
        if options.get("dropout_p", rest[0] if rest else 0.0):
            raise ProgramError("attention that is made again drops out some of its weights at random; expected none")
        if isinstance(attn_mask, Tensor) and attn_mask.requires_grad:
            raise ProgramError("attention that is made again has a mask that learns, expected none that does")

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            with ContextAttention(self.group) if self.group else contextlib.nullcontext():
                made: Tensor = functional.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **options)
            return made

        if not torch.is_grad_enabled():
            return attend(query, key, value)
        return _Again.apply(attend, query, key, value)  # type: ignore[no-untyped-call]


class _Again(torch.autograd.Function):
    """A function of tensors that runs once more for its gradients."""

    @staticmethod
    def forward(ctx: Any, function: Any, *tensors: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        made: Tensor = function(*tensors)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            made = ctx.function(*leaves)
        return (None, *torch.autograd.grad(made, leaves, gradients))
