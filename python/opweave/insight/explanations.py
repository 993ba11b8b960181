"""Why a plan or a strategy takes as long as it does (docs/explain.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.arguments import expect, expect_one_of
from opweave.plans import Plan
from opweave.strategies import RankedStrategy, Strategies, record_text
from opweave.table import Tables, as_frame, as_html, as_text, titled
from opweave.work import answer

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PathStep:
    """A step of the critical path: a task, a transfer, or (neither) time in which the plan holds the next step back."""

    from_ns: int
    until_ns: int
    spent_on: str
    """Kind and phase of the operator ("attention F"), "transfers", "waiting for memory" or "held back by the plan"."""
    starts_after: str
    """How it follows from the step before it: start, input, transfer, stream, link or memory."""
    task: str | None = None
    """ "mlp.F#3": operator and microbatch."""
    transfer: dict[str, Any] | None = None
    """tensor, copy, source, destination."""
    devices: tuple[str, ...] = ()
    """Where the task runs."""


@dataclass(frozen=True)
class DeviceIdle:
    """Idle time of the compute streams of a device (ns) by cause; the parts sum up to the bubble."""

    device: str
    bubble_ns: int
    idle_ns: dict[str, int]
    """By ramp-up, ramp-down, unused, input, transfer, stream, memory and held (docs/explain.md)."""


@dataclass(frozen=True)
class IdleSpan:
    """A stretch in which the compute stream of a device is idle for one cause."""

    device: str
    from_ns: int
    until_ns: int
    cause: str
    task: str | None = None
    """Whose end ends the stretch."""
    transfer: dict[str, Any] | None = None
    """Or the transfer whose end ends it: tensor, copy, source, destination."""
    next: str | None = None
    """The task that starts after the gap; None in a ramp-down."""


@dataclass(frozen=True)
class TaskStart:
    """When and why a task starts, and how much later it may end."""

    task: str
    operator: str
    devices: tuple[str, ...]
    start_ns: int
    end_ns: int
    slack_ns: int
    """How much later it may end without a longer makespan, all orders kept. Memory is left out."""
    starts_after: str
    """The last condition of its start: start, input, transfer, stream, link or memory."""
    since_ns: int
    """When that was met; at most the start."""
    reason: dict[str, Any] | None = None
    """``task`` or ``transfer`` whose end met it."""


@dataclass(frozen=True)
class OtherDevice:
    """What becomes of a plan if an operator runs elsewhere; everything keeps its order, and the result is simulated."""

    device: str
    instead_of: str
    moved_tasks: int
    """That move together, with everything that must share their device."""
    stays_ns: int
    """Makespan of the same simulation without a move."""
    makespan_ns: int | None
    """With the move; None where the operator cannot run there."""
    fits_memory: bool
    obstacle: str
    """Why it cannot run there; may be empty."""


@dataclass(frozen=True)
class PlanExplanation:
    """Why a plan takes as long as it does. The path fills the makespan without holes; idle parts fill the bubble."""

    plan: Plan = field(repr=False)
    makespan_ns: int
    lower_bound_ns: int
    critical_path: tuple[PathStep, ...] = field(repr=False)
    """From 0 to the makespan, in order of time."""
    path_shares: tuple[tuple[str, int, int], ...] = field(repr=False)
    """The path summed up by ``spent_on``: what, nanoseconds, steps; the longest first."""
    devices: tuple[DeviceIdle, ...] = field(repr=False)
    """In the order of the cluster."""
    idle_spans: tuple[IdleSpan, ...] = field(repr=False)
    """By device, then time."""
    tasks: tuple[TaskStart, ...] = field(repr=False)

    def other_devices(self, operator: str) -> tuple[OtherDevice, ...]:
        """What each other device would cost for an operator (its name in the graph); empty for gangs.

        Raises InputError where the graph has no such operator.
        """
        expect(operator, str, "operator", "the name of an operator")
        plan = self.plan
        text = _core.other_devices(plan.graph._core, plan.cluster._core, plan._core, operator)
        return tuple(OtherDevice(**one) for one in json.loads(text))

    def records(self, table: str = "critical_path") -> list[dict[str, Any]]:
        """A flat dictionary per row of "critical_path", "path_shares", "devices", "idle_spans" or "tasks"."""
        expect_one_of(table, ("critical_path", "path_shares", "devices", "idle_spans", "tasks"), "table")
        if table == "path_shares":
            return [{"spent_on": what, "time_ns": ns, "steps": steps} for what, ns, steps in self.path_shares]
        if table == "devices":
            return [
                {"device": one.device, "bubble_ns": one.bubble_ns, **{f"{c}_ns": ns for c, ns in one.idle_ns.items()}}
                for one in self.devices
            ]
        return [_flat(vars(one)) for one in getattr(self, table)]

    def to_pandas(self, table: str = "critical_path") -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records(table))

    def _idle_rows(self) -> tuple[list[str], list[list[str]]]:
        causes = [c for c in self.devices[0].idle_ns if any(one.idle_ns[c] for one in self.devices)]
        rows = [
            [one.device, *(_core.human_time(ns) for ns in (one.bubble_ns, *(one.idle_ns[c] for c in causes)))]
            for one in self.devices
        ]
        return ["device", "bubble", *causes], rows

    def _share_rows(self) -> list[list[str]]:
        whole = max(self.makespan_ns, 1)
        return [
            [what, _core.human_time(ns), f"{100 * ns / whole:.1f}%", str(steps)] for what, ns, steps in self.path_shares
        ]

    def __str__(self) -> str:
        parts = [
            self.plan.summary(),
            f"Critical path: {len(self.critical_path)} steps",
            as_text(_SHARES, self._share_rows()),
            "Idle time of the compute streams by cause",
            as_text(*self._idle_rows()),
        ]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        title = titled(self.plan.graph.name, self.plan.summary())
        return title + as_html(_SHARES, self._share_rows()) + as_html(*self._idle_rows())


_SHARES = ("spent on", "time", "share", "steps")


@dataclass(frozen=True)
class StrategyExplanation:
    """Where step and memory of a strategy go, and what every other choice of one decision would cost."""

    strategy: RankedStrategy
    """With its parts of the step (``time_ns``) and of the memory (``memory_bytes``)."""
    made_for: dict[str, Any]
    """model, device, devices, device_memory_bytes, global_batch, sequence, target."""
    other_choices: tuple[tuple[str, RankedStrategy | None, str], ...] = field(repr=False)
    """The choice, the best strategy that makes it (None where there is none), and why there is none. The other
    decisions of the mesh are held; layers on stages and what is made again are found anew."""

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per other choice: choice, step_ns, change_ns, memory_bytes, why_not."""
        return [
            {
                "choice": choice,
                "step_ns": None if best is None else best.step_ns,
                "change_ns": None if best is None else best.step_ns - self.strategy.step_ns,
                "memory_bytes": None if best is None else best.memory_bytes["total"],
                "why_not": why_not,
            }
            for choice, best, why_not in self.other_choices
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def _tables(self) -> Tables:
        one = self.strategy
        times = [
            (cause, _core.human_time(ns), f"{100 * ns / one.step_ns:.1f}%")
            for cause, ns in (*one.time_ns.items(), ("step", one.step_ns))
        ]
        total = one.memory_bytes["total"]
        memories = [
            (kind, _core.human_bytes(size), f"{100 * size / total:.1f}%")
            for kind, size in one.memory_bytes.items()
            if kind != "stage"
        ]
        others = [
            (choice, "-", why_not)
            if best is None
            else (choice, _core.human_time(best.step_ns), f"{100 * (best.step_ns / one.step_ns - 1):+.1f}%")
            for choice, best, why_not in self.other_choices
        ]
        stage = one.memory_bytes["stage"]
        return [
            (("time", "", "share"), times),
            ((f"memory of stage {stage}", "", "share"), memories),
            (("other choice", "step", "change"), others),
        ]

    def __str__(self) -> str:
        return "\n\n".join([self.strategy.label, *(as_text(head, rows) for head, rows in self._tables())])

    def _repr_html_(self) -> str:
        title = titled(self.made_for["model"], f"{self.strategy.label} on {self.made_for['devices']} devices")
        return title + "".join(as_html(head, rows) for head, rows in self._tables())


@overload
def explain(what: Plan) -> PlanExplanation: ...
@overload
def explain(
    what: RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str],
) -> StrategyExplanation: ...
def explain(
    what: Plan | RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str],
) -> PlanExplanation | StrategyExplanation:
    """Why a plan, or a strategy, takes as long as it does.

    Args:
        what: A Plan: its critical path and the idle time of every device by cause (docs/explain.md has definitions and
            why the parts sum up). Or a strategy that parallelize found, the best of several, the path or the content of
            its file: the parts of step and memory, and what every other choice of one decision would cost.

    Times are integer nanoseconds, memory is integer bytes. Of a strategy it takes seconds; Ctrl-C ends it with fewer
    choices.

    Raises:
        InputError: The plan breaks a rule, or the strategy does not say what it is for.
    """
    if isinstance(what, Plan):
        content = json.loads(_core.explain_plan(what.graph._core, what.cluster._core, what._core))
        return _plan_explanation(what, content)
    content = answer(_core.explain_strategy(*record_text(what, "explain")))
    return StrategyExplanation(
        strategy=RankedStrategy(**content["explained"]),
        made_for=content["for"],
        other_choices=tuple(
            (other["choice"], None if other["best"] is None else RankedStrategy(**other["best"]), other["why_not"])
            for other in content["other_choices"]
        ),
    )


def _plan_explanation(plan: Plan, content: Mapping[str, Any]) -> PlanExplanation:
    return PlanExplanation(
        plan=plan,
        makespan_ns=content["makespan_ns"],
        lower_bound_ns=content["lower_bound_ns"],
        critical_path=tuple(PathStep(**_with_tuples(step)) for step in content["critical_path"]),
        path_shares=tuple((one["spent_on"], one["time_ns"], one["steps"]) for one in content["path_shares"]),
        devices=tuple(
            DeviceIdle(one["device"], one["bubble_ns"], {c.removesuffix("_ns"): ns for c, ns in one["idle"].items()})
            for one in content["devices"]
        ),
        idle_spans=tuple(IdleSpan(**span) for span in content["idle_spans"]),
        tasks=tuple(TaskStart(**_with_tuples(task)) for task in content["tasks"]),
    )


def _with_tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Devices and events as text, for tables."""
    return {key: _as_cell(value) for key, value in entry.items()}


def _as_cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "tensor" in value:
            return f"{value['tensor']}#{value['copy']} {value['source']} to {value['destination']}"
        return _as_cell(next(iter(value.values())))
    return "+".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
