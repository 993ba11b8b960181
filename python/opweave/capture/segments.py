"""Cutting a step into segments: intervals of its forward order, each a module, or a block of a repeated structure.

Segments are intervals because a module may be left and entered again (attention between its projections): an operator
per module would wait for itself. An interval of a valid order never does, and backward calls fall into the segment of
the forward call that they belong to, in opposite order.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from opweave.capture.primitives import Primitive, Primitives


@dataclass
class Segment:
    """An interval of the forward order."""

    name: str
    start: int
    """Place of its first call; it ends where the next one starts."""


class Segments:
    """All segments, in forward order."""

    def __init__(self, segments: list[Segment]) -> None:
        self.all = segments
        self._starts = [segment.start for segment in segments]

    def index_of(self, position: int) -> int:
        """Index of the segment of a place."""
        return max(bisect.bisect_right(self._starts, position) - 1, 0)


def block_names(model: nn.Module) -> list[str]:
    """Outermost modules that are repeated: children of a list or sequence with two or more of one class."""
    blocks: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.Sequential)) or any(_inside(name, block) for block in blocks):
            continue
        children = [child for child in module.named_children() if next(child[1].parameters(), None) is not None]
        for child_name, child in children:
            if sum(type(other) is type(child) for _, other in children) > 1:
                blocks.append(f"{name}.{child_name}" if name else child_name)
    return blocks


def _inside(path: str, module: str) -> bool:
    return path == module or path.startswith(module + ".")


def by_module(primitives: Primitives) -> Segments:
    """A segment per visit of an innermost module."""
    return _cut(primitives, lambda call: call.path)


def by_block(primitives: Primitives, model: nn.Module) -> Segments:
    """A segment per repeated block; what lies between blocks is cut where a module with parameters begins."""
    blocks = set(block_names(model))
    parents = {block.rsplit(".", depth)[0] for block in blocks for depth in range(1, block.count(".") + 1)}

    def label(call: Primitive) -> str:
        parts = call.path.split(".")
        for length in range(1, len(parts) + 1):
            if ".".join(parts[:length]) in blocks:
                return ".".join(parts[:length])
        # Calls of the model itself, between its modules, and modules without parameters belong to what is before them.
        return "" if call.path in parents else call.path

    with_parameters = {label(call) for call in primitives.calls if call.phase == "F" and call.parameters}
    return _cut(primitives, lambda call: label(call) if label(call) in with_parameters else "")


def _cut(primitives: Primitives, label_of: Callable[[Primitive], str]) -> Segments:
    forward = [call for call in primitives.calls if call.phase == "F"]
    labels = [label_of(call) for call in forward]
    # Calls of no module at the end are the loss; elsewhere they belong to what is before them, at the start to
    # what follows.
    end = len(labels)
    while end and not labels[end - 1]:
        end -= 1
    if end:
        labels[end:] = ["loss"] * (len(labels) - end)
    else:
        labels = ["model"] * len(labels)
    first = next((label for label in labels if label), "model")
    segments: list[Segment] = []
    visits: dict[str, int] = {}
    current = ""
    for call, label in zip(forward, labels, strict=True):
        label = label or current or first
        if label != current:
            visits[label] = visits.get(label, 0) + 1
            name = label if visits[label] == 1 else f"{label}/{visits[label]}"
            segments.append(Segment(name, call.position))
            current = label
    return Segments(segments or [Segment("model", 0)])
