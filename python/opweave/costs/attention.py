"""Attention under the names that it has on other devices than the processor on which it was traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from opweave.costs.call import Call

_FORWARD = "aten._scaled_dot_product_flash_attention_for_cpu"
_BACKWARD = "aten._scaled_dot_product_flash_attention_for_cpu_backward"
_ELSEWHERE = ("flash", "efficient", "cudnn", "fused_attention_overrideable")


def is_attention(call: Call) -> bool:
    """The call exists on processors only."""
    return call.kind in (_FORWARD, _BACKWARD)


def fused_attention(call: Call) -> dict[str, Any] | None:
    """What the model of costs needs to know of attention in one kernel (docs/formats.md); None for other calls.

    "tokens" of the sequence that is attended to, whether "causal", and whether this is the "backward" pass.
    """
    if not call.kind.startswith("aten._scaled_dot_product_"):
        return None
    names = [argument.name for argument in call.target._schema.arguments]
    values = dict(zip(names, call.args, strict=False)) | call.kwargs
    return {
        "tokens": values["key"].shape[-2],
        "causal": bool(values.get("is_causal", False)),
        "backward": "backward" in call.kind,
    }


def profiler_names(call: Call) -> tuple[list[str], int]:
    """Names of the same work in a trace of another device, and how many of its first tensors have the same shapes."""
    suffix, tensors = ("_backward", 4) if call.kind == _BACKWARD else ("", 3)
    return [f"aten::_scaled_dot_product_{name}_attention{suffix}" for name in _ELSEWHERE], tensors


def portable(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """The same work as *call* on tensors of any device, by the kernel that PyTorch chooses there."""
    import torch

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rest: tuple[Any, ...]) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=kwargs.get("attn_mask"),
            dropout_p=rest[0] if rest else 0.0,
            is_causal=rest[1] if len(rest) > 1 else False,
            scale=kwargs.get("scale"),
            enable_gqa=query.shape[1] != key.shape[1],
        )

    if call.kind == _FORWARD:
        return lambda: attend(args[0], args[1], args[2], args[3:5])
    gradient, *sources = args[:4]
    leaves = [source.detach().requires_grad_() for source in sources]
    with torch.enable_grad():
        output = attend(leaves[0], leaves[1], leaves[2], args[6:8])
    return lambda: torch.autograd.grad(output, leaves, gradient, retain_graph=True)
