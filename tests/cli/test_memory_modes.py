"""Memory modes from the command line: planned, judged, shown, and refused by name where they are not known."""

import json

import pytest
from conftest import ROOT, fails, succeeds


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Graph, cluster and a plan that drops values."""
    folder = tmp_path_factory.mktemp("modes")
    graph, cluster, plan = folder / "graph.json", folder / "cluster.json", folder / "plan.json"
    succeeds(
        "convert",
        "pipeline",
        ROOT / "examples/memory-modes/pipeline.json",
        "--shape",
        "V",
        "--devices",
        4,
        "--activations",
        2.5,
        "--microbatches",
        4,
        "-o",
        graph,
        "--cluster",
        cluster,
    )
    succeeds("plan", graph, cluster, "--memory-modes", "drop", "--work-limit", 300, "-o", plan)
    return graph, cluster, plan


def test_a_plan_with_movements_is_valid_and_names_them(files):
    graph, cluster, plan = files
    succeeds("check", graph, cluster, plan)
    written = json.loads(plan.read_text())
    assert written["settings"]["memory_modes"] == ["drop"]
    if "movements" in written:
        assert written["version"] == 2
        assert {movement["kind"] for movement in written["movements"]} == {"recompute"}


def test_commands_that_read_plans_show_movements(files, tmp_path):
    graph, cluster, plan = files
    succeeds("simulate", graph, cluster, plan)
    succeeds("explain", graph, cluster, plan)
    succeeds("show", graph, cluster, plan)
    succeeds("report", graph, cluster, plan, "-o", tmp_path / "report.html", "--trace", tmp_path / "trace.json")


def test_uniform_plans_are_alike_in_all_microbatches(files, tmp_path):
    graph, cluster, _ = files
    plan = tmp_path / "plan.json"
    succeeds("plan", graph, cluster, "--memory-modes", "drop", "--uniform", "--work-limit", 300, "-o", plan)
    succeeds("check", graph, cluster, plan)
    copies = {}
    for mode in json.loads(plan.read_text()).get("memory_modes", []):
        copies.setdefault(mode["tensor"], set()).add(mode["microbatch"])
    assert all(len(numbers) == 4 for numbers in copies.values())
    assert "expected --memory-modes" in fails(2, "plan", graph, cluster, "--uniform", "--work-limit", 10)


def test_bounds_hold_for_all_modes(files):
    graph, cluster, plan = files
    kept = json.loads(succeeds("bounds", graph, cluster, "--json"))["bounds"][0]
    free = json.loads(succeeds("bounds", graph, cluster, "--memory-modes", "drop", "--json"))["bounds"]
    assert free[0]["value_ns"] <= kept["value_ns"]
    assert free[0]["value_ns"] <= json.loads(plan.read_text())["makespan_ns"]
    assert "memory-ramp (modes)" in {bound["name"] for bound in free}


def test_other_commands_refuse_memory_modes_by_name(files):
    graph, cluster, plan = files
    assert "memory modes" in fails(2, "compare", graph, cluster, plan)
    assert "memory modes" in fails(2, "plan", graph, cluster, "--memory-modes", "drop", "--objective", "communication")
    assert "expected keep, drop, host" in fails(2, "plan", graph, cluster, "--memory-modes", "forget")


def test_diff_compares_plans_with_movements_by_their_files_alone(files, tmp_path):
    graph, cluster, plan = files
    kept = tmp_path / "kept.json"
    succeeds("plan", graph, cluster, "--work-limit", 300, "-o", kept)
    written = json.loads(plan.read_text())
    answer = json.loads(succeeds("diff", kept, plan, "--json"))
    assert answer["first"]["makespan_ns"] == json.loads(kept.read_text())["makespan_ns"]
    assert answer["tasks_only_in_first"] == answer["tasks_only_in_second"] == 0
    if "movements" not in written:
        return
    assert answer["second"]["values_that_do_not_stay"] == len(written["memory_modes"])
    assert answer["second"]["recomputed_ns"] == written["statistics"]["recomputed_ns"]
    assert "run again" in succeeds("diff", kept, plan)
    assert "know" in fails(2, "diff", graph, cluster, kept, plan)
    assert "from the plan alone" in fails(2, "show", plan)


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """Graph and cluster of a two-way pipeline whose gradients are reduced, and a plan."""
    folder = tmp_path_factory.mktemp("reductions")
    pipeline = json.loads((ROOT / "examples/memory-modes/pipeline.json").read_text())
    pipeline["training"] = {
        "microbatches": 4,
        "replicas": 2,
        "gradient_bytes_per_weight_byte": 1,
        "reduction_stream": "compute",
    }
    source, graph, cluster = folder / "pipeline.json", folder / "graph.json", folder / "cluster.json"
    source.write_text(json.dumps(pipeline))
    how = ("--shape", "two-way", "--devices", 4, "--activations", 4, "--bandwidth-bytes-per-s", 10**9)
    succeeds("convert", "pipeline", source, *how, "-o", graph, "--cluster", cluster)
    succeeds("plan", graph, cluster, "--work-limit", 300, "-o", folder / "plan.json")
    return graph, cluster, folder / "plan.json"


def test_gradients_of_replicas_are_reduced_once_per_parameter(reduced):
    graph, cluster, plan = reduced
    succeeds("check", graph, cluster, plan)
    movements = json.loads(plan.read_text())["movements"]
    names = [parameter["name"] for parameter in json.loads(graph.read_text())["parameters"]]
    assert sorted(movement["parameter"] for movement in movements) == sorted(names)
    assert {movement["kind"] for movement in movements} == {"all_reduce"}
    # 1 MB over 1 GB/s, on a ring of two.
    assert all(movement["end_ns"] - movement["start_ns"] == 1_000_000 for movement in movements)


def test_commands_know_reductions_or_refuse_them(reduced, tmp_path):
    graph, cluster, plan = reduced
    succeeds("simulate", graph, cluster, plan)
    succeeds("explain", graph, cluster, plan)
    succeeds("show", graph, cluster, plan)
    succeeds("bounds", graph, cluster)
    succeeds("report", graph, cluster, plan, "-o", tmp_path / "report.html", "--trace", tmp_path / "trace.json")
    assert "gradients are reduced" in fails(2, "compare", graph, cluster, plan)
    assert "makespan and peak-memory" in fails(2, "plan", graph, cluster, "--objective", "period", "-o", plan)


def test_least_memory_lets_values_go_that_a_short_plan_keeps(tmp_path):
    graph, cluster, plan = tmp_path / "graph.json", tmp_path / "cluster.json", tmp_path / "plan.json"
    shape = ("--shape", "linear", "--devices", 2, "--microbatches", 2)
    pipeline = ROOT / "examples/memory-modes/pipeline.json"
    succeeds("convert", "pipeline", pipeline, *shape, "-o", graph, "--cluster", cluster)

    def goal(objectives):
        limits = ("--memory-modes", "drop", "--time-limit", 3, "-o", plan)
        succeeds("plan", graph, cluster, "--objective", objectives, *limits)
        assert "valid" in succeeds("check", graph, cluster, plan)
        return {figure["name"]: figure for figure in json.loads(plan.read_text())["goal"]["objectives"]}

    short = goal("makespan,peak-memory")
    small = goal("peak-memory,makespan")
    assert small["peak-memory"]["value"] < short["peak-memory"]["value"]
    assert small["makespan"]["value"] > short["makespan"]["value"]
    assert 0 < small["peak-memory"]["bound"] <= small["peak-memory"]["value"]


def test_what_if_asks_of_memory_and_of_links_to_hosts(files, reduced, tmp_path):
    graph, cluster, plan = files
    now = json.loads(plan.read_text())["makespan_ns"]
    asked = ("--samples", 1, "--json")
    answer = json.loads(succeeds("what-if", graph, cluster, plan, "--memory", 1, 2, 0.01, *asked))
    same, more, less = answer["changes"]
    assert answer["makespan_ns"] == now
    # The order as it is, each task as early as it can be.
    assert same["same_order_ns"] == more["same_order_ns"] <= now
    assert more["lower_bound_ns"] <= same["lower_bound_ns"] <= now
    assert less["same_order_ns"] is None and less["remark"]
    assert "host_link" in fails(2, "what-if", graph, cluster, plan, "--host-link", 2)
    replanned = json.loads(
        succeeds("what-if", graph, cluster, plan, "--memory", 1, "--replan", "--work-limit", 50, *asked)
    )["changes"][0]
    assert replanned["replanned_ns"] <= replanned["same_order_ns"]
    graph, cluster, plan = reduced
    faster = json.loads(succeeds("what-if", graph, cluster, plan, "--link-speed", 1, 1000, *asked))["changes"]
    assert faster[1]["same_order_ns"] < faster[0]["same_order_ns"]
