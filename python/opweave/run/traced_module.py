"""Running one piece of a traced step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node, map_arg

from opweave.capture.torch_joint import draw_of
from opweave.run.traced_pieces import Piece


def seed_of_draw(seed: int, microbatch: int, draw: int) -> int:
    """The seed of one call that draws random numbers, the same wherever it runs."""
    return ((seed * 1_000_003 + microbatch) * 1_000_003 + draw) % 2**63


class TracedModule(nn.Module):
    """A piece as the module of a segment. Called with the number of the microbatch, inputs of the model and values of
    other pieces, it returns the values that other pieces take, and adds to the gradients of parameters.

    `seed` is that of the step, `results` what the step returns, by microbatch.
    """

    def __init__(self, piece: Piece) -> None:
        super().__init__()
        self.piece = piece
        self.seed = 0
        self.results: dict[int, list[Tensor]] = {}
        # Parameters of the module are those whose gradients it makes: where they have several homes, these are summed.
        self.learning = nn.ParameterList(dict.fromkeys(p for group in piece.gradients.values() for p in group))
        self._last_uses = _last_uses(piece)

    def forward(self, microbatch: int, *arguments: Any) -> tuple[Tensor, ...]:
        """One microbatch."""
        piece = self.piece
        known: dict[Node, Any] = dict(piece.fixed)
        for node, value in zip([*piece.given, *piece.taken], arguments, strict=True):
            known[node] = _as_traced(value, node.meta.get("val"))
        del arguments
        for node in piece.nodes:
            known[node] = _as_traced(self._call(node, known, microbatch), node.meta.get("val"))
            for finished in self._last_uses.get(node, ()):
                del known[finished]
        for node, parameters in piece.gradients.items():
            for parameter in parameters:
                gradient = known[node].reshape(parameter.shape)
                parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient
        for node, buffer in piece.buffers.items():
            buffer.copy_(known[node])
        if piece.results:
            self.results[microbatch] = [known[node].detach().clone() for node in piece.results]
        return tuple(known[node] for node in piece.made)

    def _call(self, node: Node, known: dict[Node, Any], microbatch: int) -> Any:
        args = map_arg(node.args, known.__getitem__)
        kwargs = map_arg(node.kwargs, known.__getitem__)
        if node in self.piece.masks:
            args = (*args[:-1], self.piece.masks[node])
        draw = draw_of(node)
        if draw is None:
            return node.target(*args, **kwargs)  # type: ignore[operator]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of_draw(self.seed, microbatch, draw))
            return node.target(*args, **kwargs)  # type: ignore[operator]


def _last_uses(piece: Piece) -> dict[Node, list[Node]]:
    """For every node, what nothing needs after it."""
    kept = {*piece.gradients, *piece.buffers, *piece.results, *piece.made}
    last: dict[Node, Node] = {node: node for node in piece.nodes}
    for node in piece.nodes:
        for source in node.all_input_nodes:
            last[source] = node
    result: dict[Node, list[Node]] = {}
    for source, node in last.items():
        if source not in kept:
            result.setdefault(node, []).append(source)
    return result


def _as_traced(value: Any, traced: Any) -> Any:
    """The value with the strides that it had while tracing, which views rely on: messages are contiguous, and kernels
    lay out what they make in other ways than was foreseen."""
    if not isinstance(value, Tensor) or not isinstance(traced, Tensor):
        return value
    strides = traced.stride()
    if not all(isinstance(step, int) for step in (*strides, *traced.shape)) or value.stride() == strides:
        return value
    if all(a == b or size <= 1 for a, b, size in zip(value.stride(), strides, value.shape, strict=True)):
        return value
    laid = torch.empty_strided(value.shape, strides, dtype=value.dtype, device=value.device)
    return laid.copy_(value)
