"""Which calls a compiler makes one kernel of, and what such a kernel reads and writes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from opweave.capture.joining import Joined, Operator
from opweave.capture.primitives import Primitive, Primitives
from opweave.costs.kernels import Kernel, Part

# Work on elements or rows without a tag of torch that says so.
_ROW_WISE = {
    "aten._fused_rms_norm",
    "aten._fused_rms_norm_backward",
    "aten._log_softmax",
    "aten._log_softmax_backward_data",
    "aten._softmax",
    "aten._softmax_backward_data",
    "aten._to_copy",
    "aten.cat",
    "aten.constant_pad_nd",
    "aten.copy",
    "aten.fill",
    "aten.full",
    "aten.full_like",
    "aten.native_dropout",
    "aten.native_dropout_backward",
    "aten.native_layer_norm",
    "aten.native_layer_norm_backward",
    "aten.new_zeros",
    "aten.ones_like",
    "aten.select_backward",
    "aten.slice_backward",
    "aten.zeros_like",
}


_Place = tuple[Operator, int, Primitive]
"""Where a call is: its operator, its number there, the call."""


def kernels(joined: Joined, primitives: Primitives) -> list[Kernel]:
    """The kernels of more than one call: element-wise calls, reductions and copies that feed each other.

    What is made and used within a kernel alone is neither written nor read. Calls join where an edge joins them, phase
    and block are the same, and as many other calls lie before them on the longest path. Then no path from one to
    another leaves the kernel, since every other call on it would make the number grow: kernels never wait for each
    other in a circle. O(calls + edges).
    """
    places: dict[str, _Place] = {
        call.name: (operator, index, call)
        for operator in joined.operators
        for index, call in enumerate(operator.primitives)
    }
    made: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    depth: dict[str, int] = {}
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for call in primitives.calls:
        operator, _, _ = places[call.name]
        parent[call.name] = call.name
        sources = [places[made[tensor]] for tensor in call.inputs if tensor in made]
        depth[call.name] = max((depth[source.name] + (not _fuses(source)) for _, _, source in sources), default=0)
        for maker, _, source in sources:
            alike = (maker.phase, maker.segment) == (operator.phase, operator.segment)
            if alike and _fuses(call) and _fuses(source) and depth[source.name] == depth[call.name]:
                parent[root(call.name)] = root(source.name)
        for tensor in call.inputs:
            readers.setdefault(tensor, []).append(call.name)
        made.update(dict.fromkeys(call.outputs, call.name))

    members: dict[str, list[_Place]] = {}
    for call in primitives.calls:
        members.setdefault(root(call.name), []).append(places[call.name])
    return [_kernel(calls, readers, primitives.tensors) for calls in members.values() if len(calls) > 1]


def _fuses(call: Primitive) -> bool:
    if call.call.counted:
        return False
    tags = getattr(call.call.target, "tags", ())
    return call.kind in _ROW_WISE or torch.Tag.pointwise in tags or torch.Tag.reduction in tags


def _kernel(calls: list[_Place], readers: Mapping[str, list[str]], tensors: Mapping[str, int]) -> Kernel:
    """What comes from outside is read once, by the first call that wants it."""
    names = {call.name for _, _, call in calls}
    own = {tensor for _, _, call in calls for tensor in call.outputs}
    read: dict[str, int] = {}
    parts: list[Part] = []
    for operator, index, call in calls:
        size = call.call.bytes
        for tensor, taken in call.read_bytes.items():
            before = tensors[tensor] if tensor in own else read.get(tensor, 0)
            read[tensor] = min(before + taken, tensors[tensor])
            size -= taken - (read[tensor] - before)
        for tensor in call.outputs:
            users = readers.get(tensor, [])
            if users and names.issuperset(users):
                size -= tensors[tensor]
        parts.append(Part(operator.name, index, max(size, 0.0)))
    return Kernel(tuple(parts))
