"""The graph of a captured step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opweave import _core
from opweave.costs.call import Call
from opweave.graph import Graph

if TYPE_CHECKING:
    from typing_extensions import Self


class CapturedGraph(Graph):
    """A graph that still knows the calls behind its operators, so that opweave.costs can time them one by one.

    A file keeps the graph alone; read back, its operators have the sums of flops and bytes.
    """

    def __init__(
        self,
        core: _core.Graph,
        calls: Mapping[str, list[Call]],
        blocks: list[list[str]],
        uncounted: Mapping[str, int],
        unread_parameters: list[str],
        parameters_without_gradient: list[str],
    ) -> None:
        """Users call opweave.capture."""
        super().__init__(core)
        self.calls: dict[str, list[Call]] = dict(calls)
        """The calls behind every operator, in the order in which they run; none for operators of phase O."""
        self.blocks = blocks
        """Repeated blocks: names of modules whose forward does the same calls on the same shapes, by group."""
        self.uncounted: dict[str, int] = dict(uncounted)
        """Kinds of calls without a formula for flops (counted as 0, timed by their bytes), with their number."""
        self.unread_parameters = unread_parameters
        """Parameters of the model that the step never reads. They are in the graph, but no operator needs them."""

        self.parameters_without_gradient = parameters_without_gradient
        """Parameters that are read but for which the backward pass computes nothing; they are as frozen ones."""

    @property
    def flops(self) -> float:
        """Operations of one microbatch, forward and backward."""
        return sum(call.flops for calls in self.calls.values() for call in calls)

    def _derived(self, content: dict[str, Any]) -> Self:
        core = Graph.from_dict(content, self.name or "graph")._core
        return type(self)(
            core, self.calls, self.blocks, self.uncounted, self.unread_parameters, self.parameters_without_gradient
        )
