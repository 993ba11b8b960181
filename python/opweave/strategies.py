"""Strategies: how a model is trained on many devices (docs/strategies.md)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, overload

from opweave import _core
from opweave.document import read_text
from opweave.errors import NoPlanError
from opweave.models import Model, to_model
from opweave.places import to_place
from opweave.table import as_frame, as_html, as_text
from opweave.work import run

if TYPE_CHECKING:
    import pandas

# Names of degrees as people say them, and their keys in a strategy file.
_DEGREES = {"tp": "tensor", "cp": "context", "ep": "expert", "pp": "pipeline", "dp": "data"}
_COMMUNICATION = ("tensor", "expert", "data", "hops", "offload")


@dataclass(frozen=True)
class RankedStrategy:
    """A strategy with its predicted step. Times are integer nanoseconds, memory is integer bytes."""

    strategy: dict[str, Any]
    """Keys of the file opweave.strategy (docs/formats.md): degrees, microbatch, sharding, recompute, schedule."""
    step_ns: int
    tokens_per_s: float
    """Of all devices together."""
    mfu: float
    """Model flops / peak of bf16; what is made again does not count."""
    fits: bool
    """Whether the largest stage fits in a device."""
    time_ns: dict[str, int]
    """Parts of the step by cause; they sum up to step_ns."""
    memory_bytes: dict[str, int]
    """Of the stage that needs most, by kind; ``total`` is their sum, ``stage`` its number."""
    alike: int = field(default=0, compare=False)
    """Others among the first whose step, memory, bubble, messages and repetitions are equal. Not compared."""
    record: str = field(default="", compare=False, repr=False)
    """The file opweave.strategy with what the strategy is for; empty where a strategy was not found by a search."""

    @property
    def label(self) -> str:
        """Degrees above 1: "tp4 cp2 pp4x5 dp2 mbs1"; those of a component's own mesh in brackets: "vision(tp1 dp8)"."""
        parts = []
        for name, key in _DEGREES.items():
            degree = self.strategy.get(key, 1)
            chunks = self.strategy.get("chunks", 1) if name == "pp" else 1
            if degree > 1:
                parts.append(f"{name}{degree}" + (f"x{chunks}" if chunks > 1 else ""))
        for mesh in self.strategy.get("components", ()):
            degrees = [f"{name}{mesh[key]}" for name, key in _DEGREES.items() if mesh.get(key, 1) > 1]
            parts.append(f"{mesh['name']}({' '.join(degrees) or 'one device'})")
        return " ".join([*parts, f"mbs{self.strategy.get('micro_batch', 1)}"])

    def to_json(self) -> str:
        """The file opweave.strategy with model, machines and run: for ``explain``, ``diff`` and ``what_if``, for
        ``parallelize(..., evaluate=...)`` and the same commands."""
        return self.record or json.dumps(self.strategy, indent=2) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file; a reader sees the old or the new content, never a part."""
        _core.write_file(os.fspath(path), self.to_json())


class Strategies(Sequence[RankedStrategy]):
    """What parallelize found: the strategies that fit, fastest first. In a notebook it draws itself as a table."""

    def __init__(self, model: Model, search: _core.StrategySearch) -> None:
        """Users call opweave.parallelize."""
        self.model = model
        self._search = search
        content = json.loads(search.to_json())
        self.profile: str = content["profile"]
        """Calibration profile that the times come from."""
        self.median_error: float = content["median_error"]
        """Of the profile, on the steps that it was fitted on."""
        self.ninetieth_error: float = content["ninetieth_error"]
        """Its 90th percentile."""
        self.published_steps: int = content["published_steps"]
        """Published steps that the profile was fitted on; 0 = uncalibrated, or a profile of your own."""
        self.measured_steps: int = content["measured_steps"]
        """Steps of your own that the profile was fitted on; 0 with a built-in profile."""
        self.is_whole_space: bool = content["is_whole_space"]
        """Whether the whole space was looked at: the first is the fastest of it."""
        self.bound_ns: int = content["bound_ns"]
        """No strategy of the space takes less, by the same formulas (ns); 0 = not known yet."""
        self._ranked = tuple(
            RankedStrategy(**one, record=search.record(index)) for index, one in enumerate(content["strategies"])
        )

    @property
    def best(self) -> RankedStrategy:
        """The fastest."""
        return self._ranked[0]

    @overload
    def __getitem__(self, index: int) -> RankedStrategy: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RankedStrategy]: ...
    def __getitem__(self, index: int | slice) -> RankedStrategy | Sequence[RankedStrategy]:
        return self._ranked[index]

    def __len__(self) -> int:
        return len(self._ranked)

    def __iter__(self) -> Iterator[RankedStrategy]:
        return iter(self._ranked)

    def losses(self, index: int) -> dict[str, int]:
        """Nanoseconds that the strategy takes more than the best (below 0: less), by cause, the largest first."""
        best, other = self.best.time_ns, self._ranked[index].time_ns
        return dict(sorted(((cause, ns - best[cause]) for cause, ns in other.items()), key=lambda item: -item[1]))

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary per strategy: degrees by their short names, step_s, tokens_per_s_per_device, mfu,
        memory_gib, the parts of the step in seconds and of the memory in GiB."""
        devices = self._search.devices
        rows = []
        for one in self._ranked:
            chosen = one.strategy
            row: dict[str, Any] = {name: chosen.get(key, 1) for name, key in _DEGREES.items()}
            for mesh in chosen.get("components", ()):
                row |= {f"{mesh['name']}.{name}": mesh[key] for name, key in _DEGREES.items() if key in mesh}
            row |= {"vpp": chosen.get("chunks", 1), "mbs": chosen.get("micro_batch", 1)}
            row |= {key: chosen.get(key) for key in ("schedule", "sharding", "recompute", "recomputed_layers")}
            row["recomputed_modules"] = "+".join(chosen.get("recomputed_modules", []))
            row |= {key: chosen.get(key, 0) for key in ("activation_offload", "optimizer_offload")}
            row |= {"step_s": one.step_ns / 1e9, "tokens_per_s_per_device": one.tokens_per_s / devices, "mfu": one.mfu}
            row |= {"memory_gib": one.memory_bytes["total"] / 2**30, "fits": one.fits}
            row |= {f"time_{cause}_s": ns / 1e9 for cause, ns in one.time_ns.items()}
            row |= {
                f"memory_{kind}_gib": n / 2**30
                for kind, n in one.memory_bytes.items()
                if kind not in ("total", "stage")
            }
            rows.append(row)
        return rows

    def to_pandas(self) -> pandas.DataFrame:
        """records() as a table of pandas, which must be installed."""
        return as_frame(self.records())

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page that needs no network: memory per stage, time by cause, layers, mesh, runners-up."""
        _core.write_file(os.fspath(path), self._search.report_html())

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text, headings first."""
        table: list[tuple[str, ...]] = [
            ("strategy", "schedule", "sharding", "recompute", "step", "tokens/s/device", "MFU", "memory", "bubble",
             "communication")
        ]  # fmt: skip
        for one in self._ranked:
            chosen = one.strategy
            exposed = sum(one.time_ns[cause] for cause in _COMMUNICATION)
            table.append(
                (
                    one.label,
                    chosen["schedule"] if chosen.get("pipeline", 1) > 1 else "-",
                    chosen.get("sharding", "none"),
                    _kept(chosen),
                    _core.human_time(one.step_ns),
                    f"{one.tokens_per_s / self._search.devices:.0f}",
                    f"{100 * one.mfu:.1f}%",
                    _core.human_bytes(one.memory_bytes["total"]),
                    f"{100 * one.time_ns['bubble'] / one.step_ns:.1f}%",
                    f"{100 * exposed / one.step_ns:.1f}%",
                )
            )
        return table

    def show(self) -> None:
        """Print the table."""
        print(self)

    def summary(self) -> str:
        """Model, devices and the error of the prediction in one line."""
        steps, kind = (self.measured_steps, "measured") if self.measured_steps else (self.published_steps, "published")
        error = f"median error {100 * self.median_error:.1f}% on {steps} {kind} steps" if steps else "uncalibrated"
        billions = self.model.parameters / 1e9
        return (
            f"{self.model.name}, {billions:.2f} billion parameters on {self._search.subject}: {self.profile}, {error}"
        )

    def __str__(self) -> str:
        head, *body = self.rows()
        return f"{self.summary()}\n\n{as_text(head, body)}"

    def __repr__(self) -> str:
        return f"<opweave.Strategies: {self.best.label}, {_core.human_time(self.best.step_ns)} ({self.summary()})>"

    def _repr_html_(self) -> str:
        head, *body = self.rows()
        return f"<p>{escape(self.summary())}</p>{as_html(head, body)}"


