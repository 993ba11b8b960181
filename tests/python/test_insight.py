"""explain, diff, what_if, pareto, sweep: what the commands say, as values."""

import itertools
import json
import pathlib
import subprocess
import sys

import opweave
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples/strategies/llama3-8b.json"


@pytest.fixture(scope="module")
def plans():
    """Two plans of eight layers as a V over two devices: a short search, and the layers in another order."""
    pipeline = opweave.Pipeline("small", microbatches=8, gradient_bytes_per_weight_byte=1)
    operators = [
        {"name": "mix", "forward_ns": 400, "input_gradient_ns": 900, "weight_gradient_ns": 200},
        {"name": "send", "streams": ["comm"], "forward_ns": 300, "input_gradient_ns": 500},
    ]
    pipeline = pipeline.add_layer("block", operators, repeat=8, weights_bytes=1000, activation_bytes=100)
    problem = pipeline.build(devices=2, shape="V", activations=3)
    return opweave.plan(*problem, work_limit=1, threads=1), opweave.plan(*problem, work_limit=200, threads=1)


@pytest.fixture(scope="module")
def strategies():
    return opweave.parallelize(CONFIG, "h100", nodes=1, global_batch=64, sequence=4096)


def test_a_plan_is_explained_by_a_path_and_by_causes_that_sum_up(plans):
    plan = plans[1]
    explained = opweave.explain(plan)
    path = explained.critical_path
    assert (path[0].from_ns, path[-1].until_ns) == (0, plan.makespan_ns)
    assert all(a.until_ns == b.from_ns for a, b in itertools.pairwise(path))
    assert sum(ns for _, ns, _ in explained.path_shares) == plan.makespan_ns
    for device, stated in zip(explained.devices, plan.statistics["devices"], strict=True):
        assert sum(device.idle_ns.values()) == device.bubble_ns == stated["bubble_ns"]
        spans = [one for one in explained.idle_spans if one.device == device.device]
        for cause, ns in device.idle_ns.items():
            assert sum(one.until_ns - one.from_ns for one in spans if one.cause == cause) == ns
    assert len(explained.tasks) == len(plan.tasks) and min(one.slack_ns for one in explained.tasks) == 0
    stated = {(t["operator"], t["start_ns"], t["end_ns"], tuple(t["devices"])) for t in plan.tasks}
    assert {(t.operator, t.start_ns, t.end_ns, t.devices) for t in explained.tasks} == stated
    with pytest.raises(AttributeError):
        explained.makespan_ns = 1


# a, b, d take 400 on one device, c runs beside them; a and d follow c nowhere else than over the link.
def test_other_devices_of_an_operator_are_simulated(diamond):
    plan = opweave.plan(*diamond, work_limit=100, threads=1)
    explained = opweave.explain(plan)
    home = next(task["devices"][0] for task in plan.tasks if task["operator"] == "c")
    (other,) = explained.other_devices("c")
    assert other.instead_of == home and other.device != home
    # All four on one device, one after the other.
    assert (other.stays_ns, other.makespan_ns) == (400, 550)
    with pytest.raises(opweave.InputError, match='operator: the graph has no operator "nowhere"'):
        explained.other_devices("nowhere")


def test_a_plan_that_breaks_a_rule_is_not_explained(plans):
    plan = plans[0]
    content = plan.to_dict()
    content["tasks"][0]["end_ns"] += 1
    spoiled = opweave.Plan.from_json(json.dumps(content), plan.graph, plan.cluster)
    for call in (opweave.explain, opweave.what_if):
        with pytest.raises(opweave.InputError, match="plan: once: "):
            call(spoiled)
    with pytest.raises(opweave.InputError, match="second: once: "):
        opweave.diff(plan, spoiled)


def test_the_difference_of_two_plans_adds_up(plans):
    first, second = plans
    found = opweave.diff(first, second)
    assert found.same_problem and found.same_settings
    assert found.tasks_in_both == len(first.tasks) and found.tasks_only_in_first == found.tasks_only_in_second == 0
    assert (found.first["makespan_ns"], found.second["makespan_ns"]) == (first.makespan_ns, second.makespan_ns)
    starts = {(t["operator"], t["microbatch"]): t["start_ns"] for t in first.tasks}
    other = {(t["operator"], t["microbatch"]): t["start_ns"] for t in second.tasks}
    assert len(found.shifted) == sum(starts[key] != other[key] for key in starts)
    # The layers are pinned, so the whole change is one of order.
    assert not found.moved and found.costs["with_places_ns"] == found.costs["first_ns"]
    same = opweave.diff(first, first)
    assert not same.shifted and all(one["pairs_swapped"] == 0 for one in same.orders)


