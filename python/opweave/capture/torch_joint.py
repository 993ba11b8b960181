"""The joint graph of forward and backward as PyTorch traces it, and what its nodes know of themselves.

The files torch_*.py alone use private interfaces of torch: dynamo's graph capture and AOTAutograd's joint export with
descriptors. tests/python/test_torch_facts.py tests what is relied on here.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import nn
from torch._higher_order_ops.wrap import tag_activation_checkpoint
from torch.fx import Graph, Node
from torch.utils.checkpoint import CheckpointPolicy

from opweave.capture.givens import Given


@dataclass(frozen=True)
class Joint:
    """One traced step. Nodes of *graph* carry "val" in their meta; the module names of nodes are module_of()'s."""

    graph: Graph
    model: nn.Module
    """A copy of the model that holds no memory."""
    parameter_of: dict[Node, str]
    """Placeholders of parameters, by their name in the model."""
    gradient_of: dict[Node, list[str]]
    """Nodes that are gradients, with the parameters they belong to."""
    missing_gradients: list[str]
    """Trainable parameters of the graph for which backward computes nothing."""
    givens: dict[Node, Given]
    """What is no parameter and comes from outside."""
    results: list[Node]
    """What the step returns: the loss, or the outputs of the model."""
    updated_buffers: dict[Node, str]
    """New values of buffers that the forward pass changes, with their paths."""
    changed_inputs: list[str]
    """Inputs that the forward pass changes in place."""
    fixed_integers: bool
    """What follows from the values of integer inputs was computed while tracing."""

    @property
    def buffers(self) -> set[Node]:
        """Nodes of what is the same for every batch: buffers and constants."""
        return {node for node, given in self.givens.items() if given.kind in ("buffer", "constant", "closure")}

    @property
    def tangents(self) -> set[Node]:
        """Placeholders of the gradients of the model's outputs."""
        return {node for node, given in self.givens.items() if given.kind == "gradient"}


def backward_nodes(joint: Joint) -> list[Node]:
    """Calls of the backward pass: the first that needs a gradient of an output, or is tagged as backward, and all after
    it, because the step is traced forward first. Not by tags alone: what the backward of a custom autograd function
    does has none."""
    from_gradients = set(joint.tangents)
    calls = [node for node in joint.graph.nodes if node.op == "call_function"]
    for index, node in enumerate(calls):
        if _is_tagged(node) or not from_gradients.isdisjoint(node.all_input_nodes):
            return calls[index:]
    return []


def _is_tagged(node: Node) -> bool:
    return node.meta.get("partitioner_tag") == "is_backward"


def is_random(node: Node) -> bool:
    """A call that draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def draw_of(node: Node) -> int | None:
    """The number of a call that draws random numbers, in the order of the step; what checkpointing computes again draws
    the same ones. None for other calls."""
    number: int | None = node.meta.get("opweave_draw")
    return number


def operation_of(node: Node) -> Hashable | None:
    """Equal for all nodes of one backward operation and, where autograd numbers it, the forward operation that it
    belongs to; None for what nothing is known of."""
    if node.meta.get("partitioner_tag") is not None:
        number: Hashable = node.meta.get("seq_nr")
        return number
    # The backward of a custom autograd function is traced as a graph of its own; its nodes carry the number of the
    # last forward operation, which is not theirs.
    source = node.meta.get("from_node")
    return ("function", source[-1].graph_id) if source else None


@dataclass(frozen=True)
class Checkpoint:
    """What activation checkpointing says of a forward node."""

    region: int
    """Number of the part of the model that is checkpointed as one."""
    dropped: bool
    """Its result is not kept for the backward pass (selective checkpointing keeps some)."""
    depth: int
    """How many checkpoints it is inside of."""


def checkpoint_of(node: Node) -> Checkpoint | None:
    """The checkpoint that a forward node is part of; None outside of any."""
    policy = node.meta.get("recompute")
    region = node.meta.get("ac_graph_id")
    if policy is None or region is None:
        return None
    dropped = policy in (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)
    depth = sum(target is tag_activation_checkpoint for _, target in node.meta.get("source_fn_stack") or ())
    return Checkpoint(region, dropped, depth)


def module_of(node: Node) -> str | None:
    """Path of the innermost module whose forward made this node, or whose backward it is; None if unknown."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
    if not stack:
        return None
    path = str(list(stack.values())[-1][0])
    path = re.sub(r"@\d+", "", path)  # a module called again
    path = re.sub(r"\._modules\['([^']+)'\]|\['([^']+)'\]|\[(\d+)\]", _as_attribute, path)
    path = path.removeprefix("L.self").removeprefix(".").removeprefix("_export_root").removeprefix(".")
    return re.sub(r"^model(\.|$)", "", path)


def _as_attribute(match: re.Match[str]) -> str:
    return "." + next(group for group in match.groups() if group is not None)