def parallelize(
    model: Model | Mapping[str, Any] | str | os.PathLike[str] | Any,
    cluster: Mapping[str, Any] | str | os.PathLike[str],
    *,
    global_batch: int,
    sequence: int,
    nodes: int | None = None,
    precision: str = "bf16",
    target: str = "any",
    fix: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    evaluate: RankedStrategy | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    top: int = 10,
    time_limit: float = 60.0,
    bf16_gradients: bool = False,
    bf16_moments: bool = False,
    fused_loss: bool = False,
    on: str | None = None,
    workers: int | None = None,
) -> Strategies:
    """How to train *model* on *cluster*: degrees of parallelism, microbatch, recomputation and schedule.

    Args:
        model: A Model, a path of a config.json of transformers (or of a folder with one) or of a model of ours, the
            content of either, a configuration object of transformers or a module of transformers; or another nn.Module
            that takes ids of shape (1, *sequence*), traced once (Model.from_module takes other inputs).
        cluster: A device type ("h100", "a100", ...), the path of an opweave.machines file (ending in .json), or its
            content.
        global_batch: Sequences of one optimizer step.
        sequence: Tokens of a sequence.
        nodes: Nodes; None takes what the cluster says, 1 for a device type.
        precision: Of matrix products: "bf16" or "fp8".
        target: "any", "megatron" or "torchtitan": nothing that it cannot say.
        fix: Decisions that are held: {"tp": 8, "pp": 4, "vpp": 2, "cp": 1, "ep": 8, "dp": 4, "mbs": 1,
            "recompute": "none", "modules": "mlp+moe_act", "offload": 0.5, "optimizer_offload": 0.5,
            "tp_overlap": "no", "sharding": "optimizer", "schedule": "1F1B"}; of a component: {"vision.tp": 1,
            "vision.mesh": "own"}.
        profile: Constants that calibrate() fitted to steps of your own, for this device type and precision: the path
            or the content of an opweave.profile file. None takes those of published steps, or with *evaluate* those
            that the strategy was found with.
        evaluate: Value this strategy instead of searching: one that parallelize returned, a file, or its content.
        top: Strategies to return.
        time_limit: Seconds.
        bf16_gradients: Gradients are summed and reduced in bf16 instead of fp32.
        bf16_moments: Adam keeps its moments in bf16 instead of fp32.
        fused_loss: The loss writes its gradient over the logits.
        on: Where workers look into parts of the space (docs/distributed.md): "processes", "ray" or "ray://HOST:PORT".
            None searches in this process. The answer is the same.
        workers: How many work at a time; None takes all cores of the place.

    Times are predictions with the stated error. Ctrl-C ends the search, and what was found so far is returned;
    KeyboardInterrupt is raised if there is nothing yet.

    Raises:
        InputError: A wrong argument, an architecture that is not known, degrees that divide nothing, or no worker that
            starts: in one line.
        NoPlanError: No strategy fits in memory: says which needs least.
    """
    described = to_model(model, sequence)
    text, source = cluster_text(cluster)
    if top < 1:
        raise _core.InputError(f"top: value is {top}, expected an integer from 1")
    if not time_limit >= 0:
        raise _core.InputError(f"time_limit: value is {time_limit}, expected a number from 0")
    place, worker_count = to_place(on, workers)
    search = _core.StrategySearch(
        described._core,
        text,
        source,
        nodes,
        global_batch,
        sequence,
        precision,
        target,
        dict(fix or {}),
        top,
        time_limit,
        bf16_gradients,
        bf16_moments,
        fused_loss,
        None if profile is None else profile_text(profile),
        place,
        worker_count,
    )
    if evaluate is not None:
        search.evaluate(*_strategy_text(evaluate))
        return Strategies(described, search)
    _, interrupted = run(search.run, search)
    if not search.has_strategy:
        if interrupted:
            raise KeyboardInterrupt
        raise _no_strategy(search, time_limit)
    if interrupted:
        print("opweave: interrupted: the best strategies so far", file=sys.stderr)
    return Strategies(described, search)


