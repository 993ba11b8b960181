"""One call of a tensor operator, described so that it can be costed, cached and repeated."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opweave.costs.attention import fused_attention
from opweave.costs.call_records import TensorSpec, decoded, encoded, target_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Call:
    """A call with its costs. Calls with equal signatures take equal time."""

    target_name: str
    """Of the function of torch: "aten.mm.default"."""
    kind: str
    signature: str
    """Kind, shapes and dtypes of the arguments, other arguments by value: "aten.mm(bf16[8,16], bf16[16,4])"."""
    flops: float
    bytes: float
    """Read and written, each tensor once."""
    dtype: str
    """Of the floating-point tensors; selects the peak rate."""
    counted: bool
    """There is a formula for the operations; without one the call is timed by its bytes."""
    encoded_args: list[Any]
    """Arguments and, by name, keyword arguments, as call_records.encoded writes them."""
    encoded_kwargs: dict[str, Any]

    @property
    def target(self) -> Any:
        """The function of torch. Raises InputError where it does not exist."""
        return target_of(self.target_name)

    @functools.cached_property
    def args(self) -> tuple[Any, ...]:
        """The arguments; tensors are TensorSpecs. Raises InputError for what a file cannot hold."""
        return tuple(decoded(self.encoded_args))

    @functools.cached_property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, like args."""
        return {name: decoded(value) for name, value in self.encoded_kwargs.items()}

    def to_record(self) -> dict[str, Any]:
        """The call in the file of a graph (docs/formats.md)."""
        attention = fused_attention(self)
        return {
            **({} if attention is None else {"attention": attention}),
            "call": self.target_name,
            "signature": self.signature,
            "flops": self.flops,
            "bytes": self.bytes,
            "dtype": self.dtype,
            "counted": self.counted,
            "args": self.encoded_args,
            "kwargs": self.encoded_kwargs,
        }

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> Call:
        """The call of a record that to_record wrote."""
        return Call(
            target_name=str(record["call"]),
            kind=str(record["signature"]).partition("(")[0],
            signature=str(record["signature"]),
            flops=float(record["flops"]),
            bytes=float(record["bytes"]),
            dtype=str(record["dtype"]),
            counted=bool(record["counted"]),
            encoded_args=list(record["args"]),
            encoded_kwargs=dict(record["kwargs"]),
        )

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
        target_name=str(target),
        kind=kind,
        signature=f"{kind}({', '.join(_text(argument) for argument in (*args.value, *kwargs.value.values()))})",
        flops=formulas.flops(target, shaped_args, shaped_kwargs, shaped_output),
        bytes=float(_bytes_read(kind, inputs, outputs) + sum(spec.bytes for spec in outputs)),
        dtype=formulas.dtype_name(floating[0]) if floating else "fp32",
        counted=formulas.counted(kind, target),
        encoded_args=encoded(args.value),
        encoded_kwargs={name: encoded(value) for name, value in kwargs.value.items()},
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
