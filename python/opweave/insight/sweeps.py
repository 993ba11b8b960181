"""The best strategy over batch sizes, sequence lengths and clusters (docs/sweep.md)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.arguments import expect, expect_count
from opweave.models import Model, to_model
from opweave.places import to_place
from opweave.strategies import cluster_text, profile_text
from opweave.table import as_frame, as_html, as_text
from opweave.work import run

if TYPE_CHECKING:
    import pandas

    AnyCluster = Mapping[str, Any] | str | os.PathLike[str]
    AnyProfile = Mapping[str, Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class SweepPoint:
    """A combination with its best strategy, or why there is none."""

    device: str
    nodes: int
    devices: int
    """Of all nodes."""
    global_batch: int
    """Sequences of a step."""
    sequence: int
    """Tokens of a sequence."""
    profile: str = ""
    """Calibration profile that the times come from; "uncalibrated" where no published step was fitted."""
    failure: str = ""
    """Why there is no strategy; empty where there is one."""
    is_whole_space: bool = True
    """Whether the whole space was looked at."""
    step_ns: int | None = None
    tokens_per_s: float | None = None
    """Of all devices."""
    mfu: float | None = None
    memory_bytes: int | None = None
    """Of the device that needs most."""
    strategy: dict[str, Any] | None = field(default=None, repr=False)
    """Keys of the file opweave.strategy."""

    @property
    def device_hours(self) -> float | None:
        """Device-hours per million tokens; None without a strategy."""
        return self.devices * 1e6 / self.tokens_per_s / 3600 if self.tokens_per_s else None


@dataclass(frozen=True)
class Sweep(Sequence[SweepPoint]):
    """All combinations in the order that they were asked for: devices, nodes, batches, sequences."""

    points: tuple[SweepPoint, ...]
    asked: int
    """How many combinations the question has: more than there are here in a shard, and after Ctrl-C."""
    journal: str = field(repr=False, compare=False)
    """The text of the journal, as `opweave sweep` writes and reads it."""

    @overload
    def __getitem__(self, index: int) -> SweepPoint: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SweepPoint]: ...
    def __getitem__(self, index: int | slice) -> SweepPoint | Sequence[SweepPoint]:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[SweepPoint]:
        return iter(self.points)

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per point; the strategy's decisions are keys of their own."""
        rows = []
        for point in self.points:
            row = {key: value for key, value in vars(point).items() if key != "strategy"}
            row["device_hours"] = point.device_hours
            rows.append({**row, **{k: v for k, v in (point.strategy or {}).items() if k not in ("format", "version")}})
        return rows

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def report(self, path: str | os.PathLike[str], *, title: str = "sweep", price: float = 0.0) -> None:
        """Write one HTML page with charts that needs no network; *price* of a device-hour, 0 = in device-hours."""
        _core.write_file(os.fspath(path), _core.sweep_html(self.journal, title, price))

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for point in self.points:
            asked = (point.device, str(point.nodes), str(point.global_batch), str(point.sequence))
            if point.step_ns is None or point.memory_bytes is None or point.mfu is None:
                rows.append((*asked, "-", "-", "-", "-", "-", point.profile, point.failure))
                continue
            speed = f"{(point.tokens_per_s or 0) / point.devices:.0f}"
            hours = f"{point.device_hours:.4g}"
            share = f"{100 * point.mfu:.1f}%"
            rows.append(
                (
                    *asked,
                    _core.human_time(point.step_ns),
                    speed,
                    share,
                    _core.human_bytes(point.memory_bytes),
                    hours,
                    point.profile,
                    "" if point.is_whole_space else "time limit",
                )
            )
        return rows

    def __str__(self) -> str:
        return as_text(_HEADINGS, self._rows())

    def _repr_html_(self) -> str:
        return as_html(_HEADINGS, self._rows())


_HEADINGS = ("device", "nodes", "batch", "sequence", "step", "tokens/s/device", "MFU", "memory",
             "device-hours per million tokens", "profile", "remark")  # fmt: skip


