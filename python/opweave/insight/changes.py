"""What another cluster, graph or luck would do to a plan or a strategy (docs/what-if.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.arguments import expect, expect_count
from opweave.plans import Plan
from opweave.strategies import RankedStrategy, Strategies, record_text
from opweave.table import as_frame, as_html, as_text
from opweave.work import answer

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PlanChange:
    """What became of one change. Times are integer nanoseconds."""

    change: str
    """ "links 2 times as fast"."""
    same_order_ns: int | None
    """Makespan with placement and order kept, simulated; None where that is not possible."""
    replanned_ns: int | None
    """Makespan of a new plan, where one was asked for and found."""
    lower_bound_ns: int
    """No plan of the changed problem is shorter."""
    microbatches: int
    """Of an iteration of the changed problem: compare makespans per microbatch."""
    remark: str
    """Why there is no value; may be empty."""

    @property
    def makespan_ns(self) -> int | None:
        """Replanned, else in the same order."""
        return self.same_order_ns if self.replanned_ns is None else self.replanned_ns


@dataclass(frozen=True)
class Robustness:
    """Makespan when every task's duration is multiplied by its own factor, uniform in [1 - spread, 1 + spread]."""

    spread: float
    samples: int
    median_ns: int
    percentile95_ns: int
    """95 of 100 samples are at most this."""
    worst_ns: int


@dataclass(frozen=True)
class PlanChanges:
    """What each change, alone, would do to a plan."""

    makespan_ns: int
    """As planned."""
    microbatches: int
    """As planned."""
    changes: tuple[PlanChange, ...]
    robustness: tuple[Robustness, ...]
    """For 1, 2, 5, 10 and 20 %."""
    lower_bound_ns: int
    """No plan of the problem as it is is shorter."""

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per change, with ``per_microbatch``: its makespan per microbatch over the planned one."""
        planned = self.makespan_ns / self.microbatches
        return [
            {
                **vars(one),
                "per_microbatch": None
                if one.makespan_ns is None or not planned
                else one.makespan_ns / one.microbatches / planned,
            }
            for one in self.changes
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def _rows(self) -> list[list[str]]:
        rows = [["as planned", _core.human_time(self.makespan_ns), "", _core.human_time(self.lower_bound_ns), "", ""]]
        for one in self.records():
            ratio = one["per_microbatch"]
            rows.append(
                [
                    one["change"],
                    _time(one["same_order_ns"]),
                    _time(one["replanned_ns"]),
                    _core.human_time(one["lower_bound_ns"]),
                    "-" if ratio is None else f"{100 * (ratio - 1):+.1f}%",
                    one["remark"],
                ]
            )
        return rows

    def _luck(self) -> list[list[str]]:
        return [
            [f"{100 * one.spread:g}%", *(map(_core.human_time, (one.median_ns, one.percentile95_ns, one.worst_ns)))]
            for one in self.robustness
        ]

    def __str__(self) -> str:
        return as_text(_CHANGES, self._rows()) + "\n\n" + as_text(_LUCK, self._luck())

    def _repr_html_(self) -> str:
        return as_html(_CHANGES, self._rows()) + as_html(_LUCK, self._luck())


_CHANGES = ("change", "same order", "replanned", "lower bound", "per microbatch", "remark")
_LUCK = ("durations vary by", "median", "95th percentile", "worst")


@dataclass(frozen=True)
class StrategyChange:
    """What a strategy, and the best one, make of other machines or another run."""

    change: str
    """ "as it is", "twice the nodes", "fabric twice as fast", ..."""
    step_ns: int | None
    """Of the strategy, with more or fewer copies; None where it is impossible."""
    fits: bool | None
    """Whether it fits in memory."""
    why_impossible: str
    """Why the strategy is impossible then; empty where it is not."""
    best: RankedStrategy | None
    """Of the whole space; None where there is none."""
    why_not: str
    """Why there is none; empty where there is one."""
    least_memory_bytes: int | None
    """Where none fits: what the leanest takes on a device."""
    least_host_memory_bytes: int | None
    """Where none fits: what the leanest takes of the host's memory for a device."""


