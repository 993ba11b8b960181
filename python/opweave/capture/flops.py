"""Floating-point operations of one primitive.

The formulas are torch's (torch.utils.flop_counter: a multiplication with an addition counts as 2), with ours for what
is missing there: attention on processors and grouped matrix products. Everything else counts as 0: it moves bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Shape = Sequence[int]


def _with_heads_of(query: Shape, other: Shape) -> tuple[int, ...]:
    """Shape of keys or values repeated to the heads of the queries (grouped-query attention)."""
    return (*other[:1], query[1], *other[2:])


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    q = tuple(query.shape)
    return int(
        sdpa_flop_count(  # type: ignore[no-untyped-call]
            q, _with_heads_of(q, key.shape), _with_heads_of(q, value.shape)
        )
    )


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    q = tuple(query.shape)
    k, v = _with_heads_of(q, key.shape), _with_heads_of(q, value.shape)
    return int(
        sdpa_backward_flop_count(  # type: ignore[no-untyped-call]
            tuple(gradient.shape), q, k, v
        )
    )


def _grouped_product(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """Rows of *left* times the matrix of their group (2-D by 3-D), or batches with one ragged dimension.

    Every row meets one group only, so a product (M, K) by (G, K, N) is 2 M K N.
    """
    if left.dim() == 3 and right.dim() == 3:
        return 2 * int(prod(left.shape)) * int(right.shape[-1])
    if left.dim() == 3:  # (G, M, K) by (K, N): columns are grouped
        return 2 * int(left.shape[1]) * int(left.shape[2]) * int(right.shape[-1])
    return 2 * int(prod(left.shape)) * int(right.shape[-1])


def _grouped_product_backward(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """Gradients of both factors: two products of the same size."""
    return 2 * _grouped_product(left, right)


_OURS: dict[str, Callable[..., int]] = {
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "aten._grouped_mm": _grouped_product,
    "transformers.grouped_mm_fallback": _grouped_product,
    "transformers.grouped_mm_fallback_backward": _grouped_product_backward,
}


def kind_of(target: Any) -> str:
    """ "aten.mm" for aten.mm.default."""
    return str(getattr(target, "overloadpacket", target))


def counted(kind: str, target: Any) -> bool:
    """There is a formula for this kind of primitive."""
    return kind in _OURS or getattr(target, "overloadpacket", None) in flop_registry


def flops(target: Any, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> float:
    """Operations of one call; 0 where there is no formula. Tensors need only shapes."""
    formula = _OURS.get(kind_of(target))
    if formula is not None:
        return float(formula(*args, **kwargs))
    packet = getattr(target, "overloadpacket", None)
    if packet in flop_registry:
        return float(flop_registry[packet](*args, **kwargs, out_val=output))
    return 0.0


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype in device types: bf16, fp16, fp32, fp64, int8, ..."""
    return _DTYPES.get(dtype, str(dtype).removeprefix("torch."))


_DTYPES = {
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
}
