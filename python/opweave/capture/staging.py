"""Stages of whole blocks, laid on devices as pipelines do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from opweave.errors import InputError


def in_stages(content: dict[str, Any], stages: int, shape: str, devices: Sequence[str]) -> dict[str, Any]:
    """The graph with *stages* in place of those of its operators, and the devices of each; CapturedGraph.staged."""
    places = _places(stages, shape, devices)
    work: dict[int, float] = {}
    for op in content["operators"]:
        work[op["stage"]] = work.get(op["stage"], 0.0) + _work(op)
    blocks = sorted(work)
    if not 1 <= stages <= len(blocks):
        raise InputError(f"stages: value is {stages}, expected 1 to {len(blocks)}, the number of blocks")
    stage_of = dict(zip(blocks, _balanced([work[block] for block in blocks], stages), strict=True))
    reader: dict[str, tuple[int, str]] = {}
    for op in content["operators"]:
        op["stage"] = stage_of[op["stage"]]
        op["devices"] = [places[op["stage"]]]
        for parameter in op.get("parameters", ()):
            stage, device = reader.setdefault(parameter, (op["stage"], places[op["stage"]]))
            if device != places[op["stage"]]:
                raise InputError(
                    f'parameter "{parameter}" is read in stages {stage} and {op["stage"]}, which lie on {device} and '
                    f"{places[op['stage']]}; readers of a parameter share their device"
                )
    return content


def _places(stages: int, shape: str, devices: Sequence[str]) -> list[str]:
    """The device of every stage."""
    count = len(devices)
    if shape == "linear" and stages == count:
        return list(devices)
    if shape == "loop" and count and stages % count == 0:
        return [devices[stage % count] for stage in range(stages)]
    if shape == "V" and stages == 2 * count:
        return [*devices, *reversed(devices)]
    expected = {"linear": "as many as devices", "loop": "a multiple of the devices", "V": "two per device"}
    if shape not in expected:
        raise InputError(f'shape: value is "{shape}", expected linear, loop or V')
    raise InputError(f"stages: value is {stages} for {count} devices, expected {expected[shape]} in shape {shape}")


def _work(op: Mapping[str, Any]) -> float:
    """What an operator weighs when stages are balanced: its time, else its operations."""
    duration = op.get("duration_ns")
    if duration is None:
        return float(op.get("flops", 0.0))
    return float(max(duration.values()) if isinstance(duration, Mapping) else duration)


def _balanced(work: Sequence[float], parts: int) -> list[int]:
    """The part of every item: consecutive, none empty, the heaviest as light as can be. O(parts x items^2)."""
    total = [0.0, *accumulate(work)]
    # heaviest[n]: of the first n items in the parts so far; cuts[p][n]: where the last of them begins.
    heaviest = [0.0, *total[1:]]
    cuts = [[0] * len(total)]
    for part in range(1, parts):
        options = [
            min((max(heaviest[cut], total[end] - total[cut]), cut) for cut in range(part, end))
            if end > part
            else (float("inf"), 0)
            for end in range(len(total))
        ]
        heaviest = [value for value, _ in options]
        cuts.append([cut for _, cut in options])
    result = [0] * len(work)
    end = len(work)
    for part in range(parts - 1, -1, -1):
        start = cuts[part][end]
        result[start:end] = [part] * (end - start)
        end = start
    return result