@dataclass(frozen=True)
class StrategyChanges:
    """What each change, alone, would do to a strategy, and the best strategy for it."""

    made_for: dict[str, Any]
    """model, device, devices, device_memory_bytes, global_batch, sequence, target."""
    changes: tuple[StrategyChange, ...]

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per change: change, step_ns, fits, why_impossible, best, best_step_ns, tokens_per_s,
        why_not."""
        return [
            {
                "change": one.change,
                "step_ns": one.step_ns,
                "fits": one.fits,
                "why_impossible": one.why_impossible,
                "best": None if one.best is None else one.best.label,
                "best_step_ns": None if one.best is None else one.best.step_ns,
                "tokens_per_s": None if one.best is None else one.best.tokens_per_s,
                "why_not": one.why_not,
            }
            for one in self.changes
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def _rows(self) -> list[list[str]]:
        rows = []
        for one in self.changes:
            own = (
                f"impossible: {one.why_impossible}"
                if one.step_ns is None
                else _time(one.step_ns)
                if one.fits
                else "does not fit"
            )
            best = ["-", one.why_not, ""] if one.best is None else [
                _time(one.best.step_ns), one.best.label, f"{one.best.tokens_per_s:.0f}"
            ]  # fmt: skip
            rows.append([one.change, own, *best])
        return rows

    def __str__(self) -> str:
        return as_text(_STRATEGIES, self._rows())

    def _repr_html_(self) -> str:
        return as_html(_STRATEGIES, self._rows())


_STRATEGIES = ("change", "this strategy", "best step", "best", "tokens/s")


@overload
def what_if(
    what: Plan,
    *,
    link_speed: float | Sequence[float] = (),
    memory: float | Sequence[float] = (),
    host_link: float | Sequence[float] = (),
    devices: int | Sequence[int] = (),
    microbatches: int | Sequence[int] = (),
    faster: str | Sequence[str] = (),
    factor: float = 2.0,
    replan: bool = False,
    time_limit: float | None = None,
    work_limit: int | None = None,
    samples: int = 100,
    seed: int = 1,
    threads: int | None = None,
    progress: bool | None = None,
) -> PlanChanges: ...
@overload
def what_if(
    what: RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str], *, time_limit: float | None = None
) -> StrategyChanges: ...
def what_if(
    what: Plan | RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str],
    *,
    link_speed: float | Sequence[float] = (),
    memory: float | Sequence[float] = (),
    host_link: float | Sequence[float] = (),
    devices: int | Sequence[int] = (),
    microbatches: int | Sequence[int] = (),
    faster: str | Sequence[str] = (),
    factor: float = 2.0,
    replan: bool = False,
    time_limit: float | None = None,
    work_limit: int | None = None,
    samples: int = 100,
    seed: int = 1,
    threads: int | None = None,
    progress: bool | None = None,
) -> PlanChanges | StrategyChanges:
    """What another cluster, graph or luck would do to a plan; or other machines and runs to a strategy.

    Without changes: links twice as fast, memory times 1.25, one device more, twice the microbatches, and the three
    kinds of operators that fill most of the critical path *factor* times as fast. Each change is alone.

    Args:
        what: A Plan; or a strategy that parallelize found, the best of several, the path or the content of its file.
            Of a strategy the changes are fixed (nodes, fabric, memory, sequence, batch); only *time_limit* applies.
        link_speed: Every link so many times as fast; one factor or several.
        memory: Every capacity times this.
        host_link: Every link between a device and its host so many times as fast, for plans that move values there.
        devices: So many devices more, like the last one.
        microbatches: Another number of microbatches.
        faster: Operators of this name or kind, *factor* times as fast.
        factor: Of *faster*.
        replan: Plan each change anew; otherwise placement and order are kept and simulated.
        time_limit: Seconds of planning for each change; 10 if neither limit is given.
        work_limit: Evaluations for each change; with this limit alone the result is repeatable.
        samples: Runs with varied durations for each spread; 0 for none.
        seed: Of samples and search.
        threads: Of the search; None takes all cores.
        progress: Show a progress bar; None shows one where somebody watches.

    Ctrl-C ends it with the changes that are known.

    Raises:
        InputError: The plan breaks a rule, an argument is out of range, no operator is called *faster*, or the strategy
            does not say what it is for.
    """
    if time_limit is not None:
        expect(time_limit, (int, float), "time_limit", "a number from 0")
        if not time_limit >= 0:
            raise _core.InputError(f"time_limit: value is {time_limit}, expected a number from 0")
    if not isinstance(what, Plan):
        given = {"link_speed": link_speed, "memory": memory, "host_link": host_link, "devices": devices}
        for name, value in {**given, "microbatches": microbatches, "faster": faster}.items():
            if value != ():
                raise _core.InputError(f"{name}: the changes of a strategy are fixed; only plans take others")
        seconds = 10.0 if time_limit is None else time_limit
        content = answer(_core.what_if_strategy(*record_text(what, "what_if"), seconds))
        changes = (
            StrategyChange(**{**one, "best": None if one["best"] is None else RankedStrategy(**one["best"])})
            for one in content["changes"]
        )
        return StrategyChanges(content["for"], tuple(changes))
    for name, count, least in (("samples", samples, 0), ("seed", seed, 0), ("threads", threads, 1)):
        if count is not None:
            expect_count(count, name, least)
    if work_limit is not None:
        expect_count(work_limit, "work_limit", 0)
    work = _core.what_if_plan(
        what.graph._core,
        what.cluster._core,
        what._core,
        _several(link_speed, (int, float), "link_speed", "a number, or several"),
        _several(memory, (int, float), "memory", "a number, or several"),
        _several(host_link, (int, float), "host_link", "a number, or several"),
        _several(devices, int, "devices", "an integer from 1, or several", least=1),
        _several(microbatches, int, "microbatches", "an integer from 1, or several", least=1),
        _several(faster, str, "faster", "a name or kind of operators, or several"),
        factor,
        replan,
        time_limit,
        work_limit,
        samples,
        seed,
        threads or 0,
    )
    content = answer(work, progress=progress if replan else False)
    return PlanChanges(
        content["makespan_ns"],
        content["microbatches"],
        tuple(PlanChange(**one) for one in content["changes"]),
        tuple(Robustness(**one) for one in content["robustness"]),
        content["lower_bound_ns"],
    )


def _several(
    values: Any, kind: type | tuple[type, ...], name: str, expected: str, least: int | None = None
) -> list[Any]:
    """One value, or several, as a list."""
    single = isinstance(values, str) or not isinstance(values, Sequence)
    listed = [values] if single else list(values)
    for value in listed:
        expect(value, kind, name, expected)
        if least is not None and value < least:
            raise _core.InputError(f"{name}: value is {value}, expected {expected}")
    return listed


def _time(ns: int | None) -> str:
    return "-" if ns is None else _core.human_time(ns)
