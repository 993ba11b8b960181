"""Published schedules and plans with memory modes on groups of ranks: what, when, and with the gradients of one process."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import re
import subprocess

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import parallel_models as models  # noqa: E402, I001

from conftest import ROOT  # noqa: E402
from opweave import _core  # noqa: E402
from opweave.run import Executor, ProgramError, compile_placement, compile_plan, launch  # noqa: E402
from opweave.run.chain import stages_of  # noqa: E402
from opweave.run.parallel import Mesh, check_parallel, spread, strategy_program  # noqa: E402
from opweave.run.parallel.strategy import chain_graph  # noqa: E402
from parallel_models import Case  # noqa: E402

LAYERS = tuple(f"b{i}" for i in range(4))
BLOCKS = ["embed", *LAYERS, "head"]
WIRING = {name: BLOCKS[i : i + 1] for i, name in enumerate(BLOCKS[1:])}
CHAIN = {"embed": [], **WIRING}


def scheduled(schedule, chunks, **strategy):
    """The program of a strategy of two pipeline ranks with four microbatches."""
    options = {"pipeline": 2, "chunks": chunks, "micro_batch": 4, "schedule": schedule, **strategy}
    return strategy_program(options, BLOCKS, LAYERS, global_batch=16 * options.get("data", 1))


SCHEDULES = {
    "GPipe": 1,
    "1F1B": 1,
    "ZB1P": 1,
    "ZB-2P": 1,
    "DualPipe": 1,
    "Interleaved-1F1B": 2,
    "Interleaved-ZB": 2,
    "Looped-BFS": 2,
    "ZB-V": 2,
    "V-Half": 2,
    "V-Min": 2,
    "DualPipeV": 2,
}


@pytest.mark.parametrize(("schedule", "chunks"), SCHEDULES.items())
def test_ranks_go_through_the_actions_of_a_published_schedule(schedule, chunks):
    program = scheduled(schedule, chunks)
    homes = [program.base.segments[name].homes[0] for name in LAYERS]
    assert homes == {1: [0, 0, 1, 1], 2: [0, 1, 1, 0] if "V" in schedule else [0, 1, 0, 1]}[chunks]
    _, rows = _core.expert_schedule(schedule, 2, 4, chunks, (1, 1, 1, 0))
    splits = any(letter in cell for row in rows for cell in row for letter in "IW")
    for rank, row in enumerate(rows):
        cells = [(stage, phase, b) for cell in row for stage, phase, b in re.findall(r"(\d+)([FIWB])(\d+)", cell)]
        planned = [
            (part, int(stage), int(b))
            for stage, phase, b in cells
            for part in ("IW" if splits and phase == "B" else phase)
        ]
        # Two layers of a stage follow each other.
        order = [key for key in program.base.order(rank) if key[1] in LAYERS]
        found = [(phase, LAYERS.index(name) * 2 * chunks // len(LAYERS), b) for phase, name, b in order]
        assert [unit for unit, _ in itertools.groupby(found)] == planned


def run_schedules(rank, cases):
    graph = {"operators": chain_graph(BLOCKS, 4)["operators"]}
    for op in graph["operators"]:
        op["inputs"] = ["x" if tensor == "input" else tensor for tensor in op["inputs"]]
    return [
        models.held(rank, scheduled(*case[:2], **case[2]), graph, Case("", None, {}, rows=case[3])) for case in cases
    ]


def test_published_schedules_have_the_gradients_of_one_process():
    cases = [(schedule, chunks, {}, 16) for schedule, chunks in SCHEDULES.items()]
    for rank, found in enumerate(launch(run_schedules, 2, (cases,), timeout_s=120, start_method="fork")):
        for (schedule, chunks, _, _), held in zip(cases, found, strict=True):
            assert held["gradients"] < 1e-5, schedule
            assert held["losses"] < 1e-5, schedule
            assert held["memory"] <= 0.05, schedule
            assert held["executed"] == scheduled(schedule, chunks).base.order(rank), schedule


def test_published_schedules_run_on_tensor_and_data_ranks_and_with_layers_made_again():
    cases = [
        ("ZB1P", 1, {"tensor": 2, "recompute": "full", "recomputed_per_stage": [2, 1]}, 16),
        ("ZB-V", 2, {"data": 2, "sharding": "weights", "recompute": "full", "recomputed_layers": 1}, 32),
        ("DualPipeV", 2, {"context": 2, "sharding": "gradients"}, 16),
        ("DualPipe", 1, {"data": 2, "sharding": "optimizer", "recompute": "full"}, 32),
    ]
    for found in launch(run_schedules, 4, (cases,), timeout_s=120, start_method="fork"):
        for case, held in zip(cases, found, strict=True):
            assert held["gradients"] < 1e-5 and held["losses"] < 1e-5, case
            assert held["memory"] <= 0.05, case


@pytest.mark.parametrize(
    ("schedule", "chunks", "message"),
    [
        ("ZB-V", 1, 'schedule is "ZB-V" with 1 chunks, expected 2'),
        ("1F1B", 2, 'schedule is "1F1B" with 2 chunks, expected 1'),
        ("Zigzag", 1, "Zigzag"),
        ("DualPipeV", 2, "needs at least 2 microbatches per device, 4 for 2 devices, got 3"),
    ],
)
def test_schedules_that_are_not_defined_are_refused(schedule, chunks, message):
    rows = 12 if schedule == "DualPipeV" else 16
    strategy = {"pipeline": 2, "chunks": chunks, "micro_batch": 4, "schedule": schedule}
    with pytest.raises(ProgramError) as error:
        strategy_program(strategy, BLOCKS, LAYERS, global_batch=rows)
    assert message in str(error.value)


# Plans with memory modes


def with_modes(graph, plan, seed):
    """Graph and plan in which what every forward keeps stays, goes and is made again, or is copied to the host and
    back, each at a random time."""
    rng = random.Random(seed)
    graph, plan = copy.deepcopy(graph), copy.deepcopy(plan)
    for op in graph["operators"]:
        name, phase = op["name"][:-2], op["name"][-1]
        graph["tensors"] += [{"name": f"{name}.saved", "bytes": 100}] if phase == "F" else []
        op.setdefault("outputs" if phase == "F" else "inputs", []).append(f"{name}.saved")
    times = {(t["operator"], t["microbatch"]): t for t in plan["tasks"]}
    plan |= {"version": 2, "memory_modes": [], "movements": []}
    for (operator, b), task in times.items():
        name = operator[:-2]
        mode = rng.choice(["keep", "drop", "host"]) if operator.endswith(".F") else "keep"
        if mode == "keep":
            continue
        plan["memory_modes"].append({"tensor": f"{name}.saved", "microbatch": b, "mode": mode})
        backward = min(times[f"{name}.{phase}", b]["start_ns"] for phase in "IW")
        first, second = sorted(rng.randint(task["end_ns"], backward) for _ in range(2))
        for kind, start in [("recompute", second)] if mode == "drop" else [("copy_out", first), ("copy_in", second)]:
            what = {"operator": operator} if kind == "recompute" else {"tensor": f"{name}.saved"}
            entry = {"kind": kind, **what, "microbatch": b, "devices": task["devices"], "start_ns": start}
            plan["movements"].append({**entry, "end_ns": start})
    return graph, plan


def of_modes(case, seed):
    graph = models.run_support.graph(case.edges, case.microbatches)
    plan = models.run_support.plan(graph, case.placement, 1 + max(case.placement.values()), case.seed)
    graph, plan = with_modes(graph, plan, seed)
    splits = {name: (bool(case.edges[name]), name != "head") for name in case.edges} if case.tokens_split else None
    program = spread(compile_plan(plan, graph), case.meshes, splits=splits, sharding=case.sharding)
    return graph, plan, program


TWO = {"embed": 0, "b0": 0, "b1": 1, "b2": 0, "b3": 1, "head": 1}
MODES = [
    Case("tp2 pp2, tokens split", Mesh(tensor=2), TWO, edges=CHAIN, tokens_split=True),
    Case("dp2 pp2, ZeRO 3", Mesh(data=2), TWO, edges=CHAIN, sharding="weights"),
    Case("cp2 pp2, ZeRO 2", Mesh(context=2), TWO, edges=CHAIN, sharding="gradients", seed=3),
]


def run_modes(rank, cases):
    result = []
    for seed, case in enumerate(cases):
        graph, _, program = of_modes(case, seed)
        result.append(models.held(rank, program, models.run_support.graph(case.edges, case.microbatches), case))
        assert graph["operators"]
    return result


def times_of(plan, device):
    """When every instruction of a device is planned."""
    words = {"recompute": "{}.F#{} again", "copy_out": "copy out {}#{}", "copy_in": "copy in {}#{}"}
    times = {f"{t['operator']}#{t['microbatch']}": t["start_ns"] for t in plan["tasks"] if t["devices"] == [device]}
    for movement in plan["movements"]:
        if movement["devices"] == [device]:
            name = movement.get("operator", movement.get("tensor")).rsplit(".", 1)[0]
            times[words[movement["kind"]].format(name, movement["microbatch"])] = movement["start_ns"]
    return times


def as_planned(held, plan, device):
    """Gradients of one process, memory as the program says, and every instruction in the order of its planned start."""
    assert held["gradients"] < 1e-5 and held["losses"] < 1e-5
    assert held["memory"] <= 0.05
    planned = times_of(plan, device)
    assert sorted(held["instructions"]) == sorted(planned)
    starts = [planned[text] for text in held["instructions"]]
    assert starts == sorted(starts)


def test_values_go_and_come_back_when_the_plan_says():
    found = launch(run_modes, 4, (MODES,), timeout_s=120, start_method="fork")
    for number, case in enumerate(MODES):
        _, plan, program = of_modes(case, number)
        check_parallel(program)
        for rank in range(4):
            as_planned(found[rank][number], plan, program.base.devices[program.grid.device_of(rank)])
        assert {step["kind"] for step in plan["movements"]} == {"recompute", "copy_out", "copy_in"}


def small_plan():
    case = MODES[0]
    return of_modes(case, 0)[:2]


def test_what_a_segment_cannot_do_is_refused_by_name():
    graph, plan = small_plan()
    outside = copy.deepcopy(plan)
    outside["memory_modes"].append({"tensor": "b0:0", "microbatch": 1, "mode": "host"})
    with pytest.raises(ProgramError, match='tensor "b0:0" of microbatch 1 passes from segment "b0" to others'):
        compile_plan(outside, graph)
    torn = copy.deepcopy(graph)
    torn["tensors"].append({"name": "b0.second", "bytes": 1})
    for op in torn["operators"]:
        if op["name"] in ("b0.F", "b0.W"):
            op["outputs" if op["name"] == "b0.F" else "inputs"].append("b0.second")
    with pytest.raises(
        ProgramError, match=r'segment "b0" keeps tensors in different ways for microbatch .*"b0\.second" keep'
    ):
        compile_plan(plan, torn)
    again = copy.deepcopy(plan)
    again["movements"].append({"kind": "recompute", "operator": "b1.F", "microbatch": 0, "start_ns": 0, "end_ns": 1})
    again["memory_modes"] = [m for m in plan["memory_modes"] if (m["tensor"], m["microbatch"]) != ("b1.saved", 0)]
    with pytest.raises(ProgramError, match=r'operator "b1\.F" runs again for microbatch 0, but segment "b1" keeps'):
        compile_plan(again, graph)
    with pytest.raises(ProgramError, match="the plan has memory modes of its own"):
        spread(compile_plan(plan, graph), Mesh(), memory="drop")


def test_whoever_does_not_know_memory_modes_refuses_them():
    graph, plan = small_plan()
    with pytest.raises(ProgramError, match=r'memory modes \(".*saved" of microbatch'):
        compile_placement(plan, graph, "operator")
    with pytest.raises(
        ProgramError, match=r"memory modes \(.* on gpu0\), which torch\.distributed\.pipelining does not know"
    ):
        stages_of(compile_plan(plan, graph))

    def run(rank):
        Executor(compile_plan(plan, graph), models.modules(graph))

    with pytest.raises(Exception, match=r"which this executor does not know"):
        launch(run, 2, start_method="fork", timeout_s=30)


OPWEAVE = os.environ.get("OPWEAVE_BIN", str(ROOT / "build/default/opweave"))


def planned_with_modes(folder, memory_bytes, modes):
    """Graph and plan of the planner, in which values go and come back for want of memory."""
    graph = models.run_support.graph(CHAIN, 4)
    for op in graph["operators"]:
        name, phase = op["name"][:-2], op["name"][-1]
        op.setdefault("outputs" if phase == "F" else "inputs", []).append(f"{name}.saved")
        op["devices"] = [f"gpu{TWO[name]}"]
        graph["tensors"] += [{"name": f"{name}.saved", "bytes": 1000}] if phase == "F" else []
    link = {"latency_ns": 10, "bandwidth_bytes_per_s": 10**10}
    cluster = {"format": "opweave.cluster", "version": 1, "name": "two", "default_link": link}
    cluster["device_types"] = [{"name": "gpu", "host_link": link}]
    cluster["devices"] = [{"name": f"gpu{i}", "type": "gpu", "memory_bytes": memory_bytes} for i in range(2)]
    for name, content in (("graph", graph), ("cluster", cluster)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    command = [OPWEAVE, "plan", "graph.json", "cluster.json", "--memory-modes", modes, "--work-limit", "20"]
    subprocess.run([*command, "-o", "plan.json"], cwd=folder, check=True, capture_output=True)
    return graph, json.loads((folder / "plan.json").read_text())


def test_plans_of_the_planner_with_memory_modes_run_as_planned(tmp_path):
    made = [planned_with_modes(tmp_path, 4500, modes) for modes in ("host", "drop", "drop,host")]
    kinds = [{step["kind"] for step in plan["movements"]} for _, plan in made]
    assert kinds[:2] == [{"copy_out", "copy_in"}, {"recompute"}] and kinds[2]
    programs = [spread(compile_plan(plan, graph), Mesh(tensor=2)) for graph, plan in made]
    reference = models.run_support.graph(CHAIN, 4)

    def run(rank):
        return [models.held(rank, program, reference, Case("", None, {})) for program in programs]

    for rank, found in enumerate(launch(run, 4, timeout_s=60, start_method="fork")):
        for held, (_, plan) in zip(found, made, strict=True):
            as_planned(held, plan, f"gpu{rank // 2}")


# Attention made again


def test_attention_is_made_again_with_the_same_gradients_and_less_memory():
    strategies = [
        {"tensor": 2, "pipeline": 2, "micro_batch": 4},
        {"context": 2, "pipeline": 2, "micro_batch": 4, "schedule": "ZB1P"},
        {"data": 2, "pipeline": 2, "micro_batch": 4, "recompute": "full", "recomputed_per_stage": [1, 0]},
    ]
    selective = {"recompute": "selective", "recomputed_modules": ["core_attn"]}
    pairs = [(strategy, {**selective, **strategy, "recomputed_modules": ["core_attn"]}) for strategy in strategies]

    def run(rank):
        graph = {"operators": chain_graph(BLOCKS, 4)["operators"]}
        for op in graph["operators"]:
            op["inputs"] = ["x" if tensor == "input" else tensor for tensor in op["inputs"]]
        found = []
        for given in (given for pair in pairs for given in pair):
            rows = 16 * given.get("data", 1)
            program = strategy_program(given, BLOCKS, LAYERS, global_batch=rows)
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # keeps the weights of attention
                found.append(models.held(rank, program, graph, Case("", None, {}, rows=rows)))
        return found

    for found in launch(run, 4, timeout_s=60, start_method="fork"):
        for held in found:
            assert held["gradients"] < 1e-5 and held["losses"] < 1e-5
            assert held["memory"] <= 0.05
        kept, again = found[::2], found[1::2]
        assert all(b["peak"] < a["peak"] for a, b in zip(kept, again, strict=True))
