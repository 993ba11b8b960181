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
    assert "memory modes" in fails(2, "plan", graph, cluster, "--memory-modes", "drop", "--objective", "peak-memory")
    assert "expected keep, drop, host" in fails(2, "plan", graph, cluster, "--memory-modes", "forget")
