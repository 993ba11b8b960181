"""What moved between two plans, or what two strategies decide differently (docs/explain.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.arguments import expect, expect_one_of
from opweave.plans import Plan
from opweave.strategies import RankedStrategy, Strategies, record_text
from opweave.table import Tables, as_frame, as_html, as_text

if TYPE_CHECKING:
    import pandas

    AnyStrategy = RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class PlanDiff:
    """What moved between two plans, and what it cost or saved. Tasks are matched by operator and microbatch."""

    same_problem: bool
    """The plans are for equal graphs and clusters."""
    same_settings: bool
    first: dict[str, Any]
    """makespan_ns, lower_bound_ns, gap, bubble_ratio, peak_memory_bytes, moved_bytes, method."""
    second: dict[str, Any]
    tasks_in_both: int
    tasks_only_in_first: int
    tasks_only_in_second: int
    moved: list[dict[str, Any]] = field(repr=False)
    """To other devices: from, to, tasks, operators; most tasks first."""
    orders: list[dict[str, Any]] = field(repr=False)
    """Per device: tasks_stayed, pairs_swapped and their share of all pairs."""
    shifted: list[dict[str, Any]] = field(repr=False)
    """Tasks with another start: task, first_start_ns, second_start_ns; the largest change first."""
    costs: dict[str, Any] | None = field(default=None, repr=False)
    """Where problem and settings are the same, by simulation: first_ns, with_places_ns (the places of the second plan
    in the order of the first), second_ns, idle_first and idle_second by cause, moved_alone (each moved group)."""

    def records(self, table: str = "figures") -> list[dict[str, Any]]:
        """A flat dictionary per row of "figures", "moved", "orders" or "shifted"."""
        expect_one_of(table, ("figures", "moved", "orders", "shifted"), "table")
        if table == "figures":
            return [{"figure": key, "first": value, "second": self.second[key]} for key, value in self.first.items()]
        rows: list[dict[str, Any]] = getattr(self, table)
        return rows

    def to_pandas(self, table: str = "figures") -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records(table))

    def _tables(self) -> Tables:
        figures = [
            (_words(key), _human(key, value), _human(key, self.second[key])) for key, value in self.first.items()
        ]
        moved = [(one["from"], one["to"], str(one["tasks"]), _first_of(one["operators"])) for one in self.moved]
        orders = [
            (one["device"], str(one["tasks_stayed"]), f"{one['pairs_swapped']} ({100 * one['share']:.1f}%)")
            for one in self.orders
        ]
        tables: Tables = [(("", "first", "second"), figures)]
        if moved:
            tables.append((("from", "to", "tasks", "operators"), moved))
        tables.append((("device", "tasks that stayed", "pairs that swapped"), orders))
        if self.costs:
            steps = [("first plan", "first_ns"), ("with the places of the second", "with_places_ns"),
                     ("and its order: second plan", "second_ns")]  # fmt: skip
            tables.append(
                (("simulated", "makespan"), [(name, _core.human_time(self.costs[key])) for name, key in steps])
            )
        return tables

    def __str__(self) -> str:
        return "\n\n".join(as_text(head, rows) for head, rows in self._tables())

    def _repr_html_(self) -> str:
        return "".join(as_html(head, rows) for head, rows in self._tables())


@dataclass(frozen=True)
class StrategyDiff:
    """What two strategies decide differently, and the parts of step and memory of both."""

    same_model: bool
    for_first: dict[str, Any]
    """model, device, devices, device_memory_bytes, global_batch, sequence, target."""
    for_second: dict[str, Any]
    first: RankedStrategy
    second: RankedStrategy
    decisions: tuple[tuple[str, str, str], ...]
    """What is decided differently: its name in the file, and both values as JSON ("-" where it is not decided)."""

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per part of step (ns) and memory (bytes): part, unit, first, second, change."""
        a, b = self.first, self.second
        times = {**a.time_ns, "step": a.step_ns}, {**b.time_ns, "step": b.step_ns}
        rows = []
        for unit, (left, right) in (("ns", times), ("bytes", (a.memory_bytes, b.memory_bytes))):
            for part, value in left.items():
                if part != "stage":
                    row = {"part": part, "unit": unit, "first": value, "second": right[part]}
                    rows.append({**row, "change": right[part] - value})
        return rows

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def _tables(self) -> Tables:
        human = {"ns": _core.human_time, "bytes": _core.human_bytes}
        parts = [
            (
                row["part"] if row["unit"] == "ns" else f"memory: {row['part']}",
                human[row["unit"]](row["first"]),
                human[row["unit"]](row["second"]),
                f"{100 * row['change'] / row['first']:+.1f}%" if row["first"] and row["change"] else "-",
            )
            for row in self.records()
        ]
        return [(("decision", "first", "second"), list(self.decisions)), (("part", "first", "second", "change"), parts)]

    def __str__(self) -> str:
        return "\n\n".join(as_text(head, rows) for head, rows in self._tables())

    def _repr_html_(self) -> str:
        return "".join(as_html(head, rows) for head, rows in self._tables())


@overload
def diff(first: Plan, second: Plan) -> PlanDiff: ...
@overload
def diff(first: AnyStrategy, second: AnyStrategy) -> StrategyDiff: ...
def diff(first: Plan | AnyStrategy, second: Plan | AnyStrategy) -> PlanDiff | StrategyDiff:
    """What moved between two plans and what it cost or saved; or what two strategies decide differently.

    Args:
        first: A Plan; or a strategy that parallelize found, the best of several, the path or the content of its file.
        second: The same kind of thing.

    Plans may be for different graphs: tasks are then matched by name, and nothing is simulated. Times are integer
    nanoseconds, memory is integer bytes.

    Raises:
        InputError: A plan and a strategy, a plan that breaks a rule, or a strategy that does not say what it is for.
    """
    if isinstance(first, Plan) or isinstance(second, Plan):
        for name, one in (("first", first), ("second", second)):
            expect(one, Plan, name, "an opweave.Plan, as the other is")
        assert isinstance(first, Plan) and isinstance(second, Plan)
        text = _core.diff_plans(
            first.graph._core, first.cluster._core, first._core, second.graph._core, second.cluster._core, second._core
        )
        return PlanDiff(**json.loads(text))
    content = json.loads(_core.diff_strategies(*record_text(first, "first"), *record_text(second, "second")))
    content["first"], content["second"] = (RankedStrategy(**content[key]) for key in ("first", "second"))
    content["decisions"] = tuple((one["decision"], one["first"], one["second"]) for one in content["decisions"])
    return StrategyDiff(**content)


def _words(key: str) -> str:
    return key.removesuffix("_ns").removesuffix("_bytes").replace("_", " ")


def _human(key: str, value: Any) -> str:
    if key.endswith("_ns"):
        return _core.human_time(value)
    if key.endswith("_bytes"):
        return _core.human_bytes(value)
    return f"{100 * value:.1f}%" if isinstance(value, float) else str(value)


def _first_of(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
