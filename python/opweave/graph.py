"""Computational graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from opweave import _core
from opweave.arguments import expect
from opweave.document import Input

if TYPE_CHECKING:
    from typing_extensions import Self


class Graph(Input[_core.Graph]):
    """The operators, tensors and parameters of one microbatch, and how an iteration repeats them.

    Made by from_json, from_file or from_dict, by opweave.capture or a Pipeline. Immutable and checked: whoever holds a
    graph need not ask whether it is well formed.
    """

    _kind = "graph"
    _with_more: ClassVar[dict[str, Callable[[_core.Graph, Any, str], Graph]]] = {}
    """By the key under which a graph's file says more than the core knows: what reads it, from the class that does."""
    times_from = ""
    """Where its durations come from, in words, as far as opweave knows: "measured on cpu x 1"."""

    @staticmethod
    def _parse(text: str, source: str) -> _core.Graph:
        return _core.parse_graph(text, source)

    @classmethod
    def from_json(cls, text: str, source: str | None = None) -> Self:
        """Read a text; *source* names it in errors. Raises InputError.

        What opweave.capture wrote is a CapturedGraph again.
        """
        graph = super().from_json(text, source)
        if not any(f'"{key}"' in text for key in cls._with_more):
            return graph
        content = json.loads(text)
        for key, read in cls._with_more.items():
            if content.get(key) is not None:
                return read(graph._core, content[key], source or cls._kind)  # type: ignore[return-value]
        return graph

    @property
    def operators(self) -> list[dict[str, Any]]:
        """The operators, keys as in the file. Do not change them; see to_dict."""
        operators: list[dict[str, Any]] = self._content["operators"]
        return operators

    @property
    def tensors(self) -> dict[str, int]:
        """Bytes of every tensor by name."""
        return {tensor["name"]: tensor["bytes"] for tensor in self._content.get("tensors", ())}

    @property
    def parameters(self) -> dict[str, int]:
        """Bytes of the weights of every parameter by name."""
        return {parameter["name"]: parameter["bytes"] for parameter in self._content.get("parameters", ())}

    @property
    def training(self) -> dict[str, Any]:
        """How an iteration repeats the graph: microbatches, replicas, bytes of gradients and optimizer state."""
        return {"microbatches": 1, "replicas": 1, **self._content.get("training", {})}

    def with_training(
        self,
        *,
        microbatches: int | None = None,
        replicas: int | None = None,
        gradient_bytes_per_weight_byte: float | None = None,
        optimizer_bytes_per_weight_byte: float | None = None,
        reduction_stream: str | None = None,
    ) -> Self:
        """The same graph in another training setting; what is None stays.

        With *reduction_stream* gradients of replicas take time on that stream (docs/memory-modes.md).
        bf16 weights under Adam with fp32 copies keep 1 byte of gradients and 6 of optimizer state per byte of weights.
        """
        content = self.to_dict()
        training = content.setdefault("training", {})
        if microbatches is not None or replicas is not None:
            # A binding of microbatches to replicas is for the numbers that its author had in mind.
            training.pop("replica_of_microbatch", None)
        changes = {
            "microbatches": microbatches,
            "replicas": replicas,
            "gradient_bytes_per_weight_byte": gradient_bytes_per_weight_byte,
            "optimizer_bytes_per_weight_byte": optimizer_bytes_per_weight_byte,
            "reduction_stream": reduction_stream,
        }
        training.update({key: value for key, value in changes.items() if value is not None})
        return self._derived(content)

    def with_durations(self, durations: Mapping[str, int | Mapping[str, int]], times_from: str = "given") -> Self:
        """The same graph with measured durations (ns) by operator: one number, or one per device type.

        *times_from* is what reports say of them. Raises InputError for a name that is no operator.
        """
        expect(durations, Mapping, "durations", "a dictionary of nanoseconds by operator")
        content = self.to_dict()
        left = dict(durations)
        for op in content["operators"]:
            if op["name"] in left:
                duration = left.pop(op["name"])
                op["duration_ns"] = dict(duration) if isinstance(duration, Mapping) else duration
                op.pop("modes", None)
        if left:
            raise _core.InputError(f'durations: operator "{next(iter(left))}" is unknown')
        result = self._derived(content)
        result.times_from = times_from
        return result

    def _derived(self, content: dict[str, Any]) -> Self:
        """This graph with other content, and all that it knows beside its file."""
        result = type(self)(Graph.from_dict(content, self.name or "graph")._core)
        result.times_from = self.times_from
        return result

    def _repr_html_(self) -> str:
        from opweave.notebook import graph_html

        return graph_html(self)

    def __repr__(self) -> str:
        return (
            f"<opweave.Graph {self.name!r}: {len(self.operators)} operators, {len(self.tensors)} tensors, "
            f"{len(self.parameters)} parameters, {self.training['microbatches']} microbatches>"
        )
