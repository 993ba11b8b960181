"""Activation checkpointing: what is not kept for the backward pass is computed again in it.

AOTAutograd only tags the forward nodes whose results are dropped and leaves it to the partitioner of a compiler to
compute them again. Here they are repeated in the joint graph, each once and only where a gradient needs it, as torch
does when it runs the model: recomputation stops early (torch.utils.checkpoint).
"""

from __future__ import annotations

import operator

from torch.fx import Graph, Node, map_arg

from opweave.capture.owners import Owners
from opweave.capture.torch_joint import Joint, checkpoint_of, module_of
from opweave.errors import CaptureError


def recompute(joint: Joint, owners: Owners) -> set[Node]:
    """Give the backward nodes of checkpointed operations results that are computed again; returns the new nodes.

    What a checkpointed part of the model takes from outside, and what the rest of the model takes from it, is kept.
    O(nodes + edges).
    """
    repeated: dict[Node, Node] = {}
    for node in [node for node in joint.graph.nodes if node in owners.backward]:
        owner = owners.owner(node)
        checkpoint = checkpoint_of(owner) if owner is not None else None
        if checkpoint is not None:
            graph, region = joint.graph, checkpoint.region
            node.args = map_arg(node.args, lambda source: _again(graph, source, region, node, repeated))  # noqa: B023
            node.kwargs = map_arg(node.kwargs, lambda source: _again(graph, source, region, node, repeated))  # noqa: B023
    return set(repeated.values())


def _again(graph: Graph, source: Node, region: int, place: Node, repeated: dict[Node, Node]) -> Node:
    """The node that stands in the backward pass for *source*: itself, or a repetition of it before *place*."""

    def present(node: Node) -> Node:
        return repeated[node] if _is_dropped(node, region) else node

    waiting = [source]
    while waiting:
        node = waiting[-1]
        if node in repeated or not _is_dropped(node, region):
            waiting.pop()
            continue
        missing = [other for other in node.all_input_nodes if other not in repeated and _is_dropped(other, region)]
        waiting += missing
        if not missing:
            with graph.inserting_before(place):
                repeated[node] = graph.node_copy(node, present)
    return present(source)


def _is_dropped(node: Node, region: int) -> bool:
    if node.op != "call_function":
        return False
    # A part of a result is dropped with it; it is not always tagged.
    maker = node.args[0] if node.target is operator.getitem else node
    assert isinstance(maker, Node)
    checkpoint = checkpoint_of(maker)
    if checkpoint is not None and checkpoint.depth > 1:
        raise CaptureError(
            f'module "{module_of(node) or ""}": activation checkpointing inside of activation checkpointing '
            "is not captured\nhint: checkpoint the inner or the outer part alone"
        )
    return checkpoint is not None and checkpoint.dropped and checkpoint.region == region
