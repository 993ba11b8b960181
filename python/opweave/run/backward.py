"""The backward of one segment, whole (B) or split into gradients of inputs (I) and of weights (W).

Two ways to split. "graph" stops the I pass at the places where weight gradients branch off and continues from there
in W, by `torch.distributed.pipelining._backward` (private; its behaviour is tested here for the pinned torch). I and W
together cost what B costs; between them it keeps the gradients at those places beside the activations. "twice"
calls `torch.autograd.grad` once for inputs and once for weights: public and simple, but W repeats the way of
the gradients through the segment, so I and W together cost up to 1.5 times B; it keeps less between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight

BackwardSplit = Literal["graph", "twice"]


def boundary(value: Tensor) -> Tensor:
    """The value itself, from where a segment ends (Boundary)."""
    made: Tensor = Boundary.apply(value) if value.requires_grad else value  # type: ignore[no-untyped-call]
    return made


class Boundary(torch.autograd.Function):
    """Identity at the outputs of a segment, without a copy.

    A module may return a view, or a tensor that autograd also keeps for a weight gradient; the split backward
    detaches outputs in place, which autograd forbids on views and which would change what it kept.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Shares the storage of the value, but is no view to autograd."""
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Passes the gradient on."""
        return gradients[0]


class SegmentBackward:
    """The backward of one forward. Inputs, outputs and gradients are lists that match; None where there is none."""

    def __init__(self, module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor], split: BackwardSplit):
        self.parameters = list(dict.fromkeys(p for p in module.parameters() if p.requires_grad))
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.split = split
        self._weights: Any = None  # what W continues from

    def _roots(self, gradients: Sequence[Tensor | None]) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs that a gradient flows into. A scalar without one is a loss."""
        roots: list[Tensor] = []
        flows: list[Tensor] = []
        for output, gradient in zip(self.outputs, gradients, strict=True):
            if not output.requires_grad:
                continue
            if gradient is None:
                if output.dim() > 0:
                    continue
                gradient = torch.ones_like(output)
            roots.append(output)
            flows.append(gradient)
        return roots, flows

    def whole(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """B: adds to the gradients of the parameters, returns those of the inputs."""
        roots, flows = self._roots(gradients)
        if roots:
            torch.autograd.backward(roots, flows)
        result = [value.grad for value in self.inputs]
        for value in self.inputs:
            value.grad = None
        return result

    def input_gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """I: returns the gradients of the inputs and keeps what W needs."""
        roots, flows = self._roots(gradients)
        wanted = [value for value in self.inputs if value.requires_grad]
        if not roots or not wanted:
            self._weights = ("whole", list(gradients))
            return [None] * len(self.inputs)
        if self.split == "twice":
            found = torch.autograd.grad(roots, wanted, flows, retain_graph=True, allow_unused=True)
            self._weights = ("twice", roots, flows)
            by_input = {id(value): gradient for value, gradient in zip(wanted, found, strict=True)}
            return [by_input.get(id(value)) for value in self.inputs]
        edges = [torch.autograd.graph.get_gradient_edge(root) for root in roots]
        result, groups = stage_backward_input(roots, flows, self.inputs, iter(self.parameters))
        for value in self.inputs:
            value.grad = None
        self._weights = ("graph", groups, edges, flows)
        return list(result)

    def weight_gradients(self, gradients: Sequence[Tensor | None]) -> None:
        """W: adds to the gradients of the parameters. `gradients` are those of I."""
        kind, *kept = self._weights or ("whole", gradients)
        rest: list[Any] = kept
        self._weights = None
        if kind == "whole":
            self.whole(rest[0])
        elif kind == "twice":
            self._accumulate(self.parameters, *rest)
        else:
            groups, edges, flows = rest
            # Parameters that reach an output without meeting the way of an input are in no group.
            grouped = {node for group in groups for node in group["params"]}
            alone = [p for p in self.parameters if torch.autograd.graph.get_gradient_edge(p).node not in grouped]
            # The graph is kept because groups share parts of it; it goes when this object goes.
            stage_backward_weight(iter(self.parameters), groups, retain_graph=True)
            if alone:
                self._accumulate(alone, edges, flows)

    def held_bytes(self) -> int:
        """Bytes of the gradients that are kept from I for W."""
        kind, *rest = self._weights or ("whole", [])
        if kind == "graph":
            held = [g for group in rest[0] for at_place in group.get("grads", ()) for g in at_place if g is not None]
        else:
            held = [value for value in rest[-1] if value is not None]
        return sum({value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in held}.values())

    def _accumulate(
        self, parameters: list[nn.Parameter], roots: Sequence[Tensor] | Sequence[GradientEdge], flows: Sequence[Tensor]
    ) -> None:
        if not parameters:
            return
        found = torch.autograd.grad(roots, parameters, flows, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
