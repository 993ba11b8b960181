"""Which backward nodes give gradients of inputs (I), which gradients of weights (W), and which both in one call (B).

A backward node belongs to the forward operation with the same autograd sequence number. It is W if what it computes
ends in parameter gradients without passing through the backward of another operation on activations. So the W nodes
of a step feed parameter gradients only, and everything on the way to earlier layers is I.

"Reaches only parameter gradients" would not do: where the inputs of a model are integers, everything does.

What activation checkpointing computes again is W where weight gradients alone need it, else I.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from opweave.capture.owners import Owners
from opweave.capture.recompute import recompute
from opweave.capture.torch_joint import Joint, operation_of

_FORWARD, _INPUT, _WEIGHT, _BOTH = "F", "I", "W", "B"


class Phases:
    """Phase and place of every node of a joint graph, once what checkpointing drops is computed again in it."""

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self._owners = Owners(joint)
        self._repeated = recompute(joint, self._owners)
        self._nodes: list[Node] = list(joint.graph.nodes)
        self._backward = self._owners.backward | self._repeated
        self._weight_only = self._find_weight_only()
        self._updates = self._find_updates()
        self._latest = self._find_latest_uses()

    def phase(self, node: Node) -> str:
        """F, I, W or B of a call."""
        if node not in self._backward:
            return _FORWARD
        if node in self._weight_only:
            return _WEIGHT
        parts = isinstance(node.meta.get("val"), (tuple, list))
        if node not in self._repeated and parts and any(user in self._weight_only for user in node.users):
            return _BOTH
        return _INPUT

    def position(self, node: Node) -> int:
        """Place of a forward node; of a backward node, the place of the forward node that it belongs to; of a node that
        is computed again, the latest place of what needs it.

        Falls along the edges of the backward pass, so calls joined by place never wait for each other in a circle.
        """
        return self._latest[node] if node in self._repeated else self._owners.position(node)

    def updated_parameters(self, node: Node) -> list[str]:
        """Parameters for whose gradients alone the node works; of a B node, those of its parts too."""
        return self._updates.get(node, [])

    def _find_weight_only(self) -> set[Node]:
        """W nodes, and the parts of B nodes that are parameter gradients."""
        on_parameters = self._forward_nodes_without_batch()

        def passes(user: Node, node: Node) -> bool:
            """Weight gradients may go on through this W node."""
            own = operation_of(user)
            return (
                node in self._repeated
                or (own is not None and own == operation_of(node))
                or self._owners.owner(user) in on_parameters
                or user.target is torch.ops.aten.add.Tensor  # gradients of one parameter from several places
            )

        result: set[Node] = set()
        for node in reversed(self._nodes):
            if node not in self._backward or not node.users:
                continue
            is_gradient = node in self._joint.gradient_of
            users = [user for user in node.users if user.op != "output"]
            ends_outside = len(users) < len(node.users) and not is_gradient
            if not ends_outside and all(user in result and passes(user, node) for user in users):
                result.add(node)
        return result

    def _forward_nodes_without_batch(self) -> set[Node]:
        """Forward calls that see parameters, buffers and constants only, nothing of the batch."""
        known = self._joint.parameter_of.keys() | self._joint.buffers
        result: set[Node] = set()
        for node in self._nodes:
            if node.op != "call_function" or node in self._backward:
                continue
            if all(source in result or source in known for source in node.all_input_nodes):
                result.add(node)
        return result

    def _find_updates(self) -> dict[Node, list[str]]:
        reached: dict[Node, dict[str, None]] = {}
        for node in reversed(self._nodes):
            if node not in self._backward:
                continue
            names: dict[str, None] = dict.fromkeys(self._joint.gradient_of.get(node, ()))
            for user in node.users:
                if user in self._weight_only:
                    names.update(reached.get(user, {}))
            if names:
                reached[node] = names
        return {
            node: list(names)
            for node, names in reached.items()
            if node in self._weight_only or self.phase(node) == _BOTH
        }

    def _find_latest_uses(self) -> dict[Node, int]:
        """Of the nodes that are computed again."""
        latest: dict[Node, int] = {}
        for node in reversed(self._nodes):
            if node in self._repeated:
                latest[node] = max(
                    latest[user] if user in latest else self._owners.position(user) for user in node.users
                )
        return latest