def test_what_moves_to_another_device_is_named_and_its_cost_split(diamond):
    graph, cluster = diamond
    apart = opweave.plan(graph, cluster, work_limit=50, threads=1)
    together = opweave.plan(graph, cluster, work_limit=50, threads=1, objectives=["communication", "makespan"])
    found = opweave.diff(apart, together)
    moved = [name for one in found.moved for name in one["operators"]]
    assert found.costs["first_ns"] == 400 and found.costs["second_ns"] == 550
    assert len(moved) == found.costs["moved_groups"] > 0
    assert found.costs["idle_first"] != found.costs["idle_second"]


def test_changes_of_a_plan_keep_their_bounds_and_are_repeatable(plans):
    plan = plans[1]
    standard = opweave.what_if(plan, samples=5)
    assert len(standard.changes) >= 5 and [one.spread for one in standard.robustness] == [0.01, 0.02, 0.05, 0.1, 0.2]
    for one in standard.changes:
        assert one.same_order_ns is None or one.lower_bound_ns <= one.same_order_ns
    arguments = {"memory": 2, "microbatches": [4, 16], "replan": True, "work_limit": 20, "samples": 0, "threads": 1}
    asked = opweave.what_if(plan, **arguments)
    assert [one.change for one in asked.changes] == ["memory times 2", "4 microbatches", "16 microbatches"]
    assert asked.changes[1].same_order_ns is None and asked.changes[1].makespan_ns < plan.makespan_ns
    assert asked == opweave.what_if(plan, **arguments)
    assert asked.records()[0]["per_microbatch"] == asked.changes[0].makespan_ns / plan.makespan_ns


# A copy at a hundredth of the speed takes longer than the plan has room for.
def test_plans_with_movements_are_asked_about_their_hosts_as_on_the_command_line(tmp_path, opweave_program):
    pipeline = opweave.Pipeline.from_file(ROOT / "examples/memory-modes/pipeline.json")
    graph, cluster = pipeline.build(shape="V", devices=4, activations=2.5)
    content = cluster.to_dict()
    host = {"latency_ns": 1000, "bandwidth_bytes_per_s": 50 * 10**9}
    content["device_types"] = [{"name": "gpu", "host_link": host}]
    for device in content["devices"]:
        device["type"] = "gpu"
    cluster = opweave.Cluster.from_dict(content)
    plan = opweave.plan(graph, cluster, memory_modes=["host"], microbatches=4, work_limit=300, threads=1)
    asked = opweave.what_if(plan, host_link=[2, 0.01], samples=2, threads=1)
    fast, slow = asked.changes
    assert fast.lower_bound_ns <= plan.makespan_ns < slow.lower_bound_ns
    files = [tmp_path / name for name in ("graph.json", "cluster.json", "plan.json")]
    for value, path in zip((graph, cluster, plan), files, strict=True):
        value.save(path)
    command = [opweave_program, "what-if", *files, "--host-link", "2", "0.01", "--samples", "2", "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [vars(one) for one in asked.changes] == said["changes"]
    assert [vars(one) for one in asked.robustness] == said["robustness"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host_link": 2}, "host_link"),
        ({"link_speed": 0}, "link-speed: value is 0, expected a number from 0.001"),
        ({"link_speed": "2"}, 'link_speed: value is "2", expected a number, or several'),
        ({"devices": [0]}, "devices: value is 0, expected an integer from 1"),
        ({"microbatches": 1.5}, "microbatches: value is 1.5, expected an integer from 1"),
        ({"faster": "nothing"}, "faster: .*nothing"),
        ({"samples": -1}, "samples: value is -1, expected an integer from 0"),
        ({"time_limit": -1}, "time_limit: value is -1, expected a number from 0"),
    ],
)
def test_wrong_changes_are_refused_by_name(plans, arguments, message):
    with pytest.raises(opweave.InputError, match=message):
        opweave.what_if(plans[0], **arguments)


