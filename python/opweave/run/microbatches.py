"""A batch as the arguments of a captured model for each of its microbatches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from opweave.capture.givens import names_of_leaves
from opweave.capture.step import arguments_of
from opweave.run.errors import ProgramError


@dataclass(frozen=True)
class Microbatches:
    """Leaves of the arguments of every microbatch, with the names of their places."""

    names: list[str]
    leaves: list[list[Any]]
    structure: Any
    has_target: bool

    def arguments(self, microbatch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of the traced step; the target, if there is one, is the first."""
        args, kwargs = tree_unflatten(self.leaves[microbatch], self.structure)
        return args, kwargs

    def loss_of(self, model: nn.Module, loss: Callable[..., Any], microbatch: int) -> Any:
        """loss(output) or loss(output, target), of the model itself."""
        args, kwargs = self.arguments(microbatch)
        if self.has_target:
            return loss(model(*args[1:], **kwargs), args[0])
        return loss(model(*args, **kwargs))


def split(
    model: nn.Module,
    batch: Sequence[Any] | Mapping[str, Any],
    target: Any,
    count: int,
    captured_bytes: Mapping[str, int],
) -> Microbatches:
    """Cut a batch into *count* microbatches: tensors along their first dimension, but those that are as large as the
    captured ones (and all that is no tensor) are the same for each.

    Raises ProgramError for an input that is neither *count* times as large as the captured one nor as large.
    """
    args, kwargs = arguments_of(batch, target)
    names = names_of_leaves(model, args, kwargs, target is not None)
    leaves, structure = tree_flatten((args, dict(kwargs)))
    rows = [_parts(name, leaf, count, captured_bytes.get(name)) for name, leaf in zip(names, leaves, strict=True)]
    return Microbatches(names, [list(parts) for parts in zip(*rows, strict=True)], structure, target is not None)


def require_equal_integers(microbatches: Microbatches) -> None:
    """Raises ProgramError where a traced step in which the values of integers are fixed is not that of all of them."""
    first, *others = microbatches.leaves
    for place, name in enumerate(microbatches.names):
        value = first[place]
        if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex():
            continue
        for number, leaves in enumerate(others, start=1):
            if not torch.equal(value, leaves[place]):
                raise ProgramError(
                    f'input "{name}" differs between microbatches 0 and {number}; the control flow of this model '
                    "depends on the values of integers, so that one captured step stands for one set of them"
                )


def _parts(name: str, leaf: Any, count: int, size: int | None) -> list[Any]:
    if not isinstance(leaf, Tensor) or (leaf.nbytes == size and count > 1):
        return [leaf] * count
    rows = leaf.shape[0] if leaf.dim() else 0
    if count == 1 and size in (None, leaf.nbytes):
        return [leaf]
    if rows and rows % count == 0 and (size is None or leaf.nbytes == count * size):
        return list(leaf.chunk(count))
    if size is None:
        return [leaf] * count  # nothing reads it
    raise ProgramError(
        f'input "{name}" is {leaf.dtype} of {tuple(leaf.shape)}, {leaf.nbytes} bytes; expected {count} x {size} bytes '
        f"for {count} microbatches of the captured size"
    )
