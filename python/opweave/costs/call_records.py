"""Calls as text, so that a graph can be read from its file and its calls run where it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opweave.errors import InputError

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


# Arguments that torch writes as "torch.<name>".
_CONSTANTS = ("dtype", "layout", "memory_format")


def encoded(value: Any) -> Any:
    """An argument of a call as JSON knows it; what it does not know is an object with one key that says what it is."""
    import torch

    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [encoded(item) for item in value]
    if isinstance(value, TensorSpec):
        name = str(value.dtype).removeprefix("torch.")
        return {"tensor": name, "shape": list(value.shape), "stride": list(value.stride)}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for kind in _CONSTANTS:
        if isinstance(value, getattr(torch, kind)):
            return {kind: str(value).removeprefix("torch.")}
    return {"other": str(value)}


def decoded(value: Any) -> Any:
    """The argument that encoded() wrote. Raises InputError for what only the process knows that captured it."""
    import torch

    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "tensor" in value:
        return TensorSpec(tuple(value["shape"]), tuple(value["stride"]), getattr(torch, value["tensor"]))
    kind, name = next(iter(value.items()))
    if kind == "float":
        return float(name)
    if kind == "device":
        return torch.device(name)
    if kind in _CONSTANTS:
        return getattr(torch, name)
    raise InputError(f"an argument {name} of a call cannot be read from a file")


def target_of(name: str) -> Any:
    """The function of torch with a name such as "aten.mm.default". Raises InputError."""
    import torch

    found: Any = torch.ops
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except (AttributeError, RuntimeError):
        raise InputError(f'call "{name}": this torch has no such operator') from None
    return found
