"""The graph of a captured step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opweave import _core
from opweave.capture.staging import in_stages
from opweave.cluster import Cluster
from opweave.costs.call import Call
from opweave.costs.kernels import Kernel
from opweave.errors import InputError
from opweave.graph import Graph

if TYPE_CHECKING:
    from typing_extensions import Self


class CapturedGraph(Graph):
    """A graph that still knows the calls behind its operators, so that opweave.costs can time them one by one.

    Its file keeps them under the key "captured" (docs/formats.md), so a graph that is read again is the same.
    """

    def __init__(
        self,
        core: _core.Graph,
        calls: Mapping[str, list[Call]] = {},
        blocks: Sequence[list[str]] = (),
        uncounted: Mapping[str, int] = {},
        unread_parameters: Sequence[str] = (),
        parameters_without_gradient: Sequence[str] = (),
        inputs: Mapping[str, str] = {},
        granularity: str = "operator",
        kernels: Sequence[Kernel] = (),
        tokens: int | None = None,
        times_from: str = "",
        loss: Callable[..., Any] | None = None,
    ) -> None:
        """Users call opweave.capture."""
        super().__init__(core)
        self.calls: dict[str, list[Call]] = dict(calls)
        """The calls behind every operator, in the order in which they run; none for operators of phase O."""
        self.blocks = list(blocks)
        """Repeated blocks: names of modules whose forward does the same calls on the same shapes, by group."""
        self.uncounted: dict[str, int] = dict(uncounted)
        """Kinds of calls without a formula for flops (counted as 0, timed by their bytes), with their number."""
        self.unread_parameters = list(unread_parameters)
        """Parameters of the model that the step never reads. They are in the graph, but no operator needs them."""
        self.parameters_without_gradient = list(parameters_without_gradient)
        """Parameters that are read but for which the backward pass computes nothing; they are as frozen ones."""
        self.inputs: dict[str, str] = dict(inputs)
        """What tensors that no operator makes are: "input" (an argument of the model, by its name there), "closure" (a
        variable of the loss function), "buffer" or "constant" of the model, "gradient" of an output."""
        self.granularity = granularity
        """As it was captured."""
        self.loss = loss
        """As it was captured; None in a graph that was read from a file."""
        self.kernels = list(kernels)
        """Calls that a compiler fuses to one kernel: chains of element-wise calls, of two calls or more."""
        self.tokens = tokens
        """Of one microbatch: elements of its largest input of integers; None where it has none."""
        self.times_from = times_from

    @property
    def flops(self) -> float:
        """Operations of one microbatch, forward and backward."""
        return sum(call.flops for calls in self.calls.values() for call in calls)

    def to_json(self) -> str:
        """The file of this graph: the canonical form of docs/formats.md, and what capture knows beside it."""
        distinct: dict[Call, int] = {}
        operators = {
            name: [distinct.setdefault(call, len(distinct)) for call in calls] for name, calls in self.calls.items()
        }
        captured = {
            "calls": [call.to_record() for call in distinct],
            "operators": operators,
            "blocks": self.blocks,
            "uncounted": self.uncounted,
            "unread_parameters": self.unread_parameters,
            "parameters_without_gradient": self.parameters_without_gradient,
            "inputs": self.inputs,
            "granularity": self.granularity,
            "kernels": [kernel.to_record() for kernel in self.kernels],
            "tokens": self.tokens,
            "times_from": self.times_from,
        }
        return f'{super().to_json().rstrip().removesuffix("}").rstrip()},\n  "captured": {json.dumps(captured)}\n}}\n'

    @classmethod
    def from_captured(cls, core: _core.Graph, captured: Mapping[str, Any], source: str) -> CapturedGraph:
        """The graph of a file whose key "captured" has this value. Raises InputError naming file, place and value."""
        place = f"{source}: /captured"
        try:
            table = [Call.from_record(record) for record in captured["calls"]]
            calls = {name: [table[index] for index in indices] for name, indices in captured["operators"].items()}
            graph = cls(
                core,
                calls,
                captured["blocks"],
                captured["uncounted"],
                captured["unread_parameters"],
                captured["parameters_without_gradient"],
                captured.get("inputs", {}),  # graphs that were written before these keys existed have none
                captured.get("granularity", "operator"),
                [Kernel.from_record(record) for record in captured.get("kernels", ())],
                captured.get("tokens"),
                str(captured.get("times_from", "")),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{place}: {type(error).__name__}: {error}, expected what capture writes") from None
        operators = {op["name"]: op for op in Graph(core).operators}
        for name, found in calls.items():
            if name not in operators:
                raise InputError(f'{place}/operators: "{name}" is no operator of the graph')
            for key, total in (
                ("flops", sum(call.flops for call in found)),
                ("bytes_accessed", sum(call.bytes for call in found)),
            ):
                if operators[name].get(key, 0) != total:
                    raise InputError(
                        f'{place}/operators: the calls of "{name}" add up to {key} {total:g}, the operator has '
                        f"{operators[name].get(key, 0):g}\nhint: leave the key out after changing the operators"
                    )
        for kernel in graph.kernels:
            for part in kernel.parts:
                if not 0 <= part.index < len(calls.get(part.operator, ())):
                    raise InputError(f'{place}/kernels: operator "{part.operator}" has no call {part.index}')
        return graph

    def staged(self, stages: int, shape: str = "linear", *, devices: Cluster | Sequence[str]) -> Self:
        """The same graph as a pipeline of *stages* of whole blocks, as exports need it: with ``stage`` and ``devices``.

        Stages are balanced by the times of their operators, or by their flops where nothing was timed: the heaviest is
        as light as whole blocks allow. Plan it with ``blocks="stage"``.

        Args:
            stages: How many; at most as many as there are blocks and modules between them.
            shape: "linear" (a stage per device), "loop" (stage s on device s mod the number of devices) or "V" (two
                stages per device, there and back).
            devices: A cluster, or names of devices in the order of the pipeline.

        Raises InputError for numbers that do not fit the shape, and for a parameter that two devices would read.
        """
        names = devices.devices if isinstance(devices, Cluster) else list(devices)
        return self._derived(in_stages(self.to_dict(), stages, shape, names))

    def _derived(self, content: dict[str, Any]) -> Self:
        content = {key: value for key, value in content.items() if key != "captured"}  # it is at hand
        core = Graph.from_dict(content, self.name or "graph")._core
        return type(self)(
            core,
            self.calls,
            self.blocks,
            self.uncounted,
            self.unread_parameters,
            self.parameters_without_gradient,
            self.inputs,
            self.granularity,
            self.kernels,
            self.tokens,
            self.times_from,
            self.loss,
        )


Graph._with_more["captured"] = CapturedGraph.from_captured
