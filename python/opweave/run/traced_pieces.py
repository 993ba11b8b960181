"""The traced step of a captured model, cut into pieces: what each operator of its graph does.

A piece has the very calls that were traced, of the forward and of the backward pass. So it needs no autograd: custom
functions, parts without gradients and checkpointing are as the model has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from opweave.capture.givens import value_at
from opweave.capture.joining import Joined, Operator
from opweave.capture.step import Step
from opweave.run.errors import ProgramError


@dataclass
class Piece:
    """What one operator does: nodes in their order, what they take and what they give."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    given: list[Node] = field(default_factory=list)
    """Inputs of the model."""
    taken: dict[Node, str] = field(default_factory=dict)
    """Values that other pieces make, with the names of these."""
    made: list[Node] = field(default_factory=list)
    """Values that other pieces take."""
    gradients: dict[Node, list[nn.Parameter]] = field(default_factory=dict)
    results: list[Node] = field(default_factory=list)
    """What the step returns."""
    buffers: dict[Node, torch.Tensor] = field(default_factory=dict)
    """New values, with the buffers that they go to."""
    fixed: dict[Node, Any] = field(default_factory=dict)
    """Parameters, buffers and constants of the model, the gradient of the loss, parts of the graph that are called."""
    masks: dict[Node, list[bool]] = field(default_factory=dict)
    """Of the backward of a convolution, which gradients are wanted."""


def pieces_of(step: Step, joined: Joined, model: nn.Module, loss_gradient: float) -> dict[str, Piece]:
    """The pieces of all operators of a step, with the tensors of *model*, in the order of the operators.

    Raises ProgramError for a constant without a value. O(nodes x uses of views + edges).
    """
    return _Cutter(step, joined, model, loss_gradient).cut()


class _Cutter:
    def __init__(self, step: Step, joined: Joined, model: nn.Module, loss_gradient: float) -> None:
        self.joint = step.joint
        self.operators = joined.operators
        self.model = model
        self.loss_gradient = loss_gradient
        self.parameters = dict(model.named_parameters())
        self.order = {node: index for index, node in enumerate(step.joint.graph.nodes)}
        self.makers: dict[Node, list[Operator]] = {}  # of the tensors of the graph
        for operator in joined.operators:
            for call in operator.primitives:
                for result in call.results:
                    self.makers.setdefault(result, []).append(operator)

    def cut(self) -> dict[str, Piece]:
        pieces = {operator.name: self.piece(operator) for operator in self.operators}
        for piece in pieces.values():
            for node, maker in piece.taken.items():
                if node not in pieces[maker].made:
                    pieces[maker].made.append(node)
        for piece in pieces.values():
            piece.made.sort(key=self.order.__getitem__)
        return pieces

    def piece(self, operator: Operator) -> Piece:
        piece = Piece(operator.name)
        roots = [result for call in operator.primitives for result in call.results]
        for node, names in self.joint.gradient_of.items():
            if self.home_of(node) is operator:
                piece.gradients[node] = [self.parameters[name] for name in names]
        for node in self.joint.results:
            if self.home_of(node) is operator:
                piece.results.append(node)
        for node, name in self.joint.updated_buffers.items():
            if self.home_of(node) is operator:
                piece.buffers[node] = value_at(self.model, name)
        self.collect(piece, operator, [*roots, *piece.gradients, *piece.results, *piece.buffers])
        for node in piece.nodes:
            if str(node.target) == "aten.convolution_backward.default":
                mine = {user.args[1] for user in node.users if user in piece.nodes}
                piece.masks[node] = [index in mine for index in range(3)]
        return piece

    def collect(self, piece: Piece, operator: Operator, roots: Iterable[Node]) -> None:
        """Everything that the roots need: calls of the operator, views and numbers, and what comes from elsewhere."""
        seen: set[Node] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            makers = self.makers.get(node, [])
            if node.op != "call_function":
                self.give(piece, node)
            elif makers and operator not in makers:
                near = [maker for maker in makers if maker.segment == operator.segment]
                piece.taken[node] = [*near, *makers][0].name
            else:
                piece.nodes.append(node)
                waiting += node.all_input_nodes
        piece.nodes.sort(key=self.order.__getitem__)
        piece.given.sort(key=self.order.__getitem__)
        piece.taken = dict(sorted(piece.taken.items(), key=lambda entry: self.order[entry[0]]))

    def home_of(self, node: Node) -> Operator:
        """The operator that makes the tensor which a node is or looks at; where none does, one that reads the parameter
        whose gradient it is, or the last of the forward pass."""
        root = node
        while root not in self.makers and root.all_input_nodes:
            root = root.all_input_nodes[0]
        if root in self.makers:
            return self.makers[root][-1]
        names = set(self.joint.gradient_of.get(node, ()))
        readers = [operator for operator in self.operators if names & set(operator.parameters)]
        forward = [operator for operator in self.operators if operator.phase == "F"]
        return [*readers, *reversed(forward)][0]

    def give(self, piece: Piece, node: Node) -> None:
        """What is no call: inputs become arguments of the piece, all else it has."""
        given = self.joint.givens.get(node)
        if node in self.joint.parameter_of:
            piece.fixed[node] = self.parameters[self.joint.parameter_of[node]]
        elif given is None:
            piece.fixed[node] = getattr(self.joint.graph.owning_module, str(node.target))
        elif given.kind == "input":
            piece.given.append(node)
        elif given.kind == "gradient":
            piece.fixed[node] = torch.tensor(self.loss_gradient, dtype=node.meta["val"].dtype)
        elif given.kind == "buffer":
            piece.fixed[node] = value_at(self.model, given.name)
        elif given.value is not None:
            piece.fixed[node] = given.value
        else:
            raise ProgramError(
                f'operator "{piece.name}" takes "{given.name}", of which tracing does not tell the value'
            )
