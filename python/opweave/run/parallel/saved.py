"""What a forward keeps for its backward: on the device, on the host, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class _Handle:
    """A saved tensor as a view of memory that may be elsewhere for a while."""

    memory: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    spec: Any  # of the DTensor that it is the local tensor of, else None


class SavedTensors:
    """Of one forward. With `collecting()` around it, everything that autograd saves is here, but for parameters and
    buffers (*fixed*), which are there anyway. Views of one memory are one."""

    def __init__(self, fixed: Iterable[Tensor]) -> None:
        self._fixed = {plain(tensor).untyped_storage().data_ptr() for tensor in fixed}
        self._device: dict[int, torch.UntypedStorage] = {}
        self._host: dict[int, Tensor] = {}
        self._where: torch.device | None = None

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """For the forward."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            yield

    def stay(self, tensors: Iterable[Tensor]) -> None:
        """These are on the device anyway: others have them."""
        self._fixed.update(plain(tensor).untyped_storage().data_ptr() for tensor in tensors)

    def copy_out(self) -> int:
        """Moves everything to host memory (pinned, from a GPU); returns its bytes."""
        moving = {key: storage for key, storage in self._device.items() if key not in self._fixed}
        for key, storage in moving.items():
            host = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=storage.device.type == "cuda")
            self._where = storage.device
            self._host[key] = host.copy_(torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage))
            del self._device[key]
        return self.host_bytes

    def copy_in(self) -> int:
        """Brings it back; returns its bytes."""
        for key, host in self._host.items():
            self._device[key] = host.to(self._where, copy=True).untyped_storage()
        moved = self.host_bytes
        self._host.clear()
        return moved

    @property
    def device_bytes(self) -> dict[int, int]:
        """Bytes of every memory that is kept on the device."""
        return {storage.data_ptr(): storage.nbytes() for storage in self._device.values()}

    @property
    def host_bytes(self) -> int:
        """Bytes on the host."""
        return sum(host.nbytes for host in self._host.values())

    def _pack(self, tensor: Tensor) -> Any:
        local = plain(tensor)
        storage = local.untyped_storage()
        if storage.data_ptr() in self._fixed or storage.nbytes() == 0:
            return tensor.detach()
        self._device[storage.data_ptr()] = storage
        spec = tensor._spec if isinstance(tensor, DTensor) else None
        return _Handle(
            storage.data_ptr(), local.dtype, tuple(local.shape), local.stride(), int(local.storage_offset()), spec
        )

    def _unpack(self, packed: Any) -> Tensor:
        if not isinstance(packed, _Handle):
            value: Tensor = packed
            return value
        storage = self._device[packed.memory]
        local = torch.empty(0, dtype=packed.dtype, device=storage.device)
        local.set_(storage, packed.offset, packed.size, packed.stride)
        if packed.spec is None:
            return local
        return DTensor(local, packed.spec, requires_grad=False)  # type: ignore[no-untyped-call]


def plain(tensor: Tensor) -> Tensor:
    """The tensor with memory of its own on this rank: of a DTensor its local one, of a collective its result."""
    if isinstance(tensor, DTensor):
        tensor = tensor._local_tensor
    if isinstance(tensor, AsyncCollectiveTensor):
        tensor = tensor.trigger_wait()  # type: ignore[no-untyped-call]
    return tensor
