"""The orders of `opweave convert expert` beside those that torch.distributed.pipelining makes."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest
from conftest import ROOT

schedules = pytest.importorskip("torch.distributed.pipelining.schedules")

OPWEAVE = os.environ.get("OPWEAVE_BIN", str(ROOT / "build/default/opweave"))


def theirs(name: str, devices: int, microbatches: int, chunks: int) -> list[list[str]]:
    """Every rank's actions as the class calculates them, without a process group."""
    kind = getattr(schedules, name)
    rows = []
    for rank in range(devices):
        rounds = max(1, microbatches // devices)
        schedule = SimpleNamespace(
            rank=rank,
            pp_group_size=devices,
            n_local_stages=chunks,
            number_of_rounds=rounds,
            microbatches_per_round=microbatches // rounds,
            _n_microbatches=microbatches,
            _stages=[None] * chunks,
        )
        actions = kind._calculate_single_rank_operations(schedule, rank)
        rows.append([str(action) for action in actions if action is not None])
    return rows


def ours(name: str, devices: int, microbatches: int, chunks: int) -> list[list[str]]:
    command = [OPWEAVE, "convert", "expert", name, "--devices", devices, "--microbatches", microbatches]
    csv = subprocess.run(
        [str(word) for word in [*command, "--chunks", chunks]], check=True, capture_output=True, text=True
    ).stdout
    return [[cell for cell in row.split(",") if cell] for row in csv.splitlines()]


@pytest.mark.parametrize("name", ["ScheduleInterleaved1F1B", "ScheduleInterleavedZeroBubble", "ScheduleLoopedBFS"])
def test_loops_run_in_pytorchs_order(name):
    # Sizes that PyTorch allows: as many microbatches as fill equal rounds.
    for devices, microbatches, chunks in [
        (2, 4, 2),
        (4, 8, 4),
        (4, 12, 3),
        (4, 10, 2),
        (4, 3, 2),
        (3, 9, 1),
        (8, 16, 2),
    ]:
        assert ours(name, devices, microbatches, chunks) == theirs(name, devices, microbatches, chunks), (
            devices,
            microbatches,
            chunks,
        )
