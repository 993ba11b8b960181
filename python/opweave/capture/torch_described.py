"""What AOTAutograd's descriptors say of the inputs and outputs of a joint graph, in the names of the model's author."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._functorch._aot_autograd.descriptors import (
    BufferAOTInput,
    GradAOTOutput,
    InputMutationAOTOutput,
    ParamAOTInput,
    PlainAOTInput,
    PlainAOTOutput,
    TangentAOTInput,
)
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Graph, Node

from opweave.capture.givens import Given, tensors_of, variables_of
from opweave.capture.torch_joint import Joint, is_random
from opweave.errors import CaptureError


@dataclass(frozen=True)
class Origin:
    """What was traced."""

    model: nn.Module
    """On tensors without values."""
    leaves: list[str]
    """Names of the leaves of the arguments."""
    loss: Callable[..., Any] | None
    fixed_integers: bool


def described(graph: Graph, origin: Origin) -> Joint:
    """The joint graph with its parameters, inputs and results told apart. Raises CaptureError for a parameter that is
    none of the model's."""
    names = {id(parameter): name for name, parameter in origin.model.named_parameters()}
    parameter_of: dict[Node, str] = {}
    by_target: dict[str, str] = {}
    for node in graph.nodes:
        descriptor = node.meta.get("desc")
        if node.op == "placeholder" and isinstance(descriptor, ParamAOTInput):
            name = names.get(id(node.meta.get("opweave_tensor")))
            if name is None:
                raise CaptureError(f'parameter "{descriptor.target}" of the traced graph is none of the model\'s')
            parameter_of[node] = by_target[descriptor.target] = name
    for number, node in enumerate(node for node in graph.nodes if is_random(node)):
        node.meta["opweave_draw"] = number
    givens = _givens(graph, origin)
    buffer_of = {node.meta["desc"]: given for node, given in givens.items() if "desc" in node.meta}
    trainable = {name for name, parameter in origin.model.named_parameters() if parameter.requires_grad}
    gradient_of: dict[Node, list[str]] = {}
    missing: list[str] = []
    results: list[Node] = []
    updated: dict[Node, str] = {}
    changed: list[str] = []
    for value, descriptor in _outputs(graph):
        if isinstance(descriptor, GradAOTOutput) and isinstance(descriptor.grad_of, ParamAOTInput):
            name = by_target[descriptor.grad_of.target]
            if isinstance(value, Node):
                gradient_of.setdefault(value, []).append(name)
            elif name in trainable:
                missing.append(name)
        elif isinstance(descriptor, PlainAOTOutput) and isinstance(value, Node):
            results.append(value)
        elif isinstance(descriptor, InputMutationAOTOutput) and isinstance(value, Node):
            given = buffer_of.get(descriptor.mutated_input)
            if given is not None and given.kind == "buffer":
                updated[value] = given.name
            else:
                changed.append(given.name if given is not None else str(descriptor.mutated_input))
    return Joint(
        graph,
        origin.model,
        parameter_of,
        gradient_of,
        missing,
        givens,
        results,
        updated,
        changed,
        origin.fixed_integers,
    )


def _outputs(graph: Graph) -> Iterator[tuple[Any, Any]]:
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    return zip(output.args[0], output.meta["desc"], strict=True)


def _givens(graph: Graph, origin: Origin) -> dict[Node, Given]:
    """Placeholders and constants of the graph that are no parameters."""
    paths = {id(tensor): path for path, tensor, _ in tensors_of(origin.model)}
    variables = variables_of(origin.loss)
    constants = gradients = 0
    result: dict[Node, Given] = {}
    for node in graph.nodes:
        descriptor = node.meta.get("desc")
        if node.op == "placeholder" and isinstance(descriptor, PlainAOTInput):
            result[node] = Given(origin.leaves[descriptor.idx], "input", leaf=descriptor.idx)
        elif node.op == "placeholder" and isinstance(descriptor, TangentAOTInput):
            result[node] = Given(f"gradient of output {gradients}", "gradient")
            gradients += 1
        elif node.op == "get_attr" or (node.op == "placeholder" and isinstance(descriptor, BufferAOTInput)):
            tensor = node.meta.get("opweave_tensor")
            if node.op == "get_attr":
                tensor = getattr(graph.owning_module, str(node.target), None)
            if not isinstance(tensor, torch.Tensor):
                continue  # a part of the graph that is called
            if id(tensor) in paths:
                result[node] = Given(paths[id(tensor)], "buffer")
            elif id(tensor) in variables:
                result[node] = Given(variables[id(tensor)], "closure", value=tensor)
            else:
                value = getattr(tensor, "opweave_value", None) if isinstance(tensor, FakeTensor) else tensor
                result[node] = Given(f"constant.{constants}", "constant", value=value)
                constants += 1
    return result
