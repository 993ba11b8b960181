"""Plans on groups of ranks have the gradients of one process: any mixture of axes, shardings and memory modes."""

from __future__ import annotations

import functools
import os
import random

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import parallel_models as models  # noqa: E402, I001

from opweave.run import LaunchError, launch  # noqa: E402
from opweave.run.parallel.mesh import Mesh  # noqa: E402
from parallel_models import Case  # noqa: E402

ONE = dict.fromkeys(models.CHAIN, 0)
TWO = {"embed": 0, "b0": 0, "b1": 1, "b2": 1, "head": 1}
BETWEEN = {"embed": 1, "b0": 0, "b1": 1, "b2": 0, "head": 1}  # each message goes the other way
MIXED = {"b0": "drop", ("b1", 0): "host", ("b1", 2): "host", ("b2", 1): "drop", "head": "drop"}

CASES = [
    Case("tp2 pp2", Mesh(tensor=2), TWO),
    Case("tp2 pp2, tokens split, dropped and copied", Mesh(tensor=2), BETWEEN, tokens_split=True, memory=MIXED),
    Case("tp2 dp2, ZeRO 1", Mesh(tensor=2, data=2), ONE, sharding="optimizer", memory=MIXED),
    Case("tp2 dp2, ZeRO 3", Mesh(tensor=2, data=2), ONE, sharding="weights", tokens_split=True, memory=MIXED),
    Case("dp2 pp2, ZeRO 3, on the host", Mesh(data=2), TWO, sharding="weights", memory="host"),
    Case("dp2 pp2, ZeRO 2, dropped, W by autograd.grad", Mesh(data=2), TWO, sharding="gradients", memory="drop", split="twice"),
    Case("ep2 pp2", Mesh(data=2, expert=2), TWO, experts=4, memory=MIXED),
    Case("ep2 pp2, ZeRO 3", Mesh(data=2, expert=2), TWO, experts=4, sharding="weights", memory="drop"),
    Case("cp2 pp2", Mesh(context=2), TWO, memory=MIXED),
    Case("cp2 dp2, ZeRO 1, not causal", Mesh(context=2, data=2), ONE, sharding="optimizer", causal=False),
    Case(
        "encoders on other meshes than their decoder",
        {"gpu0": Mesh(data=2), "gpu1": Mesh(), "gpu2": Mesh(context=1)},
        {"embed": 0, "b0": 0, "words": 1, "b1": 1, "b2": 2, "head": 2},
        edges=models.TOWERS,
        memory={"b0": "drop", "b1": "host"},
    ),
    Case("a split encoder before data ranks", {"gpu0": Mesh(tensor=2), "gpu1": Mesh(data=2)}, TWO, tokens_split=False),
]  # fmt: skip


def all_of(rank, cases):
    return [models.compare(rank, case) for case in cases]


def hold(cases, processes, timeout_s=90):
    """Runs all cases in one launch and holds them against one process."""
    results = launch(all_of, processes, (cases,), timeout_s=timeout_s, start_method="fork")
    for number, case in enumerate(cases):
        for rank in range(processes):
            found = results[rank][number]
            where = f"{case.name}, rank {rank}"
            assert found["gradients"] < 1e-5, f"{where}: gradients differ by {found['gradients']}"
            assert found["losses"] < 1e-5, f"{where}: losses differ by {found['losses']}"
            assert found["in order"], f"{where}: executed order differs"
            if not case.experts:  # what experts keep depends on how many tokens come to them
                assert found["memory"] <= 0.05, f"{where}: {found['memory']:.1%} from the planned memory"
    return results


def test_every_axis_sharding_and_memory_mode_gives_the_gradients_of_one_process():
    results = hold(CASES, 4)
    by_name = {case.name: [result[i] for result in results] for i, case in enumerate(CASES)}
    assert all(found["host"] > 0 for found in by_name["dp2 pp2, ZeRO 3, on the host"])
    assert all(found["host"] == 0 for found in by_name["tp2 pp2"])


def test_optimizers_step_shares_as_they_step_whole_parameters():
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    cases = [
        Case("ZeRO 1", Mesh(tensor=2, data=2), ONE, sharding="optimizer", tokens_split=True, optimizer=adam),
        Case("ZeRO 2", Mesh(data=2), TWO, sharding="gradients", optimizer=adam),
        Case("ZeRO 3", Mesh(data=2), TWO, sharding="weights", optimizer=adam),
        Case("none", Mesh(data=2, expert=2), TWO, experts=2, optimizer=adam),
    ]
    for found in launch(all_of, 4, (cases,), timeout_s=90, start_method="fork"):
        for case, of in zip(cases, found, strict=True):
            # The first step of Adam is the sign of a gradient times its rate, where the gradient is not nearly zero.
            assert of["gradients"] < 1e-4, f"{case.name}: weights differ by {of['gradients']}"


def random_case(rng, processes):
    """Any mixture: devices with meshes of their own, placement, order, sharding, and a mode for every forward."""
    devices, left = [], processes
    while left:
        sizes = [size for size in (1, 2, 4) if size <= left]
        size = rng.choice(sizes if len(devices) < 3 else [left] if left in sizes else sizes)
        axes = {"data": 1, "context": 1, "tensor": 1}
        while size > 1:
            axes[rng.choice(list(axes))] *= 2
            size //= 2
        mesh = Mesh(**axes)
        devices.append(mesh)
        left -= mesh.size
    edges = rng.choice([models.CHAIN, models.TOWERS])
    placement = {name: rng.randrange(len(devices)) for name in edges}
    for device in range(len(devices)):
        if device not in placement.values():
            placement[rng.choice([n for n in placement if list(placement.values()).count(placement[n]) > 1])] = device
    if len(set(placement.values())) < len(devices):
        return random_case(rng, processes)
    microbatches = rng.choice([2, 3, 4])
    return Case(
        f"{edges.keys()} {devices} {placement}",
        {f"gpu{i}": mesh for i, mesh in enumerate(devices)},
        placement,
        edges=edges,
        sharding={name: rng.choice(["none", "optimizer", "gradients", "weights"]) for name in edges},
        memory={(name, b): rng.choice(["keep", "drop", "host"]) for name in edges for b in range(microbatches)},
        tokens_split=rng.random() < 0.5,
        microbatches=microbatches,
        rows=8 * microbatches,
        seed=rng.randrange(1000),
        split=rng.choice(["graph", "twice"]),
    )


@pytest.mark.parametrize("processes", [4, 8])
def test_random_strategies_end_and_have_the_gradients_of_one_process(processes):
    count = int(os.environ.get("OPWEAVE_RANDOM_STRATEGIES", "3" if processes == 4 else "2"))
    rng = random.Random(17)
    hold([random_case(rng, processes) for _ in range(count)], processes, timeout_s=90 + 20 * count)
