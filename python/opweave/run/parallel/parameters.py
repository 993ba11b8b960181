"""Parameters of a segment with the same replicas, as one flat run of numbers: whole, or each rank its share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.distributed.tensor import DTensor, Partial, Replicate

from opweave.run.parallel.program import Sharding


class Bucket:
    """Gradients are summed over the group; with a sharding, rank i of it keeps the ith of equal parts (ZeRO 1, 2, 3).

    All parameters have one type. Their tensors are those of this rank (of a DTensor, its local one). A DTensor that is
    replicated over the tensor axis may have gradients of which each tensor rank knows a summand (norms under sequence
    parallelism); they are added up at the end.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        group: dist.ProcessGroup | None,
        sharding: Sharding,
    ) -> None:
        self.parameters = dict(parameters)
        self.group = group
        self.ranks = dist.get_world_size(group) if group is not None else 1
        self.rank = dist.get_rank(group) if group is not None else 0
        self.sharding: Sharding = sharding
        self.shapes = {name: local_of(p).shape for name, p in self.parameters.items()}
        self.sizes = {name: local_of(p).numel() for name, p in self.parameters.items()}
        self.part = -(-sum(self.sizes.values()) // self.ranks)  # numbers per rank, the last ones are padding
        self.partial: set[str] = set()  # of whose gradients tensor ranks have summands
        self._earlier: dict[str, Tensor | None] = {}
        self.gradient: Tensor | None = None  # of this rank's share
        self.share: nn.Parameter | None = None
        self.is_whole = True
        if sharding != "none":
            self.share = nn.Parameter(self._mine(self._flat(self._locals())).clone())
        if sharding == "weights":
            for parameter in self.parameters.values():
                held = local_of(parameter)
                held.data = held.data.clone()  # it may share memory with other parts of a larger tensor
            self.free()

    # Weights

    @torch.no_grad()
    def gather(self) -> None:
        """Makes the weights whole from the shares."""
        assert self.share is not None
        whole = self._gathered(self.share.detach())
        # What autograd has saved of these tensors is what they hold again: nothing has changed to it.
        held = [local_of(parameter) for parameter in self.parameters.values()]
        wrapped = [p for p in self.parameters.values() if isinstance(p, DTensor)]
        with _unsafe_preserve_version_counter((*held, *wrapped)):
            for local, values in zip(held, self._cut(whole).values(), strict=True):
                local.untyped_storage().resize_(local.numel() * local.element_size())
                local.copy_(values)
        self.is_whole = True

    def free(self) -> None:
        """Drops the weights but for this rank's share; what autograd has saved of them comes back with gather()."""
        for parameter in self.parameters.values():
            local_of(parameter).untyped_storage().resize_(0)
        self.is_whole = False

    # Gradients

    def begin(self) -> None:
        """Sets aside gradients of earlier steps, which have been summed over the group."""
        self._earlier = {name: p.grad for name, p in self.parameters.items()}
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def scatter(self) -> None:
        """Adds up the gradients over the group; this rank keeps its share of the sum, the whole ones go."""
        flat = self._flat(self._gradients())
        mine = flat
        if self.group is not None:
            mine = torch.empty(self.part, dtype=flat.dtype, device=flat.device)
            dist.reduce_scatter_tensor(mine, flat, group=self.group)
        self.gradient = mine if self.gradient is None else self.gradient + mine
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def reduce(self, tensor_group: dist.ProcessGroup | None) -> None:
        """Completes the gradients of a step: in .grad, or in this rank's share. *tensor_group* adds up summands of the
        tensor axis."""
        if self.sharding == "none":
            flat = self._flat(self._gradients())
            if self.group is not None:
                dist.all_reduce(flat, group=self.group)
            if tensor_group is not None:
                self._add_summands(flat, 0, tensor_group)
            for name, values in self._cut(flat).items():
                parameter, before = self.parameters[name], self._earlier[name]
                gradient = _like(parameter, values.clone())
                parameter.grad = gradient if before is None else before + gradient
            return
        if self.sharding == "optimizer":
            self.scatter()
        if tensor_group is not None:
            assert self.gradient is not None
            self._add_summands(self.gradient, self.rank * self.part, tensor_group)

    def _add_summands(self, values: Tensor, first: int, group: dist.ProcessGroup) -> None:
        """Of the flat run from place *first* on. Peers hold the same places."""
        places, at = [], 0
        for name, size in self.sizes.items():
            low, high = max(at - first, 0), min(at + size - first, values.numel())
            if name in self.partial and low < high:
                places.append(values[low:high])
            at += size
        if not places:
            return
        together = torch.cat(places)
        dist.all_reduce(together, group=group)
        for place, summed in zip(places, torch.split(together, [p.numel() for p in places]), strict=True):
            place.copy_(summed)

    # Optimizer

    def leaves(self) -> list[nn.Parameter]:
        """What an optimizer is to step: this rank's share, or the local tensor of every parameter."""
        if self.share is not None:
            return [self.share]
        return [nn.Parameter(local_of(p).detach()) for p in self.parameters.values()]

    @torch.no_grad()
    def update(self, optimizer: torch.optim.Optimizer, leaves: list[nn.Parameter]) -> None:
        """Steps with the gradients, which are gone afterwards, and gives the weights back to those that hold them."""
        if self.share is not None:
            self.share.grad = self.gradient
        else:
            for leaf, parameter in zip(leaves, self.parameters.values(), strict=True):
                leaf.grad = None if parameter.grad is None else _local(parameter.grad)
        optimizer.step()
        self.gradient = None
        for leaf in leaves:
            leaf.grad = None
        for parameter in self.parameters.values():
            parameter.grad = None
        if self.sharding in ("optimizer", "gradients"):
            self.gather()

    # What a caller may look at; all ranks of the group together

    def whole_gradients(self) -> dict[str, Tensor]:
        """Gradients of the last steps by name, on every rank of the group: this rank's part on the tensor axis."""
        if self.sharding == "none":
            return {name: _local(p.grad) for name, p in self.parameters.items() if p.grad is not None}
        if self.gradient is None:
            return {}
        return self._cut(self._gathered(self.gradient))

    def whole_weights(self) -> dict[str, Tensor]:
        """Weights by name, likewise."""
        if self.is_whole:
            return {name: local_of(p).detach() for name, p in self.parameters.items()}
        assert self.share is not None
        return self._cut(self._gathered(self.share.detach()))

    # The flat run

    def _locals(self) -> list[Tensor]:
        return [local_of(p).detach() for p in self.parameters.values()]

    def _gradients(self) -> list[Tensor]:
        result = []
        for name, parameter in self.parameters.items():
            gradient = parameter.grad
            if gradient is None:
                gradient = torch.zeros(self.shapes[name], dtype=parameter.dtype, device=parameter.device)
            if isinstance(gradient, DTensor):
                assert isinstance(parameter, DTensor)
                if parameter.placements == (Replicate(),) and gradient.placements == (Partial(),):
                    self.partial.add(name)  # added up once, at the end
                elif gradient.placements != parameter.placements:
                    gradient = gradient.redistribute(placements=parameter.placements)
            result.append(_local(gradient))
        return result

    def _flat(self, tensors: list[Tensor]) -> Tensor:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        return nn.functional.pad(flat, (0, self.part * self.ranks - flat.numel()))

    def _mine(self, flat: Tensor) -> Tensor:
        return flat[self.rank * self.part : (self.rank + 1) * self.part]

    def _gathered(self, mine: Tensor) -> Tensor:
        if self.group is None:
            return mine
        whole = torch.empty(self.part * self.ranks, dtype=mine.dtype, device=mine.device)
        dist.all_gather_into_tensor(whole, mine.contiguous(), group=self.group)
        return whole

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        parts = torch.split(flat[: sum(self.sizes.values())], list(self.sizes.values()))
        return {name: part.view(self.shapes[name]) for name, part in zip(self.shapes, parts, strict=True)}


def local_of(parameter: nn.Parameter) -> Tensor:
    """The tensor that this rank holds; it shares the memory of the parameter."""
    return parameter._local_tensor if isinstance(parameter, DTensor) else parameter


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _like(parameter: nn.Parameter, local: Tensor) -> Tensor:
    """As a gradient of the parameter."""
    if not isinstance(parameter, DTensor):
        return local
    return DTensor.from_local(
        local,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
