"""Plans made with blocks leave the house: every export takes them, torch's runtime loads and runs them as planned.

OPWEAVE_PIPELINES=100 tries that many random pipelines instead of 8, 20 of them on processes instead of 3; with
OPWEAVE_PROCESSES=16 all of them, on up to so many."""

from __future__ import annotations

import json
import os
import random

import opweave
import pytest
from opweave.export import layers_by_stage, megatron_layout, pytorch_csv, torchtitan_settings
from opweave.run import ProgramError, compile_placement, compile_plan

PIPELINES = int(os.environ.get("OPWEAVE_PIPELINES", "8"))
PROCESSES = int(os.environ.get("OPWEAVE_PROCESSES", "4"))
MOST_ON_PROCESSES = PIPELINES if PROCESSES > 4 else max(3, PIPELINES // 5)
AT_ONCE = 10
"""Pipelines per start of the processes."""


def random_pipeline(seed, devices=None):
    """Embedding, decoder layers of one to three operators with unequal times, head; V, loop or linear, and its map."""
    rng = random.Random(seed)
    devices = devices or rng.randint(2, 16)
    chunks = rng.randint(1, 5)
    shape = {1: "linear", 2: rng.choice(["V", "loop"])}.get(chunks, "loop")
    stages = chunks * devices
    pipeline = opweave.Pipeline(f"random {seed}", microbatches=rng.choice([4, devices, devices + 3]))
    pipeline.add_layer(
        "embedding", [{"name": "lookup", "forward_ns": rng.randint(1, 300), "weight_gradient_ns": rng.randint(1, 300)}]
    )

    def operator(name):
        return {
            "name": name,
            "forward_ns": rng.randint(500, 2000),
            "input_gradient_ns": rng.randint(500, 2000),
            "weight_gradient_ns": rng.randint(500, 2000),
        }

    # The first and the last stage have an embedding or a head beside a layer, so that each has I and W.
    for layer in range(2 * stages + rng.randint(0, stages)):
        names = ["attention", "mlp", "norm"][: rng.randint(1, 3)]
        pipeline.add_layer(f"layers.{layer}", [operator(name) for name in names], output_bytes=100)
    pipeline.add_layer("lm_head", [operator("projection"), operator("loss")])
    graph, cluster = pipeline.build(devices=devices, shape=shape, stages=stages, latency_ns=rng.choice([0, 100]))
    return graph, cluster, shape


def planned(graph, cluster, blocks="stage", work_limit=30):
    return opweave.plan(graph, cluster, blocks=blocks, work_limit=work_limit, threads=1, progress=False)


def exported(plan, graph, shape):
    """Every export of the plan that has a word for its map; the program, and its CSV by dialect."""
    program = compile_plan(plan, graph, segments="stage")
    csv = {dialect: pytorch_csv(program, dialect) for dialect in ("compute_only", "compute_comms")}
    layers = layers_by_stage(program, graph)
    assert next(layer for stage in layers for layer in stage) == "embedding"
    assert torchtitan_settings(program, layers).schedule_csv == csv["compute_only"]
    if shape != "V":
        layout = megatron_layout(compile_placement(plan, graph), layers).layout
        assert layout.startswith("E") and layout.endswith("L")
    return program, csv


@pytest.mark.parametrize("seed", range(PIPELINES))
def test_random_pipelines_planned_in_stages_are_loaded_by_torch(seed):
    pytest.importorskip("torch")
    from torch_loading import loaded_by_torch

    graph, cluster, shape = random_pipeline(seed)
    plan = planned(graph, cluster)
    assert plan.check() == []
    program, csv = exported(plan, graph, shape)
    expected = [[cell for cell in row.split(",") if cell] for row in csv["compute_only"].splitlines()]
    for dialect, text in csv.items():
        assert loaded_by_torch(program, text, dialect) == expected


def by_torch(rank, cases):
    import torch
    from opweave.run import PipeliningRunner
    from torch import nn

    results = []
    for graph, plan, in_group in cases:
        program = compile_plan(plan, graph, segments="stage")
        group = torch.distributed.new_group(list(range(in_group)))
        if rank >= in_group:
            results.append(True)
            continue
        torch.manual_seed(0)
        modules = {name: nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for name in program.segments}
        runner = PipeliningRunner(program, modules, nn.functional.mse_loss, group=group)
        batch = torch.randn(2 * program.microbatches, 8)
        ran = [timing.action.key for timing in runner.step(batch, batch).timings]
        results.append(ran == program.order(rank))
    return results


def test_random_pipelines_planned_in_stages_run_on_processes_in_the_planned_order():
    pytest.importorskip("torch")
    from opweave.run import launch

    cases = []
    for seed in range(MOST_ON_PROCESSES):
        graph, cluster, _ = random_pipeline(1000 + seed, devices=2 + seed % (PROCESSES - 1))
        plan = planned(graph, cluster)
        cases.append((graph.to_json(), plan.to_json(), len(plan.statistics["devices"])))
    for begin in range(0, len(cases), AT_ONCE):
        some = cases[begin : begin + AT_ONCE]
        for on_rank in launch(by_torch, PROCESSES, (some,), timeout_s=300, start_method="fork"):
            assert on_rank == [True] * len(some)


def two_streams(microbatches=4):
    """Stages of two layers whose communication overlaps the computation of other microbatches, where it may."""
    pipeline = opweave.Pipeline("moe", microbatches=microbatches)
    operators = [
        {"name": "mlp", "forward_ns": 900, "input_gradient_ns": 900, "weight_gradient_ns": 400},
        {"name": "combine", "streams": ["comm"], "forward_ns": 700, "input_gradient_ns": 700},
    ]
    pipeline.add_layer("layers", operators, repeat=8)
    return pipeline.build(devices=2, shape="V")


def test_exports_of_a_plan_without_blocks_name_the_flag_and_megatron_takes_it_as_it_is():
    graph, cluster = two_streams()
    plan = opweave.plan(graph, cluster, work_limit=100, threads=1, progress=False)
    with pytest.raises(ProgramError) as error:
        compile_plan(plan, graph, segments="stage")
    assert "do not follow each other" in str(error.value)
    assert str(error.value).endswith('hint: plan with --blocks stage (in Python: opweave.plan(..., blocks="stage"))')
    placement = compile_placement(plan, graph)
    assert [segment.homes[0] for segment in placement.segments.values()] == [0, 1, 1, 0]
    assert layers_by_stage(placement, graph)[1] == ["layers.2", "layers.3"]
    # The same placement in the order of a plan with blocks.
    assert compile_placement(planned(graph, cluster), graph) == placement


def test_a_plan_with_blocks_says_so_and_is_held_to_it():
    graph, cluster = two_streams()
    plan = planned(graph, cluster)
    assert plan.to_dict()["settings"]["blocks"] == "stage"
    woven = opweave.plan(graph, cluster, work_limit=100, threads=1, progress=False).to_dict()
    woven["settings"]["blocks"] = "stage"
    findings = opweave.Plan.from_json(json.dumps(woven), graph, cluster).check()
    assert {finding.rule for finding in findings} == {"blocks"}
    with pytest.raises(opweave.InputError, match='blocks: value is "module", expected stage or layer'):
        planned(graph, cluster, blocks="module")


def test_optimizer_operators_need_no_stage():
    graph, cluster = two_streams()
    content = graph.to_dict()
    parameters = [parameter["name"] for parameter in content["parameters"]]
    content["operators"] += [
        {"name": f"adam.{name}", "phase": "O", "duration_ns": 10, "parameters": [name]} for name in parameters
    ]
    content["operators"].append({"name": "count", "phase": "O", "duration_ns": 1})
    with_steps = opweave.Graph.from_dict(content)
    program = compile_plan(planned(with_steps, cluster), with_steps, segments="stage")
    # Steps belong to the stage of their parameters; the count to none, so it is no action.
    steps = {name for _, action in program.actions() if action.phase == "O" for name in action.operators}
    assert steps == {f"adam.{name}" for name in parameters}
    assert pytorch_csv(program) == pytorch_csv(compile_plan(planned(graph, cluster), graph, segments="stage"))


def test_what_takes_no_time_stays_in_its_piece():
    """A piece that ends with an operator of no duration, another that begins with one, at one moment."""
    operators = []
    for stage in (0, 1):
        for part, duration in (("in", 0), ("work", 5), ("out", 0)):
            name = f"s{stage}.{part}"
            before = operators[-1]["outputs"] if operators else []
            operators.append(
                {"name": name, "phase": "F", "stage": stage, "duration_ns": duration}
                | {"inputs": before, "outputs": [name]}
            )
    graph = opweave.Graph.from_dict(
        {
            "format": "opweave.graph",
            "version": 1,
            "training": {"microbatches": 3},
            "tensors": [{"name": op["name"], "bytes": 0} for op in operators],
            "operators": operators,
        }
    )
    plan = planned(graph, opweave.Cluster.uniform(1))
    program = compile_plan(plan, graph, segments="stage")
    assert sorted(action.operators for _, action in program.actions()) == sorted(
        [("s0.in", "s0.work", "s0.out"), ("s1.in", "s1.work", "s1.out")] * 3
    )
