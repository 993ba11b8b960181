"""Cutting a step into segments: intervals of its forward order, each a module, or a block of a repeated structure.

Segments are intervals because a module may be left and entered again (attention between its projections): an operator
per module would wait for itself. An interval of a valid order never does, and backward calls fall into the segment of
the forward call that they belong to, in opposite order.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from opweave.capture.loops import Loop, Loops
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
    """Modules that are repeated: children of a list or sequence with two or more of one class.

    The outermost ones, but not the stages that vision models group them in: children of which no two have parameters of
    the same shapes, and each of which is or holds a list of modules of one class.
    """
    blocks: list[str] = []
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        children = [(f"{name}.{key}" if name else key, child) for key, child in module.named_children()]
        if isinstance(module, _LISTS):
            learning = [(path, child) for path, child in children if next(child.parameters(), None) is not None]
            repeated = [child for child in learning if sum(type(other) is type(child[1]) for _, other in learning) > 1]
            if repeated and not _are_stages([child for _, child in repeated]):
                blocks += [path for path, _ in repeated]
                children = [child for child in children if child not in repeated]
        waiting += reversed(children)
    return blocks


_LISTS = (nn.ModuleList, nn.Sequential)


def _are_stages(modules: list[nn.Module]) -> bool:
    shapes = [tuple((name, parameter.shape) for name, parameter in module.named_parameters()) for module in modules]
    if len(set(shapes)) < len(shapes):
        return False
    return all(isinstance(module, nn.ModuleList) or _holds_equals(module) for module in modules)


def _holds_equals(module: nn.Module) -> bool:
    """Some list in it has modules of one class alone."""
    for part in module.modules():
        learning = [child for child in part.children() if next(child.parameters(), None) is not None]
        if isinstance(part, _LISTS) and learning and len({type(child) for child in learning}) == 1:
            return True
    return False


def _inside(path: str, module: str) -> bool:
    return path == module or path.startswith(module + ".")


def by_module(primitives: Primitives, loops: Loops) -> Segments:
    """A segment per visit of an innermost module, or per loop that visits several in each step."""
    return _cut(primitives, {call.name: call.path for call in primitives.calls}, loops)


def by_block(primitives: Primitives, model: nn.Module, loops: Loops) -> Segments:
    """A segment per repeated block; what lies between blocks is cut where a module with parameters begins."""
    return _cut(primitives, layer_labels(primitives, model), loops)


def layer_labels(primitives: Primitives, model: nn.Module) -> dict[str, str]:
    """For every forward call, its block or the module with parameters that it is in; "" for that of the call before."""
    blocks = set(block_names(model))
    parents = {block.rsplit(".", depth)[0] for block in blocks for depth in range(1, block.count(".") + 1)}

    def label(call: Primitive) -> str:
        parts = call.path.split(".")
        for length in range(1, len(parts) + 1):
            if ".".join(parts[:length]) in blocks:
                return ".".join(parts[:length])
        # Calls of the model itself, between its modules, and modules without parameters belong to what is before them.
        return "" if call.path in parents else call.path

    labels = {call.name: label(call) for call in primitives.calls if call.phase == "F"}
    labels |= _recurrent_layers(primitives, model)
    with_parameters = {labels[call.name] for call in primitives.calls if call.phase == "F" and call.parameters}
    return {name: label if label in with_parameters else "" for name, label in labels.items()}


def _recurrent_layers(primitives: Primitives, model: nn.Module) -> dict[str, str]:
    """The layer ("lstm.l1") of every forward call of an LSTM, GRU or RNN, whose layers are no modules.

    One layer runs after the other; the names of parameters tell which ("weight_ih_l1").
    """
    recurrent = {name for name, module in model.named_modules() if isinstance(module, nn.RNNBase)}
    found: dict[str, str] = {}
    number = dict.fromkeys(recurrent, "0")
    for call in primitives.calls:
        if call.phase == "F" and call.path in recurrent:
            for parameter in call.parameters:
                match = re.search(r"_l(\d+)", parameter.removeprefix(call.path))
                number[call.path] = match.group(1) if match else number[call.path]
            found[call.name] = f"{call.path}.l{number[call.path]}" if call.path else f"l{number['']}"
    return found


def _cut(primitives: Primitives, label_of: Mapping[str, str], loops: Loops) -> Segments:
    forward = [call for call in primitives.calls if call.phase == "F"]
    in_loops = [loops.at(call.position) for call in forward]
    visited: dict[Loop, set[str]] = {}
    for call, loop in zip(forward, in_loops, strict=True):
        if loop is not None and label_of[call.name]:
            visited.setdefault(loop, set()).add(label_of[call.name])
    labels = [
        label_of[call.name] if loop is None or len(visited.get(loop, ())) < 2 else loop.name
        for call, loop in zip(forward, in_loops, strict=True)
    ]
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
