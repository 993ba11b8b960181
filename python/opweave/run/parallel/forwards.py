"""Forwards of one rank whose backward is to come, in whatever form they keep what it needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from opweave.run.backward import BackwardSplit, SegmentBackward, boundary
from opweave.run.errors import ProgramError
from opweave.run.parallel.context import AttentionAgain, ContextAttention
from opweave.run.parallel.program import Mode
from opweave.run.parallel.saved import SavedTensors, plain
from opweave.run.program import Segment

Loss = Callable[[Any], Tensor]  # of a sink's result, for one microbatch


@dataclass
class Forward:
    """One forward: its arguments, and once it can go back, the way back."""

    arguments: list[Any]
    leaves: list[Tensor]  # arguments that other segments made
    loss: Loss | None
    mode: Mode
    outside: list[Tensor]  # what the caller holds: inputs of the model, the target
    random: Tensor | None = None  # state of the generator, where it will run again
    backward: SegmentBackward | None = None
    saved: SavedTensors | None = None
    gradients: list[Tensor | None] = field(default_factory=list)


class Module:
    """A segment's module on this rank, as it runs: with the groups that it talks to inside."""

    def __init__(
        self,
        segment: Segment,
        module: nn.Module,
        context: dist.ProcessGroup | None,
        split: BackwardSplit,
        attention_again: bool = False,
    ) -> None:
        self.segment = segment
        self.module = module
        self.context = context
        self.split: BackwardSplit = split
        self.attention_again = attention_again

    def _attention(self) -> AbstractContextManager[Any]:
        if self.attention_again:
            return AttentionAgain(self.context)
        return ContextAttention(self.context) if self.context else contextlib.nullcontext()

    def outputs(self, arguments: Sequence[Any], loss: Loss | None, *, fixes_buffers: bool = False) -> list[Tensor]:
        """Results, or the loss of a sink; with *fixes_buffers*, buffers stay as they are."""
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()} if fixes_buffers else {}
        with self._attention():
            if buffers:
                made = torch.func.functional_call(self.module, buffers, tuple(arguments))
            else:
                made = self.module(*arguments)
        if not self.segment.outputs:
            return [loss(made)] if loss else [made]
        outputs = [made] if isinstance(made, Tensor) else list(made) if isinstance(made, (tuple, list)) else []
        if len(outputs) != len(self.segment.outputs) or not all(isinstance(value, Tensor) for value in outputs):
            found = f"{len(outputs)} outputs" if outputs else type(made).__name__
            raise ProgramError(
                f"segment {self.segment.name!r} returned {found}, expected {len(self.segment.outputs)} tensors: "
                + ", ".join(self.segment.outputs)
            )
        return outputs

    def run(self, forward: Forward, counts: bool) -> list[Tensor]:
        """The forward, first time: results without a way back, which is in *forward*."""
        if forward.mode == "drop":
            forward.random = _random_state(forward.leaves)
            with torch.no_grad():
                return self.outputs(forward.arguments, forward.loss)
        return self._with_way_back(forward, counts, fixes_buffers=False)

    def again(self, forward: Forward, counts: bool) -> None:
        """A forward that was dropped, made with a way back: with the same random numbers, and no effect on buffers."""
        devices = [forward.leaves[0].device] if forward.leaves and forward.leaves[0].is_cuda else []
        with torch.random.fork_rng(devices=devices):
            assert forward.random is not None
            _set_random_state(forward.random, forward.leaves)
            self._with_way_back(forward, counts, fixes_buffers=True)

    def _with_way_back(self, forward: Forward, counts: bool, *, fixes_buffers: bool) -> list[Tensor]:
        if forward.mode == "host" or counts:
            fixed = [*self.module.parameters(), *self.module.buffers(), *forward.outside]
            forward.saved = SavedTensors([*fixed, *forward.leaves] if forward.mode == "host" else fixed)
        with forward.saved.collecting() if forward.saved else contextlib.nullcontext():
            outputs = [
                boundary(value) for value in self.outputs(forward.arguments, forward.loss, fixes_buffers=fixes_buffers)
            ]
        if forward.saved:
            forward.saved.stay(outputs)
        forward.backward = SegmentBackward(self.module, forward.leaves, outputs, self.split)
        return outputs

    def kept_bytes(self, forward: Forward) -> tuple[list[Tensor], int]:
        """Results of a forward, and the bytes that it keeps for its backward beside them and its inputs. Random numbers
        and buffers stay as they are."""
        devices = [forward.leaves[0].device] if forward.leaves and forward.leaves[0].is_cuda else []
        with torch.random.fork_rng(devices=devices):
            outputs = self._with_way_back(forward, True, fixes_buffers=True)
        assert forward.saved is not None
        passing = {plain(value).untyped_storage().data_ptr() for value in [*forward.leaves, *outputs]}
        return outputs, sum(size for key, size in forward.saved.device_bytes.items() if key not in passing)


def saved_bytes(forwards: Sequence[Forward]) -> tuple[int, int]:
    """Bytes that these forwards keep for their backward, on the device and on the host: what autograd has saved, and
    the tensors that pass between segments. Memory that several share counts once; what was counted by `run(...,
    counts=True)`."""
    memory: dict[int, int] = {}
    host = 0
    for forward in forwards:
        for value in [*forward.leaves, *(forward.backward.outputs if forward.backward else [])]:
            storage = plain(value).untyped_storage()
            memory[storage.data_ptr()] = storage.nbytes()
        if forward.saved is not None:
            memory.update(forward.saved.device_bytes)
            host += forward.saved.host_bytes
    return sum(memory.values()), host


def _random_state(leaves: Sequence[Tensor]) -> Tensor:
    if leaves and leaves[0].is_cuda:
        return torch.cuda.get_rng_state(leaves[0].device)
    return torch.get_rng_state()


def _set_random_state(state: Tensor, leaves: Sequence[Tensor]) -> None:
    if leaves and leaves[0].is_cuda:
        torch.cuda.set_rng_state(state, leaves[0].device)
    else:
        torch.set_rng_state(state)