def test_a_curve_never_rises_and_keeps_its_bounds(plans):
    graph, cluster = plans[0].graph, plans[0].cluster
    curve = opweave.pareto(graph, cluster, points=4, work_limit=400, threads=1)
    assert 2 <= len(curve) <= 4 and curve[0] is curve.points[0]
    for one in curve:
        assert one.lower_bound_ns <= one.makespan_ns and one.peak_memory_bytes <= one.memory_limit_bytes
    assert all(a.makespan_ns >= b.makespan_ns for a, b in itertools.pairwise(curve))
    with pytest.raises(opweave.NoPlanError, match="no plan exists"):
        opweave.pareto(graph, cluster, points=2, work_limit=10, memory_limit=1)
    with pytest.raises(opweave.InputError, match="points: value is 1, expected an integer from 2"):
        opweave.pareto(graph, cluster, points=1)


def test_a_strategy_is_explained_compared_and_changed(strategies, tmp_path):
    best, other = strategies[0], strategies[1]
    explained = opweave.explain(strategies)
    assert explained.strategy == best and explained.made_for["devices"] == 8
    for choice, found, why_not in explained.other_choices:
        assert choice and (found is None) == bool(why_not)
    best.save(tmp_path / "best.json")
    for form in (best, tmp_path / "best.json", json.loads(best.to_json())):
        assert opweave.diff(form, other).second == other
    found = opweave.diff(best, other)
    assert found.decisions and found.same_model
    (step,) = (row for row in found.records() if row["part"] == "step")
    assert step["change"] == other.step_ns - best.step_ns
    changes = {one.change: one for one in opweave.what_if(best, time_limit=5).changes}
    assert changes["as it is"].step_ns == best.step_ns and changes["as it is"].best == best
    assert changes["twice the nodes"].best.tokens_per_s > best.tokens_per_s


