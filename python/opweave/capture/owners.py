"""The forward call that each node of the backward pass belongs to."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Hashable, Iterable

from torch.fx import Node

from opweave.capture.torch_joint import Joint, backward_nodes, module_of, operation_of


class Owners:
    """Nodes of the backward pass with the forward nodes that they belong to, as autograd numbers them.

    The nodes of a custom autograd function have no number. They belong to the last forward call of their module that
    comes no later than what they consume of the backward pass. Writing into a part of a tensor makes an operation with
    a number of its own: its nodes have the place of the last forward call that is numbered before it.
    O((nodes + edges) log nodes).
    """

    def __init__(self, joint: Joint) -> None:
        backward = backward_nodes(joint)
        self.backward = set(backward)
        self.forward = [node for node in joint.graph.nodes if node.op == "call_function" and node not in self.backward]
        self._index = {node: index for index, node in enumerate(self.forward)}
        self._owner: dict[Node, Node] = {}
        self._positions: dict[Node, int] = {}
        self._by_module: dict[str | None, list[int]] = {}
        first_of: dict[Hashable, Node] = {}
        for index, node in enumerate(self.forward):
            self._by_module.setdefault(module_of(node), []).append(index)
            first_of.setdefault(operation_of(node), node)
        first_of.pop(None, None)
        self._numbered = sorted((number, self._index[node]) for number, node in first_of.items() if type(number) is int)
        for operation, nodes in itertools.groupby(backward, operation_of):
            self._place(list(nodes), first_of.get(operation), operation)

    def owner(self, node: Node) -> Node | None:
        """The first forward node of the operation whose backward *node* is part of; None where nothing tells."""
        return self._owner.get(node)

    def position(self, node: Node) -> int:
        """Place of a forward node in the forward order; of a backward node, the place of its owner, but never a later
        one than what it consumes of the backward pass. So it falls along the edges of the backward pass."""
        return self._index[node] if node in self._index else self._positions[node]

    def _place(self, nodes: list[Node], owner: Node | None, operation: Hashable) -> None:
        """Consecutive nodes of one operation."""
        if owner is None:
            owner = self._last_of_module(module_of(nodes[0]), self._before(nodes))
        place = self._place_of_number(operation) if owner is None else self._index[owner]
        for node in nodes:
            if owner is not None:
                self._owner[node] = owner
            before = self._before([node])
            self._positions[node] = before if place is None else min(place, before)

    def _place_of_number(self, operation: Hashable) -> int | None:
        """Of the last forward call that autograd numbered before this operation."""
        index = bisect.bisect(self._numbered, (operation, len(self.forward))) if type(operation) is int else 0
        return self._numbered[index - 1][1] if index else None

    def _before(self, nodes: Iterable[Node]) -> int:
        """The earliest place of what the nodes consume of the backward pass; without any, the last place of all."""
        places = [
            self._positions[source] for node in nodes for source in node.all_input_nodes if source in self._positions
        ]
        return min(places, default=max(len(self.forward) - 1, 0))

    def _last_of_module(self, path: str | None, limit: int) -> Node | None:
        places = self._by_module.get(path, [])
        index = bisect.bisect_right(places, limit) - 1
        return self.forward[places[index]] if path is not None and index >= 0 else None
