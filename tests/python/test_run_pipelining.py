"""Every exported CSV loads and runs in torch.distributed.pipelining (torch 2.13) in the planned order."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import run_modules as blocks  # noqa: E402, I001
import run_support as support  # noqa: E402

from opweave.export import pytorch_csv  # noqa: E402
from opweave.run import PipeliningRunner, ProgramError, compile_plan, launch  # noqa: E402


def by_pipelining(rank, cases):
    results = []
    for graph, plan, dialect in cases:
        program = compile_plan(plan, graph)
        segments, reference = blocks.modules(graph), blocks.modules(graph)
        losses = blocks.one_process(graph, reference)
        x, target = blocks.batch(graph["training"]["microbatches"])
        runner = PipeliningRunner(program, segments, blocks.mse, dialect=dialect)
        result = runner.step(x, target)
        mine = {name: segments[name] for name in program.segments_on(rank)}
        loss_error = max((abs(loss.item() - losses[b]) for b, loss in result.losses.items()), default=0.0)
        executed = [timing.action.key for timing in result.timings]
        results.append((blocks.largest_error(mine, reference), loss_error, executed == program.order(rank)))
    return results


def test_exported_schedules_run_in_planned_order_with_the_gradients_of_one_process():
    maps = {
        "line": [0, 1, 2, 3],
        "loop": [0, 1, 2, 3, 0, 1, 2, 3],
        "V": [0, 1, 2, 3, 3, 2, 1, 0],
        "consecutive": [0, 0, 1, 1, 2, 2, 3, 3],
        "irregular": [2, 0, 3, 1, 2, 3, 0],
    }
    rng = random.Random(8)
    cases = []
    for seed, ranks in enumerate([*maps.values(), [*rng.sample(range(4), 4), rng.randrange(4)]]):
        fused = frozenset(f"s{i}" for i in range(len(ranks)) if seed % 2 and i % 2)
        graph = support.chain(len(ranks), 4, fused=fused)
        plan = support.plan(graph, {f"s{i}": rank for i, rank in enumerate(ranks)}, 4, seed)
        cases += [(graph, plan, dialect) for dialect in ("compute_only", "compute_comms")]
    # A stage without parameters has no W, the first one needs no I.
    halves = support.chain(4, 3)
    halves["operators"] = [op for op in halves["operators"] if op["name"] not in ("s0.I", "s2.W")]
    next(op for op in halves["operators"] if op["name"] == "s0.W")["inputs"] = ["ds0:0>s1"]
    cases.append((halves, support.plan(halves, {f"s{i}": i for i in range(4)}, 4, 5), "compute_comms"))
    results = launch(by_pipelining, 4, (cases,), timeout_s=180, start_method="fork")
    for rank, on_rank in enumerate(results):
        for number, (error, loss_error, in_order) in enumerate(on_rank):
            assert error < 1e-5, f"case {number}, rank {rank}"
            assert loss_error < 1e-6, f"case {number}, rank {rank}"
            assert in_order, f"case {number}, rank {rank}"


def paired_plan(graph, backward):
    """Two stages: while rank 0 runs F of microbatch 2, the backward of microbatch 0 starts on another stream."""
    times = {("s0", "F", b): (10 * b, 10 * b + 10) for b in range(3)}
    times |= {("s1", "F", 0): (10, 14), ("s1", backward[0], 0): (14, 24), ("s0", backward[0], 0): (25, 40)}
    at = 50
    for b in (0, 1, 2):
        for stage, phase in (("s1", "F"), ("s1", backward[0]), ("s0", backward[0])):
            times.setdefault((stage, phase, b), (at, at + 10))
            at = max(at, times[stage, phase, b][1] + 10)
    for (stage, phase, b), (_, end) in list(times.items()):
        if phase == "I":
            times[stage, "W", b] = (end, end)
    tasks = [
        {
            "operator": f"{stage}.{phase}",
            "microbatch": b,
            "devices": [f"gpu{stage[1]}"],
            "start_ns": start,
            "end_ns": end,
        }
        for (stage, phase, b), (start, end) in times.items()
    ]
    return support.plan(graph, {"s0": 0, "s1": 1}, 2) | {"tasks": tasks}


def test_pairs_run_with_the_gradients_of_one_process():
    for fused in (frozenset(), frozenset({"s0", "s1"})):
        graph = support.chain(2, 3, fused=fused)
        plan = paired_plan(graph, "B" if fused else "I")
        assert "(0F2;0B0)OVERLAP_F_B" in pytorch_csv(compile_plan(plan, graph))
        cases = [(graph, plan, dialect) for dialect in ("compute_only", "compute_comms")]
        for on_rank in launch(by_pipelining, 2, (cases,), timeout_s=180, start_method="fork"):
            for error, loss_error, in_order in on_rank:
                assert error < 1e-5
                assert loss_error < 1e-6
                assert in_order or not fused  # an I and its W are one B in a pair


def branched(rank, graph, plan):
    with pytest.raises(ProgramError) as error:
        PipeliningRunner(compile_plan(plan, graph), blocks.modules(graph), blocks.mse)
    return str(error.value)


def test_a_branched_model_is_refused_with_the_reason():
    graph = support.graph(support.BRANCHES, 2)
    names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
    plan = support.plan(graph, {name: i % 2 for i, name in enumerate(names)}, 2)
    assert (
        "by torch.distributed.pipelining this runner gives inputs to the first stage"
        in launch(branched, 2, (graph, plan), start_method="fork")[0]
    )
