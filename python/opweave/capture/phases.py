"""Which backward nodes give gradients of inputs (I), which gradients of weights (W), and which both in one call (B).

A backward node belongs to the forward operation with the same autograd sequence number. It is W if what it computes
ends in parameter gradients without passing through the backward of another operation on activations. So the W nodes
of a step feed parameter gradients only, and everything on the way to earlier layers is I.

"Reaches only parameter gradients" would not do: where the inputs of a model are integers, everything does.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from opweave.capture.torch_joint import Joint, is_forward

_FORWARD, _INPUT, _WEIGHT, _BOTH = "F", "I", "W", "B"


class Phases:
    """Phase and place of every node of a joint graph. O(nodes + edges)."""

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self._nodes: list[Node] = list(joint.graph.nodes)
        self._backward = {node for node in self._nodes if node.op == "call_function" and not is_forward(node)}
        self._weight_only = self._find_weight_only()
        self._updates = self._find_updates()
        self._positions = self._find_positions()

    def phase(self, node: Node) -> str:
        """F, I, W or B of a call."""
        if node not in self._backward:
            return _FORWARD
        if node in self._weight_only:
            return _WEIGHT
        parts = isinstance(node.meta.get("val"), (tuple, list))
        if parts and any(user in self._weight_only for user in node.users):
            return _BOTH
        return _INPUT

    def position(self, node: Node) -> int:
        """Place of a forward node; of a backward node, the place of the forward node that it belongs to.

        Falls along the edges of the backward pass, so calls joined by place never wait for each other in a circle.
        """
        return self._positions[node]

    def updated_parameters(self, node: Node) -> list[str]:
        """Parameters for whose gradients alone the node works; of a B node, those of its parts too."""
        return self._updates.get(node, [])

    def _find_weight_only(self) -> set[Node]:
        """W nodes, and the parts of B nodes that are parameter gradients."""
        on_parameters = self._forward_nodes_without_batch()
        first_with: dict[int, Node] = {}
        for node in self._nodes:
            number = node.meta.get("seq_nr")
            if node.op == "call_function" and node not in self._backward and number is not None:
                first_with.setdefault(number, node)

        def passes(user: Node, number: int | None) -> bool:
            """Weight gradients may go on through this W node."""
            own = user.meta.get("seq_nr")
            return (
                (number is not None and own == number)
                or (own in first_with and first_with[own] in on_parameters)
                or user.target is torch.ops.aten.add.Tensor  # gradients of one parameter from several places
            )

        result: set[Node] = set()
        for node in reversed(self._nodes):
            if node not in self._backward or not node.users:
                continue
            number = node.meta.get("seq_nr")
            is_gradient = node in self._joint.gradient_of
            users = [user for user in node.users if user.op != "output"]
            ends_outside = len(users) < len(node.users) and not is_gradient
            if not ends_outside and all(user in result and passes(user, number) for user in users):
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

    def _find_positions(self) -> dict[Node, int]:
        positions: dict[Node, int] = {}
        first_with: dict[int, int] = {}
        last = 0
        for index, node in enumerate(self._nodes):
            if node.op != "call_function" or node in self._backward:
                continue
            positions[node] = last = index
            number = node.meta.get("seq_nr")
            if number is not None:
                first_with.setdefault(number, index)
        for node in self._nodes:
            if node not in self._backward:
                continue
            own = last
            number = node.meta.get("seq_nr")
            # Sums of gradients carry the number of the last forward call: their place is that of what they add.
            if number in first_with:
                own = first_with[number]
            before = [positions[source] for source in node.all_input_nodes if source in self._backward]
            positions[node] = min([own, *before])
        return positions
