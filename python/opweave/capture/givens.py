"""What a traced step takes from outside, by the names of its author: inputs, buffers, constants, gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import SequenceKey, tree_flatten_with_path

Kind = Literal["input", "closure", "buffer", "constant", "gradient"]


@dataclass(frozen=True)
class Given:
    """One tensor (or number) that a step does not make."""

    name: str
    """The argument ("input_ids", "boxes.0"), the path of the buffer, the variable of the loss function, or
    "constant.0"."""
    kind: Kind
    leaf: int = -1
    """Of an input: its place among the leaves of the arguments."""
    value: Any = None
    """Of a constant, where it has one."""


def names_of_leaves(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], has_target: bool) -> list[str]:
    """The names of the leaves of (args, kwargs), in their order: parameters of forward(), keys and indices.

    With *has_target* the first argument is what the loss takes beside the output, and not the model's.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())
    positional: list[str] = ["target"] * has_target
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += [f"{parameter.name}.{i}" for i in range(len(args))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(parameter.name)

    def name(path: tuple[Any, ...]) -> str:
        where, first, *rest = path
        assert isinstance(where, SequenceKey)
        head = positional[first.idx] if where.idx == 0 and first.idx < len(positional) else _step(first)
        return ".".join([head, *map(_step, rest)])

    return [name(path) for path, _ in tree_flatten_with_path((tuple(args), dict(kwargs)))[0]]


def _step(key: Any) -> str:
    """An index, a key, or the name of a field."""
    return str(next(getattr(key, part) for part in ("key", "idx", "name") if hasattr(key, part)))


def tensors_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Buffers and plain attributes of a model that are tensors, by their path; whether it is a buffer."""
    for name, buffer in model.named_buffers(remove_duplicate=False):
        yield name, buffer, True
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            prefix = f"{path}.{attribute}" if path else attribute
            held = value if isinstance(value, (list, tuple)) else [value]
            for place, entry in enumerate(held):
                if isinstance(entry, torch.Tensor) and not isinstance(module, nn.RNNBase):  # its list is of weights
                    yield prefix if entry is value else f"{prefix}.{place}", entry, False


def value_at(model: nn.Module, path: str) -> torch.Tensor:
    """The tensor of tensors_of() with this path. Raises KeyError."""
    for name, tensor, _ in tensors_of(model):
        if name == path:
            return tensor
    raise KeyError(path)


def variables_of(function: Callable[..., Any] | None) -> dict[int, str]:
    """Names of the variables outside of a function that hold tensors, by the identity of the tensor."""
    if not inspect.isfunction(function):
        return {}
    outside = inspect.getclosurevars(function)
    variables = {**outside.globals, **outside.nonlocals}
    return {id(value): name for name, value in variables.items() if isinstance(value, torch.Tensor)}
