"""From the nodes of a traced step to primitives: calls that do work, with phase, tensors, parameters and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_map_only

from opweave.capture import flops as flop_formulas
from opweave.capture.phases import Phases
from opweave.capture.torch_joint import Joint, module_of
from opweave.costs.call import Call
from opweave.costs.call_records import TensorSpec
from opweave.errors import CaptureError

_UNDECLARED_VIEWS = {"aten._unsafe_view"}  # views that their schema does not call so


@dataclass
class Primitive:
    """One call of the traced step that does work."""

    name: str
    kind: str
    phase: str
    path: str
    """Innermost module, or "" where no module is known."""
    position: int
    """Of a forward call, its place in the forward order; of a backward call, the place of the call it belongs to."""
    inputs: list[str]
    outputs: list[str]
    parameters: list[str]
    call: Call
    read_bytes: dict[str, int]
    """By input: of those of its views that the call takes."""
    node: Node
    """What it stands for, whole or in part."""
    results: list[Node]
    """What of it is here: the node itself, or the parts of its result that are used."""


@dataclass
class Primitives:
    """All primitives of a step in an order that obeys their dependencies, and the tensors between them."""

    calls: list[Primitive] = field(default_factory=list)
    tensors: dict[str, int] = field(default_factory=dict)
    """Bytes by name; views are no tensors of their own: they are the tensor whose memory they look at."""
    parameters: dict[str, int] = field(default_factory=dict)
    value_of: dict[Node, str] = field(default_factory=dict)
    """The tensor that a node is, or looks at."""
    uncounted: dict[str, int] = field(default_factory=dict)
    """Kinds without a formula for their operations, with the number of their calls."""


def is_view(node: Node) -> bool:
    """The output of the node is memory of its first argument, so it does no work."""
    if node.op != "call_function":
        return False
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return getattr(node.target, "__name__", "") == "getitem"
    if flop_formulas.kind_of(node.target) in _UNDECLARED_VIEWS:
        return True
    return any(result.alias_info is not None and not result.alias_info.is_write for result in schema.returns)


def primitives(joint: Joint, phases: Phases, assumed_size: int | None) -> Primitives:
    """Everything in the joint graph that does work. O(nodes + edges)."""
    return _Reader(joint, phases, assumed_size).read()


class _Reader:
    def __init__(self, joint: Joint, phases: Phases, assumed_size: int | None) -> None:
        self.joint = joint
        self.phases = phases
        self.assumed_size = assumed_size
        self.result = Primitives()
        self.roots: dict[Node, Node] = {}  # of views and of the parts of a result: the node that made the memory
        self.given_names = {given.name for given in joint.givens.values()}

    def read(self) -> Primitives:
        for name, parameter in self.joint.model.named_parameters():
            self.result.parameters[name] = parameter.numel() * parameter.element_size()
        for node in self.joint.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                self.add_input(node)
            elif node.op == "call_function":
                self.add_call(node)
        self.result.value_of = {node: self.name_of(root) for node, root in self.roots.items()}
        return self.result

    def name_of(self, node: Node) -> str:
        """Of the tensor that a node makes: the user's name of an input, or else the node's."""
        given = self.joint.givens.get(node)
        if given is not None:
            return given.name
        return f"{node.name}_" if node.name in self.given_names else node.name

    def add_input(self, node: Node) -> None:
        self.roots[node] = node
        if node not in self.joint.parameter_of and isinstance(node.meta.get("val"), torch.Tensor):
            self.result.tensors[self.name_of(node)] = self.bytes_of(node.meta["val"], node)

    def add_call(self, node: Node) -> None:
        if getattr(node.target, "__name__", "") == "getitem":
            source = node.args[0]
            assert isinstance(source, Node)
            # A part of a result is memory of its own, a part of a list of views is not.
            self.roots[node] = self.roots[source] if is_view(source) else node
            return
        if is_view(node):
            first = next((leaf for leaf in node.all_input_nodes), None)
            if first is not None:
                self.roots[node] = self.roots[first]
                return
        self.roots[node] = node
        results = self.results(node)
        if not results:  # sizes and other numbers
            return
        for result in results:
            self.result.tensors[self.name_of(result)] = self.bytes_of(result.meta["val"], node)
        kind = flop_formulas.kind_of(node.target)
        phase = self.phases.phase(node)
        if not flop_formulas.counted(kind, node.target):
            self.result.uncounted[kind] = self.result.uncounted.get(kind, 0) + 1
        if phase == "B" and kind == "aten.convolution_backward":
            self.add_convolution_backward(node, results)
            return
        if phase == "B" and kind == "transformers.grouped_mm_fallback_backward":
            self.add_grouped_backward(node, results)
            return
        updated = self.phases.updated_parameters(node)
        self.append(node, node.name, phase, node.all_input_nodes, results, updated, self.call_of(node, node.args))

    def add_convolution_backward(self, node: Node, results: list[Node]) -> None:
        """Two calls, as its mask of wanted outputs allows: the gradient of the input, then those of the weights."""
        gradient, source, weight = (argument for argument in node.args[:3] if isinstance(argument, Node))
        inputs = [result for result in results if result.args[1] == 0]
        weights = [result for result in results if result.args[1] != 0]
        *rest, mask = node.args
        assert isinstance(mask, (list, tuple))
        for name, phase, sources, made, updated, wanted in (
            (f"{node.name}_input", "I", [gradient, weight], inputs, [], [True, False, False]),
            (node.name, "W", [gradient, source], weights, self.phases.updated_parameters(node), [False, *mask[1:]]),
        ):
            self.append(node, name, phase, sources, made, updated, self.call_of(node, (*rest, wanted)))

    def add_grouped_backward(self, node: Node, results: list[Node]) -> None:
        """Two grouped products, as its formula has them: gradient x weights, and inputs x gradient."""
        rows, weight, offsets, gradient = (argument for argument in node.args if isinstance(argument, Node))
        inputs = [result for result in results if result.args[1] == 0]
        weights = [result for result in results if result.args[1] != 0]
        updated = self.phases.updated_parameters(node)
        for name, phase, made, target, factors, learned in (
            (
                f"{node.name}_input",
                "I",
                inputs,
                torch.ops.transformers.grouped_mm_fallback.default,
                (gradient, weight),
                [],
            ),
            (node.name, "W", weights, torch.ops.aten._grouped_mm.default, (rows, gradient), updated),
        ):
            left, right = (factor.meta["val"] for factor in factors)
            described = (left, right.mT) if phase == "I" else (left.mT, right)
            if not made:
                continue
            call = self.call(node, target, (*described, offsets), {}, made[0].meta["val"])
            self.append(node, name, phase, [*factors, offsets], made, learned, call)

    def append(
        self,
        node: Node,
        name: str,
        phase: str,
        sources: list[Node],
        results: list[Node],
        updated: list[str],
        call: Call,
    ) -> None:
        """Add a call that stands for *node* or a part of it."""
        roots = dict.fromkeys(self.roots[source] for source in sources if source in self.roots)
        read = [self.joint.parameter_of[root] for root in roots if root in self.joint.parameter_of]
        taken: dict[str, int] = {}
        for source in dict.fromkeys(sources):
            root, value = self.roots.get(source), source.meta.get("val")
            read_name = None if root is None else self.name_of(root)
            if read_name in self.result.tensors and isinstance(value, torch.Tensor):
                taken[read_name] = taken.get(read_name, 0) + self.spec(value, node).bytes
        self.result.calls.append(
            Primitive(
                name=name,
                kind=call.kind,
                phase=phase,
                path=module_of(node) or "",
                position=self.phases.position(node),
                inputs=[name for name in map(self.name_of, roots) if name in self.result.tensors],
                read_bytes=taken,
                outputs=[self.name_of(result) for result in results],
                parameters=list(dict.fromkeys([*read, *updated])),
                call=call,
                node=node,
                results=results,
            )
        )

    def results(self, node: Node) -> list[Node]:
        """The nodes that stand for tensors made by this call: itself, or the parts of its result that are used."""
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            return [node]
        if not isinstance(value, (tuple, list)):
            return []
        return [user for user in node.users if isinstance(user.meta.get("val"), torch.Tensor)]

    def bytes_of(self, value: torch.Tensor, node: Node) -> int:
        return self.count(value.numel(), node) * value.element_size()

    def count(self, size: Any, node: Node) -> int:
        """A number of elements; where it depends on data, with the assumed size in place of what is not known."""
        if isinstance(size, int):
            return size
        symbolic = size.node
        if self.assumed_size is None:
            raise CaptureError(
                f'module "{module_of(node) or ""}": the size {size} of {node.name} depends on data'
                "\nhint: give assumed_size, for example the expected number of tokens per expert"
            )
        expression = symbolic.expr
        return int(expression.subs(dict.fromkeys(expression.free_symbols, self.assumed_size)))

    def spec(self, value: torch.Tensor, node: Node) -> TensorSpec:
        shape = tuple(self.count(size, node) for size in value.shape)
        stride = tuple(self.count(step, node) for step in value.stride())
        return TensorSpec(shape, stride, value.dtype)

    def call_of(self, node: Node, arguments: tuple[Any, ...]) -> Call:
        return self.call(node, node.target, arguments, node.kwargs, node.meta["val"])

    def call(self, node: Node, target: Any, arguments: Any, keywords: Any, result: Any) -> Call:
        """A call with these arguments, nodes or tensors, that stands for *node* or a part of it."""

        def described(structure: Any) -> Any:
            values = tree_map_only(Node, lambda source: source.meta.get("val"), structure)
            values = tree_map_only(torch.Tensor, lambda value: self.spec(value, node), values)
            return tree_map_only(torch.SymInt, lambda size: self.count(size, node), values)

        kind = flop_formulas.kind_of(target)
        return Call.create(target, kind, described(arguments), dict(described(keywords)), described(result))


def signatures(calls: Iterable[Primitive], key: Callable[[Primitive], Any]) -> dict[Any, tuple[str, ...]]:
    """What the forward calls with one key are, in order: equal tuples for repeated blocks.

    Backward calls may differ: the first block has no gradient of its inputs where the batch needs none.
    """
    lists: dict[Any, list[str]] = {}
    for call in calls:
        if call.phase == "F":
            lists.setdefault(key(call), []).append(call.call.signature)
    return {group: tuple(items) for group, items in lists.items()}
