"""Tracing in which integer inputs keep their values, for models whose control flow depends on them alone.

Image grids say how many patches each picture has; code that loops over them needs their values, and no other tensor's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten

_SYMBOLIC = (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)
_UNINITIALIZED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"}
_LARGEST = 1 << 20  # elements; larger tensors are data, not control


class KnowingMode(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Fake tensors of which some have a value: those that know() names, and what is computed of them and of constants.

    Where the shape or the result of a call depends on values that are all known, it is computed.
    """

    def forget(self, tensor: torch.Tensor) -> None:
        """From now on the tensor has no value."""
        if isinstance(tensor, FakeTensor):
            self.know(tensor, None)

    def know(self, fake: torch.Tensor, value: torch.Tensor | None) -> torch.Tensor:
        """From now on *fake* has this value."""
        fake.opweave_value = value  # type: ignore[attr-defined]
        return fake

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As the fake mode does it, with values where all are known."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._ctc_loss.Tensor and self._value(args[3]) is not None:
            return self._ctc_loss(args[0], self._value(args[3]))
        leaves, structure = tree_flatten((args, kwargs))
        values = [self._value(leaf) for leaf in leaves]
        unknown = any(value is None and isinstance(leaf, _SYMBOLIC) for value, leaf in zip(values, leaves, strict=True))
        if unknown or _is_arbitrary(func):
            if func._schema.is_mutable:
                for leaf in leaves:
                    self.forget(leaf)
            return super().dispatch(func, types, args, kwargs)
        try:
            with self.shape_env.ignore_fresh_unbacked_symbols():  # type: ignore[union-attr]
                result = super().dispatch(func, types, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            result = None
        if any(isinstance(leaf, torch.Tensor) and _is_large(leaf) for leaf in tree_leaves(result)):
            return result
        with torch._C._DisableTorchDispatch():
            real_args, real_kwargs = tree_unflatten(
                [value if isinstance(leaf, torch.Tensor) else leaf for value, leaf in zip(values, leaves, strict=True)],
                structure,
            )
            real = func(*real_args, **real_kwargs)
        return self._with_values(result, real)

    def _value(self, leaf: Any) -> torch.Tensor | None:
        if isinstance(leaf, FakeTensor):
            return getattr(leaf, "opweave_value", None)
        is_constant = isinstance(leaf, torch.Tensor) and not _is_large(leaf)
        return leaf.detach().clone() if is_constant else None  # nothing may change it

    def _ctc_loss(self, scores: torch.Tensor, lengths: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses and the logarithms that the backward needs; the longest target says how many."""
        time, batch, _ = scores.shape
        with self:
            return scores.new_empty(batch), scores.new_empty(batch, time, 2 * int(lengths.max()) + 1)

    def _with_values(self, result: Any, real: Any) -> Any:
        """The fake result of a call with the values of the real one; where shapes or numbers depend on values, a new
        one of the real shape, or the number."""
        fakes, reals = tree_leaves(result), tree_leaves(real)
        concrete = len(fakes) == len(reals) and all(
            isinstance(fake, FakeTensor) and _has_shape(fake, value)
            if isinstance(value, torch.Tensor)
            else fake is value
            for fake, value in zip(fakes, reals, strict=True)
        )
        if not concrete:
            return tree_map(lambda value: self._fake(value) if isinstance(value, torch.Tensor) else value, real)
        for fake, value in zip(fakes, reals, strict=True):
            if isinstance(value, torch.Tensor):
                self.know(fake, value)
        return result

    def _fake(self, value: torch.Tensor) -> torch.Tensor:
        with self:
            fake: Any = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
        return self.know(fake, value)


@contextmanager
def reading_values(wanted: bool) -> Iterator[None]:
    """Lets torch.tensor() take numbers out of tensors whose values are known; it would look at their memory."""

    class Reading(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.tensor:
                args = tree_map_only(torch.Tensor, lambda tensor: tensor.item() if tensor.dim() == 0 else tensor, args)
            return func(*args, **(kwargs or {}))

    with Reading() if wanted else nullcontext():
        yield


def _is_arbitrary(func: Any) -> bool:
    """What it makes is random, or what memory happens to hold."""
    name = str(getattr(func, "overloadpacket", func)).rpartition(".")[2]
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()) or name in _UNINITIALIZED


def _has_shape(fake: torch.Tensor, value: torch.Tensor) -> bool:
    return all(isinstance(size, int) for size in fake.shape) and fake.shape == value.shape


def _is_large(tensor: torch.Tensor) -> bool:
    count = tensor.numel()
    return isinstance(count, int) and count > _LARGEST
