"""Plans on groups of ranks have the gradients of one process: any mixture of axes, shardings and memory modes."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import signal
import time

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import parallel_models as models  # noqa: E402, I001

from opweave.run import LaunchError, ProgramError, compile_plan, launch  # noqa: E402
from opweave.run.parallel import (  # noqa: E402
    Mesh,
    ParallelExecutor,
    check_parallel,
    device_timings,
    drift,
    measured_costs,
    parallel_trace,
    parallelize_plan,
    predict,
    spread,
    step_ns,
    step_parts,
    tensor_plan,
    verify_strategy,
)
from opweave.run.parallel.within import Within  # noqa: E402
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


ENCODERS = Case(
    "encoders of data and tensor ranks before a decoder of context ranks",
    {"gpu0": Mesh(data=2), "gpu1": Mesh(tensor=2), "gpu2": Mesh(context=2, data=2)},
    {"embed": 0, "b0": 0, "words": 1, "b1": 1, "b2": 2, "head": 2},
    edges=models.TOWERS,
)
EVERY = [
    (4, Case("tp2 pp2", Mesh(tensor=2), TWO, tokens_split=True)),
    (4, Case("tp2 dp2, ZeRO 1", Mesh(tensor=2, data=2), ONE, sharding="optimizer", tokens_split=True)),
    (4, Case("tp2 dp2, ZeRO 3", Mesh(tensor=2, data=2), ONE, sharding="weights")),
    (4, Case("ep2 pp2", Mesh(data=2, expert=2), TWO, experts=4)),
    (4, Case("cp2 pp2", Mesh(context=2), BETWEEN)),
    (8, Case("tp2 pp2 dp2", Mesh(tensor=2, data=2), BETWEEN, tokens_split=True, sharding="gradients")),
    (8, Case("ep2 pp2 tp2", Mesh(data=2, expert=2, tensor=2), TWO, experts=4, sharding="weights")),
    (8, ENCODERS),
]


@pytest.mark.skipif(
    "OPWEAVE_ALL_STRATEGIES" not in os.environ, reason="takes minutes: set OPWEAVE_ALL_STRATEGIES=1 to run it"
)
@pytest.mark.parametrize("processes", [4, 8])
def test_each_strategy_runs_with_everything_kept_dropped_and_on_the_host(processes):
    cases = [
        dataclasses.replace(case, name=f"{case.name}, {mode}", memory=mode)
        for size, case in EVERY
        for mode in ("keep", "drop", "host")
        if size == processes
    ]
    hold(cases, processes, timeout_s=400)


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


def layers_model(experts=0):
    """A chain with a name for every block."""
    torch.manual_seed(3)
    model = torch.nn.Sequential()
    model.add_module("embed", torch.nn.Embedding(models.WORDS, models.WIDTH))
    for i in range(4):
        model.add_module(f"layer{i}", models.Block(i, experts))
    model.add_module("head", models.Head())
    return model


LAYERS = [f"layer{i}" for i in range(4)]


def verified(strategy, **options):
    x, target = models.batch(16)
    return verify_strategy(
        options.pop("model", None) or layers_model(),
        strategy,
        x,
        target,
        models.loss,
        layers=LAYERS,
        timeout_s=90,
        **options,
    )


def test_a_strategy_file_runs_and_its_times_and_memory_are_told(tmp_path):
    strategy = {"format": "opweave.strategy", "version": 1, "tensor": 2, "sequence_parallel": True, "pipeline": 2,
                "chunks": 2, "schedule": "Interleaved-1F1B", "micro_batch": 4, "sharding": "optimizer",
                "recompute": "full", "recomputed_per_stage": [2, 0]}  # fmt: skip
    found = verified(strategy, memory={("layer1", 0): "host"})
    assert found.largest <= found.tolerance == 1e-5
    assert len(found.losses) == 4
    for counted, planned in zip(found.saved_bytes, found.planned_bytes, strict=True):
        assert abs(counted - planned) <= 0.05 * planned
    predicted = predict(found.program, measured_costs([found.timings]))
    inside = {str(t.instruction) for t in found.timings if isinstance(t.instruction, Within)}
    assert {"all_gather_into_tensor", "reduce_scatter_tensor", "wait_tensor"} <= inside
    parts = step_parts(found.program, found.timings)
    assert {"compute", "tensor"} <= parts.keys() and "expert" not in parts
    assert sum(parts.values()) <= step_ns(found.timings)
    assert {str(t.instruction) for t in predicted} == {str(t.instruction) for t in found.timings} - inside
    assert step_ns(predicted) > 0
    parallel_trace(found.program, predicted, found.timings, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    kinds = {event["cat"] for event in events if event["ph"] == "X"}
    assert {"F", "B", "made again", "copy", "collective", "receive"} <= kinds
    starts = [e["id"] for e in events if e["ph"] == "s"]
    assert starts and sorted(starts) == sorted(e["id"] for e in events if e["ph"] == "f")
    by_device = device_timings(found.program, found.timings)
    assert sorted({timing.rank for timing in by_device}) == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"components": [{"name": "tower", "data": 2}], "layers_per_stage": [2, 2]},
        {"components": [{"name": "tower", "data": 2}], "pipeline": 2, "layers_per_stage": [2, 1, 1], "recompute": "full",
         "recomputed_per_stage": [1, 0, 1], "sharding": "optimizer"},
        {"components": [{"name": "tower", "tensor": 2, "pipeline": 2}], "layers_per_stage": [1, 1, 2], "data": 2},
        {"components": [{"name": "tower"}], "tensor": 2, "data": 2, "sharding": "weights", "layers_per_stage": [2, 2],
         "schedule": "ZB1P"},
    ],
)  # fmt: skip
def test_a_component_on_a_mesh_of_its_own_has_the_gradients_of_one_process(change):
    found = verified({"micro_batch": 4, "overlaps_data": True, **change})
    assert found.largest <= found.tolerance
    mesh = {"tensor": 1, "data": 1, "pipeline": 1, **change["components"][0]}
    others = change.get("tensor", 1) * change.get("data", 1) * change.get("pipeline", 1)
    assert len(found.saved_bytes) == mesh["tensor"] * mesh["data"] * mesh["pipeline"] + others
    for counted, planned in zip(found.saved_bytes, found.planned_bytes, strict=True):
        assert abs(counted - planned) <= 0.05 * planned


TOWER = {"components": [{"name": "tower", "data": 2}], "layers_per_stage": [2, 1, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({**TOWER, "components": [{"name": "a"}, {"name": "b"}]}, "components has 2 entries, expected one"),
        ({**TOWER, "components": [{"name": "tower", "expert": 2}]}, "component 'tower': 'expert' is no key"),
        ({**TOWER, "components": [{"name": "tower", "data": 3}]}, "data is 3, expected a divisor of the 4 rows"),
        ({**TOWER, "sequence_parallel": True}, "sequence_parallel is true and component 'tower' has a mesh of its own"),
        ({**TOWER, "schedule": "DualPipe"}, "expected 1F1B, ZB1P or ZB-2P without chunks"),
        ({**TOWER, "layers_per_stage": []}, "expected layers_per_stage: it says which layers are"),
        ({"recompute": "half"}, 'strategy: recompute is "half"'),
        ({"recompute": "selective", "recomputed_modules": ["mlp"]}, 'recomputed_modules has "mlp"'),
        ({"optimizer_offload": 0.5}, "'optimizer_offload' is no key"),
        ({"expert_tensor": 2}, "expert_tensor is 2, expected 1"),
        ({"overlaps_tensor": True}, "overlaps_tensor is true"),
        ({"schedule": "ZB-V"}, 'schedule is "ZB-V" with 1 chunks, expected 2'),
        ({"pipeline": 3}, "4 layers, expected a multiple of 3 stages"),
        ({"micro_batch": 3}, "16 rows a step, expected a multiple of micro_batch x data = 3 x 1"),
        ({"layers_per_stage": [3, 2]}, "layers_per_stage is [3, 2]"),
        ({"expert": 2}, "expert is 2, expected a divisor of data (1)"),
        ({"tensor": 0}, "tensor is 0, expected an integer from 1"),
        ({"colour": "red"}, "'colour' is no key"),
        ({"sharding": "all"}, "sharding of 'embed' is 'all'"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name_before_any_process_starts(change, message, monkeypatch):
    monkeypatch.setattr("opweave.run.parallel.verification.launch", lambda *_, **__: pytest.fail("a process started"))
    with pytest.raises(ProgramError) as error:
        verified({"pipeline": 2, "micro_batch": 4, **change})
    assert message in str(error.value)


def test_tokens_over_the_tensor_axis_need_an_embedding_and_a_head():
    x = torch.randn(16, models.TOKENS, models.WIDTH)
    model = torch.nn.Sequential(models.Block(0), models.Block(1))
    with pytest.raises(ProgramError, match="segment '0' has no embedding in its tensor plan"):
        verify_strategy(model, {"tensor": 2, "sequence_parallel": True}, x, x, torch.nn.functional.mse_loss)


def test_models_that_are_no_chain_or_draw_random_numbers_are_refused():
    with pytest.raises(ProgramError, match="Linear is no chain that is known"):
        verified({}, model=torch.nn.Linear(2, 2))
    model = layers_model()
    model.append(torch.nn.Dropout(0.5))
    with pytest.raises(ProgramError, match=r"6 drops out 0.5 of its inputs"):
        verified({"pipeline": 2, "micro_batch": 4}, model=model)


def changed(program, rank, order):
    """The program with the instructions of one rank in another order."""
    ranks = list(program.ranks)
    ranks[rank] = tuple(order)
    return dataclasses.replace(program, ranks=tuple(ranks))


def small_program():
    return models.program_of(Case("", Mesh(tensor=2, data=2), TWO, sharding="weights", memory=MIXED))[0]


def test_the_checker_rejects_collectives_of_a_group_in_two_orders():
    program = small_program()
    steps = list(program.ranks[0])
    gathers = [i for i, step in enumerate(steps) if str(step).startswith("gather weights of b0")]
    computes = [i for i, step in enumerate(steps) if str(step).startswith("b0.F")]
    steps[computes[0]], steps[computes[1]] = steps[computes[1]], steps[computes[0]]
    assert gathers
    with pytest.raises(ProgramError, match=r"collective .* of ranks 0, 1 is .*, expected one order"):
        check_parallel(changed(program, 0, steps))


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("gather weights of b0", "collective .* expected one order"),
        ("copy in b1#0", "needs what its forward kept"),
        ("b0.F#1 again", "expected one order|needs what its forward kept"),
        ("post ", "do not post the same messages"),
        ("receive ", "needs all of its part of"),
        ("release ", "never waits for"),
    ],
)
def test_the_checker_rejects_a_program_that_lacks_an_instruction(left_out, message):
    program = small_program()
    rank = 4 if left_out in ("copy in b1#0", "post ", "receive ") else 0
    first = next(i for i, step in enumerate(program.ranks[rank]) if str(step).startswith(left_out))
    ranks = range(program.processes) if "again" in left_out else [rank]
    for each in ranks:
        steps = list(program.ranks[each])
        program = changed(program, each, [s for i, s in enumerate(steps) if i != first or str(s)[:4] != left_out[:4]])
    with pytest.raises(ProgramError, match=message):
        check_parallel(program)


def test_the_checker_finds_sends_that_wait_for_each_other():
    program = models.program_of(Case("", Mesh(), TWO, microbatches=2))[0]
    ranks = []
    for rank, steps in enumerate(program.ranks):
        # The second device posts its receives after all else, although the first one's sends end only with them.
        posts = [step for step in steps if rank == 1 and str(step).startswith("post")]
        ranks.append(tuple([step for step in steps if step not in posts] + posts))
    with pytest.raises(ProgramError, match=r"do not post the same|wait for each other forever: rank 0 at send"):
        check_parallel(dataclasses.replace(program, ranks=tuple(ranks)))


def fails_on_one(rank, how):
    program, graph, _ = models.program_of(Case("", Mesh(tensor=2), TWO))
    segments = models.modules(graph)
    plans = models.tensor_plans(segments, False)
    executor = ParallelExecutor(program, segments, tensor_plans=plans, timeout_s=2)
    x, target = models.batch(16)
    executor.step(x, target, models.loss)
    if rank == 1 and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1 and how == "is late in an action":
        segments["b0"].register_forward_pre_hook(lambda *_: time.sleep(4))
    executor.step(x, target, models.loss)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("dies", "rank 1 ended with signal 9"),
        ("is late in an action", r"PeerError: rank \d \(gpu\d\): (b\d\.|receive|embed).* failed with rank"),
    ],
)
def test_a_rank_that_dies_or_is_late_is_named_and_nobody_hangs(how, message):
    with pytest.raises(LaunchError, match=message):
        launch(fails_on_one, 4, (how,), timeout_s=60, start_method="fork")


def test_drift_gives_a_line_of_advice_and_one_slow_step_none():
    assert drift(100, [100, 100, 100, 300]) is None
    assert drift(100, [100] * 10 + [130] * 10) == (
        "the last 10 steps take 0.00 ms, 30% more than the 0.00 ms predicted: measure costs again (measured_costs) and "
        "plan with them"
    )


def test_the_plan_of_a_decoder_by_the_names_of_its_parts_is_a_python_file():
    plan = tensor_plan(models.Block(0), tokens_split=True)
    assert plan["attention.q_proj"] == "columns"
    assert plan["attention.o_proj"] == "rows"
    assert plan["norm1"] == "norm"
    written: dict = {}
    exec(parallelize_plan(plan, tokens_split=True), written)
    assert set(written["PLAN"]) == set(plan)


def test_meshes_and_layouts_that_do_not_fit_are_refused():
    with pytest.raises(ProgramError, match=r"expert: degree is 2, expected a divisor of data \(3\)"):
        Mesh(data=3, expert=2)
    case = Case("", {"gpu0": Mesh(), "gpu1": Mesh()}, TWO)
    graph = models.run_support.graph(case.edges, 2)
    program = compile_plan(models.run_support.plan(graph, TWO, 2), graph)
    with pytest.raises(ProgramError, match='meshes: device "gpu1" has none'):
        spread(program, {"gpu0": Mesh()})
    with pytest.raises(ProgramError, match="memory: the plan has no 'b7'"):
        spread(program, Mesh(), memory={"b7": "drop"})
    with pytest.raises(ProgramError, match="memory of 'b0' is 'lose'"):
        spread(program, Mesh(), memory={"b0": "lose"})
    with pytest.raises(ProgramError, match="in another layout, expected the same within a device"):
        spread(program, Mesh(tensor=2), splits={"embed": (False, True)})


def test_a_decoder_of_transformers_runs_without_being_changed():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (requirements-torch.txt)")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=models.WORDS, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).train()
    x, target = models.batch(8)
    strategy = {"tensor": 2, "sequence_parallel": True, "pipeline": 2, "micro_batch": 2, "recompute": "full"}
    found = verify_strategy(model, strategy, x, target, models.loss, timeout_s=90)
    assert found.largest <= 1e-5
    assert found.differences.keys() == dict(model.named_parameters()).keys()
    assert not model.model.layers[0].self_attn._forward_pre_hooks
    with pytest.raises(ProgramError, match="context is above 1, but the model's layers count tokens from 0"):
        verify_strategy(model, {"context": 2}, x, target, models.loss)