def test_the_command_reads_what_python_saves(strategies, tmp_path, opweave_program):
    strategies.best.save(tmp_path / "best.json")
    text = subprocess.run(
        [opweave_program, "explain", tmp_path / "best.json", "--json"], check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(text)["explained"]["step_ns"] == strategies.best.step_ns


@pytest.mark.parametrize("call", [opweave.explain, opweave.what_if], ids=["explain", "what_if"])
def test_what_is_neither_plan_nor_strategy_is_refused(call, strategies):
    with pytest.raises(opweave.InputError, match="value is a int, expected a plan, a strategy or the path"):
        call(3)
    with pytest.raises(opweave.InputError, match=r'key "for" is missing'):
        call({"tensor": 8})
    with pytest.raises(opweave.InputError, match="does not say what it is for"):
        call(opweave.explain(strategies).strategy)


def test_a_plan_and_a_strategy_do_not_compare(plans, strategies):
    with pytest.raises(
        opweave.InputError, match=r"second: value is of class RankedStrategy, expected an opweave\.Plan"
    ):
        opweave.diff(plans[0], strategies.best)
    with pytest.raises(opweave.InputError, match="link_speed: the changes of a strategy are fixed"):
        opweave.what_if(strategies.best, link_speed=2)


def test_a_sweep_answers_every_combination_as_parallelize_does(strategies, tmp_path):
    journal = tmp_path / "journal.jsonl"
    found = opweave.sweep(
        CONFIG, ["h100", "a100"], nodes=1, global_batch=[3, 64], sequence=4096, journal=journal, workers=1
    )
    assert [(one.device, one.global_batch) for one in found] == [("H100", 3), ("H100", 64), ("A100", 3), ("A100", 64)]
    assert (
        found[1].step_ns == strategies.best.step_ns and found[1].memory_bytes == strategies.best.memory_bytes["total"]
    )
    assert found[1].device_hours == pytest.approx(8 * 1e6 / strategies.best.tokens_per_s / 3600)
    again = opweave.sweep(CONFIG, ["h100", "a100"], nodes=1, global_batch=[3, 64], sequence=4096, journal=journal)
    assert again == found
    found.report(tmp_path / "sweep.html", title="eight billion", price=2.0)
    assert "eight billion" in (tmp_path / "sweep.html").read_text()
    with pytest.raises(opweave.InputError, match="another question"):
        opweave.sweep(CONFIG, "h100", nodes=1, global_batch=64, sequence=2048, journal=journal)
    with pytest.raises(opweave.InputError, match="global_batch: no value"):
        opweave.sweep(CONFIG, "h100", global_batch=[], sequence=2048)


def test_shards_of_a_sweep_are_merged_to_the_whole(tmp_path):
    lists = {"nodes": 1, "global_batch": [3, 64], "sequence": 4096}
    whole = opweave.sweep(CONFIG, ["h100", "h200"], **lists)
    assert [one.profile for one in whole] == ["nemo-2504/H100/bf16"] * 2 + ["uncalibrated"] * 2
    journals = [tmp_path / f"{i}.jsonl" for i in (1, 2)]
    shards = [opweave.sweep(CONFIG, ["h100", "h200"], **lists, shard=(i, 2), journal=journals[i - 1]) for i in (1, 2)]
    assert [list(shard) for shard in shards] == [[whole[0], whole[2]], [whole[1], whole[3]]]
    assert opweave.merge_sweeps(*reversed(journals)) == whole
    half = opweave.merge_sweeps(journals[0])
    assert (len(half), half.asked) == (2, 4) and half == shards[0]
    (tmp_path / "merged.jsonl").write_text(opweave.merge_sweeps(*journals).journal)
    assert opweave.sweep(CONFIG, ["h100", "h200"], **lists, journal=tmp_path / "merged.jsonl") == whole


def test_shards_and_sizes_of_a_sweep_that_cannot_be_are_refused(tmp_path):
    for shard in ((0, 2), (3, 2), (1, 2, 3), "1/2", (True, 2)):
        with pytest.raises(opweave.InputError, match="shard: value is"):
            opweave.sweep(CONFIG, "h100", global_batch=64, sequence=2048, shard=shard)
    with pytest.raises(opweave.InputError, match="1001000 points, expected at most 1000000"):
        opweave.sweep(CONFIG, "h100", nodes=range(1, 1002), global_batch=range(1, 1001), sequence=2048)
    with pytest.raises(opweave.InputError, match="journals: no value"):
        opweave.merge_sweeps()
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(opweave.InputError, match="no line, expected the head"):
        opweave.merge_sweeps(tmp_path / "empty.jsonl")


def test_answers_show_themselves_as_text_html_and_frames(plans, strategies):
    pandas = pytest.importorskip("pandas")
    graph, cluster = plans[0].graph, plans[0].cluster
    answers = [
        opweave.explain(plans[1]),
        opweave.diff(*plans),
        opweave.what_if(plans[1], samples=2),
        opweave.pareto(graph, cluster, points=2, work_limit=50, threads=1),
        opweave.explain(strategies),
        opweave.diff(strategies[0], strategies[1]),
        opweave.what_if(strategies.best, time_limit=5),
        opweave.sweep(CONFIG, "h100", nodes=1, global_batch=64, sequence=4096),
    ]
    for answer in answers:
        frame = answer.to_pandas()
        assert isinstance(frame, pandas.DataFrame) and len(frame) == len(answer.records())
        assert answer._repr_html_().count("<table>") >= 1 and "<tr><th>" in answer._repr_html_()
        assert len(str(answer).splitlines()) >= 2
    explained = answers[0]
    for table in ("critical_path", "path_shares", "devices", "idle_spans", "tasks"):
        assert len(explained.to_pandas(table)) == len(getattr(explained, table))
    with pytest.raises(opweave.InputError, match="table: "):
        explained.to_pandas("everything")


def test_names_are_escaped_in_notebooks(diamond):
    content = diamond[0].to_dict()
    content["operators"][1]["kind"] = "<b>"
    content["operators"][0]["kind"] = content["operators"][3]["kind"] = "<i>"
    plan = opweave.plan(opweave.Graph.from_dict(content), diamond[1], work_limit=50, threads=1)
    assert "<i>" not in opweave.explain(plan)._repr_html_()


def test_pandas_is_not_needed():
    code = "import sys; sys.modules['pandas'] = None; import opweave; from opweave.table import as_frame; as_frame([])"
    path = {"PYTHONPATH": str(pathlib.Path(opweave.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=path, text=True, capture_output=True, check=False)
    assert "to_pandas() needs pandas: pip install pandas" in done.stderr
