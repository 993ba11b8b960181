"""Collectives inside of actions, which DTensor and the exchange of tokens do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

_NAMESPACES = ("_c10d_functional", "_c10d_functional_autograd", "c10d")


@dataclass(frozen=True)
class Within:
    """A collective, or the wait for one, inside of an instruction."""

    name: str

    def __str__(self) -> str:
        return self.name


class CollectiveRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes down when calls of torch's collectives begin and end; where a call gives back work that is under way, when
    that has ended. Slows every operator down a little."""

    def __init__(self, mark: Callable[[], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mark = mark
        self.marks: list[tuple[Within, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # its local tensors come by
        if func.namespace not in _NAMESPACES:
            return func(*args, **(kwargs or {}))
        start = self.mark()
        made = func(*args, **(kwargs or {}))
        if func.namespace == "c10d":  # its callers wait at once, but not by an operator that would come by here
            for work in made if isinstance(made, tuple) else (made,):
                if isinstance(work, torch.ScriptObject):
                    work.wait()  # type: ignore[attr-defined]
        self.marks.append((Within(func.overloadpacket.__name__.rstrip("_")), start, self.mark()))
        return made
