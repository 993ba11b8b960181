"""What happens when a cluster follows the order of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opweave import _core
from opweave.arguments import expect
from opweave.plans import Plan


@dataclass(frozen=True)
class Simulation:
    """Figures of one simulated iteration."""

    makespan_ns: int
    period_ns: int
    bubble_ratio: float
    moved_bytes: int
    parameter_copies: int
    devices: list[dict[str, Any]]
    """Per device: compute_busy_ns, bubble_ns, span_idle_ns, peak_memory_bytes, ... as in a plan's statistics."""


def simulate(
    plan: Plan,
    *,
    contention: str | None = None,
    compute_slowdown: float = 1.0,
    durations: Mapping[str, int] | None = None,
    channels: str = "free",
) -> Simulation:
    """Run the order of *plan*, every task as early as its inputs, streams and links allow.

    Args:
        plan: Whose order is followed.
        contention: "none", "endpoint" or "link"; None takes that of the plan.
        compute_slowdown: Compute takes this many times longer while another stream of its device is busy; 1 to 1000.
        durations: Nanoseconds by operator ("mlp.F") or task ("mlp.F#3") instead of the planned ones.
        channels: How messages take turns: "free" (they overtake each other), "in-order" (one queue per device, a send
            ends with its receive), or "rendezvous-" or "buffered-" with "rank", "pair" or "direction"
            (docs/messages.md).

    Raises InputError for arguments out of range and for an order whose tasks wait for each other.
    """
    expect(plan, Plan, "plan", "an opweave.Plan")
    expect(durations, (Mapping, type(None)), "durations", "a dictionary of nanoseconds by operator")
    text = None if durations is None else json.dumps(dict(durations))
    figures = _core.simulate(
        plan.graph._core, plan.cluster._core, plan._core, contention, compute_slowdown, text, channels
    )
    return Simulation(**figures)
