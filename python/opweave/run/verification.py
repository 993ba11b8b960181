"""A plan run on processes, held against the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from opweave.run.traced_module import seed_of_draw


class _Drawing(TorchDispatchMode):
    def __init__(self, seed: int, microbatch: int) -> None:
        super().__init__()
        self.seed, self.microbatch, self.draws = seed, microbatch, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.manual_seed(seed_of_draw(self.seed, self.microbatch, self.draws))
            self.draws += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def drawing(seed: int, microbatch: int) -> Iterator[None]:
    """Calls draw the random numbers that the pieces of a traced step draw for this microbatch."""
    with torch.random.fork_rng(devices=[]), _Drawing(seed, microbatch):
        yield