def _kept(strategy: Mapping[str, Any]) -> str:
    """What is made again, in a few words."""
    modules = "+".join(strategy.get("recomputed_modules", []))
    if strategy.get("modules_per_stage"):
        modules = "modules by stage"
    if strategy.get("recompute", "none") != "full":
        return modules or "none"
    layers = strategy.get("recomputed_layers")
    whole = f"{layers} per stage" if layers else "full"
    if by_stage := strategy.get("recomputed_per_stage"):
        whole = f"{min(by_stage)} to {max(by_stage)} per stage"
    return f"{whole}, {modules}" if modules else whole


def cluster_text(cluster: Mapping[str, Any] | str | os.PathLike[str]) -> tuple[str, str | None]:
    """A name, or the text of a file and its name in errors."""
    if isinstance(cluster, Mapping):
        return json.dumps({"format": "opweave.machines", "version": 1, **cluster}), "cluster"
    if not isinstance(cluster, (str, os.PathLike)):
        raise _core.InputError(
            f"cluster: value is a {type(cluster).__name__}, expected a device type, a path or the content of an "
            "opweave.machines file"
        )
    path = os.fspath(cluster)
    return (read_text(path), path) if path.endswith(".json") else (path, None)


def profile_text(profile: Mapping[str, Any] | str | os.PathLike[str]) -> tuple[str, str]:
    """The text of a profile and its name in errors."""
    if isinstance(profile, Mapping):
        return json.dumps({"format": "opweave.profile", "version": 1, **profile}), "profile"
    if not isinstance(profile, (str, os.PathLike)):
        kind = type(profile).__name__
        raise _core.InputError(f"profile: value is a {kind}, expected a path or the content of an opweave.profile file")
    return read_text(profile), os.fspath(profile)


