"""One call of a tensor operator, described so that it can be costed, cached and repeated."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TensorSpec:
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the elements that it shows (of an expanded tensor: of those that exist)."""
        elements = 1
        for size, step in zip(self.shape, self.stride, strict=True):
            elements *= size if step or not size else 1
        return elements * self.dtype.itemsize

    def __str__(self) -> str:
        from opweave.capture.flops import dtype_name

        return f"{dtype_name(self.dtype)}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Call:
    """A call with its costs. Calls with equal signatures take equal time."""

    target: Any
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    signature: str
    """Kind, shapes and dtypes of the arguments, other arguments by value: "aten.mm(bf16[8,16], bf16[16,4])"."""
    flops: float
    bytes: float
    """Read and written, each tensor once."""
    dtype: str
    """Of the floating-point tensors; selects the peak rate."""
    counted: bool
    """There is a formula for the operations; without one the call is timed by its bytes."""

    @staticmethod
    def create(target: Any, kind: str, args: Any, kwargs: dict[str, Any], output: Any) -> Call:
        """Describe a call; tensors of *args*, *kwargs* and *output* are TensorSpecs. Equal calls are one object."""
        return _create(target, kind, _Key(args), _Key(kwargs), _Key(output))


class _Key:
    """A structure of lists and dictionaries by its text, which names every tensor completely."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.text = repr(value)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@functools.lru_cache(maxsize=100_000)
def _create(target: Any, kind: str, args: _Key, kwargs: _Key, output: _Key) -> Call:
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only

    from opweave.capture import flops as formulas

    def as_tensor(spec: TensorSpec) -> torch.Tensor:
        return torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device="meta")

    inputs = [leaf for leaf in tree_leaves((args.value, kwargs.value)) if isinstance(leaf, TensorSpec)]
    outputs = [leaf for leaf in tree_leaves(output.value) if isinstance(leaf, TensorSpec)]
    shaped_args, shaped_kwargs, shaped_output = tree_map_only(
        TensorSpec, as_tensor, (args.value, kwargs.value, output.value)
    )
    floating = [spec.dtype for spec in inputs + outputs if spec.dtype.is_floating_point]
    return Call(
        target=target,
        kind=kind,
        args=args.value,
        kwargs=kwargs.value,
        signature=f"{kind}({', '.join(_text(argument) for argument in (*args.value, *kwargs.value.values()))})",
        flops=formulas.flops(target, shaped_args, shaped_kwargs, shaped_output),
        bytes=float(_bytes_read(kind, inputs, outputs) + sum(spec.bytes for spec in outputs)),
        dtype=formulas.dtype_name(floating[0]) if floating else "fp32",
        counted=formulas.counted(kind, target),
    )


# These read only the rows that they are asked for, not the whole table.
_GATHERING = {"aten.embedding", "aten.index", "aten.gather", "aten.index_select"}
_WRITING_ALONE = {"aten.empty_like", "aten.new_zeros", "aten.zeros_like", "aten.ones_like", "aten.full_like"}


def _bytes_read(kind: str, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> int:
    if kind in _WRITING_ALONE:
        return 0
    if kind in _GATHERING and inputs:
        return min(inputs[0].bytes, sum(spec.bytes for spec in outputs)) + sum(spec.bytes for spec in inputs[1:])
    return sum(spec.bytes for spec in inputs)


def _text(argument: Any) -> str:
    if isinstance(argument, (list, tuple)):
        return "[" + ", ".join(map(_text, argument)) + "]"
    return str(argument)
