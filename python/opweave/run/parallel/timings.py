"""Measured steps of all ranks: on one clock, and as costs to predict others with."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch.distributed as dist

from opweave.run.parallel.check import groups_of
from opweave.run.parallel.parts import step_parts
from opweave.run.parallel.program import Collective, Communicate, Compute, Copy, Instruction, ParallelProgram
from opweave.run.parallel.step import ParallelResult, Timing
from opweave.run.parallel.within import Within
from opweave.run.program import ActionTiming


def gather_results(result: ParallelResult, group: dist.ProcessGroup | None = None) -> list[Timing]:
    """Timings of all ranks, on every rank, by start. Zero is the first start of the step on each host. All ranks call
    it together."""
    everything: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everything, (result.origin, result.timings), group=group)
    zero: dict[str, int] = {}
    for (host, start), _ in everything:
        zero[host] = min(zero.get(host, start), start)
    timings = [
        replace(t, start_ns=t.start_ns + start - zero[host], end_ns=t.end_ns + start - zero[host])
        for (host, start), on_rank in everything
        for t in on_rank
    ]
    return sorted(timings, key=lambda t: (t.start_ns, t.rank))


def device_timings(program: ParallelProgram, timings: Sequence[Timing]) -> list[ActionTiming]:
    """The timings of the first rank of every device, as those of the devices' program: for `feed_back` and `trace`."""
    result = []
    for device in range(len(program.meshes)):
        end = 0
        for timing in sorted(
            (t for t in timings if t.rank == program.grid.of_device(device)[0]), key=lambda t: t.start_ns
        ):
            step = timing.instruction
            if isinstance(step, Within):
                continue
            if isinstance(step, Compute) and step.kind == "run":
                wait = timing.start_ns - end
                result.append(ActionTiming(device, step.action, timing.start_ns, timing.end_ns, wait))
            end = timing.end_ns if not isinstance(step, Communicate) else end
    return sorted(result, key=lambda t: (t.start_ns, t.rank))


CostKey = tuple[str, ...]


def cost_key(step: Instruction) -> CostKey:
    """Instructions that take equally long: they differ in the microbatch alone."""
    if isinstance(step, Compute):
        return ("F" if step.kind == "again" else step.action.phase, step.action.segment)
    if isinstance(step, Collective):
        return (step.kind, step.segment, step.part)
    if isinstance(step, Copy):
        return (f"copy {step.kind}", step.segment)
    return (step.kind,)


@dataclass(frozen=True)
class Costs:
    """Nanoseconds that instructions take once everybody who takes part is there."""

    durations_ns: dict[CostKey, int] = field(default_factory=dict)
    """By cost_key; of `receive`, what passes from the start of a send to the end of the receive."""
    busy_ns: dict[CostKey, tuple[int, ...]] = field(default_factory=dict)
    """Processor time in them, each time that it was measured: what several ranks on one core have to share. All of
    them, since they are spread widely and a step takes their sum, and since who is early waits for who is late."""

    def of(self, step: Instruction) -> int:
        """0 for what was not measured."""
        return self.durations_ns.get(cost_key(step), 0)


def measured_costs(steps: Sequence[Sequence[Timing]], *, warms_up: bool = True) -> Costs:
    """Costs from the timings of all ranks in some steps, the first of which warms up if there are more (unless it is
    said that none does).

    An instruction in which ranks meet lasts as long as on the one that came last; then the median over ranks,
    microbatches and steps. What a message takes is seen where the receiver has waited for it.
    """
    samples: dict[CostKey, list[int]] = defaultdict(list)
    busy: dict[CostKey, list[int]] = defaultdict(list)
    for timings in steps[1:] if warms_up and len(steps) > 1 else steps:
        sent: dict[Any, Timing] = {
            t.instruction.piece: t
            for t in timings
            if isinstance(t.instruction, Communicate) and t.instruction.kind == "send"
        }
        meetings: dict[Any, list[Timing]] = defaultdict(list)
        for timing in timings:
            step = timing.instruction
            if isinstance(step, Within):
                continue
            busy[cost_key(step)].append(timing.busy_ns)
            if isinstance(step, Communicate) and step.kind == "receive":
                if timing.start_ns <= sent[step.piece].start_ns:
                    samples[cost_key(step)].append(timing.end_ns - sent[step.piece].start_ns)
            elif groups_of(step):
                meetings[cost_key(step), groups_of(step)[0], str(step)].append(timing)
            else:
                samples[cost_key(step)].append(timing.end_ns - timing.start_ns)
        for (key, _, _), together in meetings.items():
            samples[key].append(max(t.end_ns for t in together) - max(t.start_ns for t in together))
    return Costs(_medians(samples), {key: tuple(values) for key, values in busy.items()})


def _medians(samples: Mapping[CostKey, Sequence[int]]) -> dict[CostKey, int]:
    return {key: round(statistics.median(values)) for key, values in samples.items()}


def drift(predicted_ns: int, measured_ns: Sequence[int], *, tolerance: float = 0.1) -> str | None:
    """A line of advice if the last steps (half of them, from three to ten) have left the prediction by more than the
    tolerance; None if they have not, or there are fewer than three.

    Their median is compared, so that one slow step says nothing.
    """
    last = measured_ns[-max(3, min(10, len(measured_ns) // 2)) :]
    if len(last) < 3 or predicted_ns <= 0:
        return None
    now = statistics.median(last)
    change = now / predicted_ns - 1
    if abs(change) <= tolerance:
        return None
    return (
        f"the last {len(last)} steps take {now / 1e6:.2f} ms, {abs(change):.0%} {'more' if change > 0 else 'less'} "
        f"than the {predicted_ns / 1e6:.2f} ms predicted: measure costs again (measured_costs) and plan with them"
    )


def measured_step(
    name: str,
    profile: str,
    strategy: Mapping[str, Any],
    model: Mapping[str, Any],
    machines: Mapping[str, Any],
    run: Mapping[str, Any],
    steps_ns: Sequence[int],
    *,
    program: ParallelProgram | None = None,
    timings: Sequence[Timing] = (),
) -> dict[str, Any]:
    """An entry for `opweave.calibrate`: the median of measured steps beside what ran (docs/formats.md).

    With the *program* that ran and the *timings* of all ranks in one of the steps (`gather_results`, collectives
    recorded), actions and collectives are told apart: the entry has the parts of the step (`step_parts`), in the
    proportion that they had there.
    """
    content = {key: value for key, value in strategy.items() if key not in ("format", "version", "for")}
    measured = round(statistics.median(steps_ns))
    entry = {
        "id": name,
        "profile": profile,
        "strategy": content,
        "model": dict(model),
        "machines": dict(machines),
        "run": dict(run),
        "measured_ns": measured,
    }
    if program is not None and timings:
        length = max(t.end_ns for t in timings) - min(t.start_ns for t in timings)
        parts = {part: time * measured // length for part, time in step_parts(program, timings).items()}
        entry["parts_ns"] = {part: time for part, time in parts.items() if time > 0}
    return entry