def sweep(
    model: Model | Mapping[str, Any] | str | os.PathLike[str] | Any,
    clusters: AnyCluster | Sequence[AnyCluster],
    *,
    global_batch: int | Sequence[int],
    sequence: int | Sequence[int],
    nodes: int | Sequence[int] = (),
    precision: str = "bf16",
    target: str = "any",
    profile: AnyProfile | Sequence[AnyProfile] = (),
    time_limit: float = 60.0,
    on: str | None = None,
    workers: int | None = None,
    journal: str | os.PathLike[str] | None = None,
    shard: tuple[int, int] = (1, 1),
) -> Sweep:
    """The best strategy of every combination of clusters, nodes, batches and sequences.

    Args:
        model: As for parallelize().
        clusters: Device types ("h100"), paths or contents of opweave.machines files; one or several.
        global_batch: Sequences of one optimizer step; one number or several.
        sequence: Tokens of a sequence; one number or several.
        nodes: Numbers of nodes; empty takes what each cluster says.
        precision, target: As for parallelize().
        profile: As for parallelize(); one or several, at most one per device type. Other types have the built-in one.
        time_limit: Seconds per combination.
        on: Where workers answer the combinations (docs/distributed.md): "processes", "ray" or "ray://HOST:PORT". None
            takes threads of this process. The answer is the same.
        workers: Combinations at a time; None takes all cores of the place.
        journal: A file to which every finished combination is appended; a sweep that was ended goes on where it stood.
        shard: (i, n) answers only every n-th combination, from the i-th on: for machines that share nothing but files.
            merge_sweeps() joins their journals.

    Times are integer nanoseconds, memory is integer bytes. Ctrl-C ends it with the combinations that are finished.

    Raises:
        InputError: A wrong argument, more than a million combinations, an architecture that is not known, a journal of
            another question, or no worker that starts.
    """
    described = to_model(model)
    listed = [clusters] if isinstance(clusters, (str, os.PathLike, Mapping)) else list(clusters)
    expect(time_limit, (int, float), "time_limit", "a number from 0")
    if not time_limit >= 0:
        raise _core.InputError(f"time_limit: value is {time_limit}, expected a number from 0")
    profiles = [profile] if isinstance(profile, (str, os.PathLike, Mapping)) else list(profile)
    place, worker_count = to_place(on, workers)
    number, shards = _shard(shard)
    work = _core.sweep(
        described._core,
        [cluster_text(cluster) for cluster in listed],
        _counts(nodes, "nodes"),
        _counts(global_batch, "global_batch"),
        _counts(sequence, "sequence"),
        precision,
        target,
        [profile_text(one) for one in profiles],
        time_limit,
        place,
        worker_count,
        "" if journal is None else os.fspath(journal),
        number - 1,
        shards,
    )
    text, interrupted = run(work.run, work)
    if interrupted:
        print("opweave: interrupted: the combinations that are finished", file=sys.stderr)
    return _read(text)


def merge_sweeps(*journals: str | os.PathLike[str]) -> Sweep:
    """The journals of shards as one sweep.

    Args:
        journals: Files that sweep(journal=...) or `opweave sweep run --journal` wrote for one question.

    What no journal has answered is missing: `asked` is then more than the number of points. The merged journal is a
    text of the answer, so that `pathlib.Path("all.jsonl").write_text(merged.journal)` keeps it.

    Raises:
        InputError: No journal, a file that is none, or journals of different questions.
    """
    if not journals:
        raise _core.InputError("journals: no value, expected the journals of one question")
    return _read(_core.merge_sweeps([os.fspath(one) for one in journals]))


def _read(text: str) -> Sweep:
    """A journal's text as an answer."""
    head, *rows = (json.loads(line) for line in text.splitlines())
    known = {one.name for one in fields(SweepPoint)}
    points = [SweepPoint(**{key: value for key, value in row.items() if key in known}) for row in rows]
    return Sweep(tuple(points), head["points"], text)


def _shard(shard: tuple[int, int]) -> tuple[int, int]:
    """The number of a shard, counted from 1, and how many there are."""
    counted = isinstance(shard, Sequence) and len(shard) == 2 and all(type(one) is int for one in shard)
    if not counted or not 1 <= shard[0] <= shard[1]:
        raise _core.InputError(f"shard: value is {shard!r}, expected (i, n) with i from 1 to n")
    return shard


def _counts(values: int | Sequence[int], name: str) -> list[int]:
    """One number, or several, as a list."""
    listed = [values] if isinstance(values, int) else list(values)
    if not listed and name != "nodes":
        raise _core.InputError(f"{name}: no value, expected an integer from 1, or several")
    for value in listed:
        expect_count(value, name)
        if value > 100_000_000:
            raise _core.InputError(f"{name}: value is {value}, expected an integer from 1 to 100000000")
    return listed