def record_text(
    strategy: RankedStrategy | Strategies | Mapping[str, Any] | str | os.PathLike[str], name: str
) -> tuple[str, str]:
    """The text of a strategy's file with what it is for, and its name in errors. Raises InputError without that."""
    if isinstance(strategy, Strategies):
        strategy = strategy.best
    if isinstance(strategy, RankedStrategy) and not strategy.record:
        raise _core.InputError(
            f"{name}: the strategy does not say what it is for, expected one that opweave.parallelize returned"
        )
    if not isinstance(strategy, (RankedStrategy, Mapping, str, os.PathLike)):
        kind = type(strategy).__name__
        raise _core.InputError(f"{name}: value is a {kind}, expected a plan, a strategy or the path of its file")
    text, source = _strategy_text(strategy)
    return text, name if source == "evaluate" else source


def _strategy_text(strategy: RankedStrategy | Mapping[str, Any] | str | os.PathLike[str]) -> tuple[str, str]:
    if isinstance(strategy, RankedStrategy):
        return strategy.to_json(), "evaluate"
    if isinstance(strategy, Mapping):
        return json.dumps({"format": "opweave.strategy", "version": 1, **strategy}), "evaluate"
    return read_text(strategy), os.fspath(strategy)


def _no_strategy(search: _core.StrategySearch, time_limit: float) -> NoPlanError:
    if search.why_none_fits is None:
        limit = f"time {time_limit:g} s"
        return NoPlanError(infeasible=False, detail="no strategy was valued", limit=limit, bounds=())
    return NoPlanError(infeasible=False, detail=search.why_none_fits, limit="", bounds=())


@dataclass(frozen=True)
class Calibration:
    """Constants of software stacks, fitted on measured steps."""

    profiles: list[dict[str, Any]]
    """Per profile: name, matrix, traffic, communication (docs/strategies.md), steps, median_error, ninetieth_error."""
    predictions: list[dict[str, Any]]
    """Per step: id, profile, predicted_ns, left_out_ns (with constants fitted without its group), measured_ns (None
    without a measurement), parts_ns (predicted: compute, tensor, expert, data; docs/formats.md), fits, memory_bytes."""

    files: list[dict[str, str]] = field(default_factory=list, repr=False)
    """Per profile: its "file" as text (opweave.profile), or "why_not"; see profile()."""

    def profile(self, name: str | None = None) -> dict[str, Any]:
        """The content of an opweave.profile file, for ``parallelize(..., profile=...)``; *name* chooses among several.

        Raises InputError where there is no such profile, or its steps are of several device types or precisions.
        """
        names = [one["name"] for one in self.profiles]
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            value = "missing" if name is None else f'value is "{name}"'
            raise _core.InputError(f"name: {value}, expected {', '.join(names)}")
        found = self.files[names.index(name)]
        if "file" not in found:
            raise _core.InputError(found["why_not"])
        content: dict[str, Any] = json.loads(found["file"])
        return content

    def to_pandas(self) -> pandas.DataFrame:
        """The predictions, a row per step, as a table of pandas, which must be installed."""
        return as_frame(self.predictions)

    def _repr_html_(self) -> str:
        rows = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in profile.values()] for profile in self.profiles]
        return as_html(list(self.profiles[0]), rows)


def calibrate(steps: Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | os.PathLike[str]) -> Calibration:
    """Fit the constants of software stacks to measured training steps.

    *steps* is the path or the content of an opweave.measured-steps file, or its list of steps. The model of a step may
    also be a configuration of transformers (with ``model_type``). Raises InputError naming place and value.
    """
    if isinstance(steps, (str, os.PathLike)):
        text, source = read_text(steps), os.fspath(steps)
    else:
        listed = list(steps["steps"] if isinstance(steps, Mapping) else steps)
        content = {
            "format": "opweave.measured-steps",
            "version": 1,
            "steps": [_with_own_model(step) for step in listed],
        }
        text, source = json.dumps(content), "steps"
    return Calibration(**json.loads(_core.calibrate(text, source)))


def _with_own_model(step: Mapping[str, Any]) -> dict[str, Any]:
    """The step, its model in our format."""
    model = step.get("model")
    if not (isinstance(model, Model) or (isinstance(model, Mapping) and "model_type" in model)):
        return dict(step)
    return {**step, "model": to_model(model).to_dict()}
