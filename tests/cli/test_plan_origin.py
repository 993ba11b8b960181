"""What commands say of plans that others made, or that were made for something else."""

import json

from conftest import LAYERS, fails, opweave, pipeline, succeeds


def test_a_plan_of_another_graph_gets_the_reason_and_one_violation(planned, tmp_path):
    other = json.loads(planned.graph.read_text())
    for operator in other["operators"]:
        operator["duration_ns"] = 7
    graph = tmp_path / "other.json"
    graph.write_text(json.dumps(other))
    done = opweave("check", graph, planned.cluster, planned.plan)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "made for another graph: its hash is" in lines[0]
    assert "made for another graph" in fails(2, "explain", graph, planned.cluster, planned.plan)
    text = succeeds("diff", planned.plan, planned.plan)
    assert "differ" not in text


def test_diff_names_the_graphs_that_differ(planned, tmp_path):
    other = json.loads(planned.plan.read_text())
    other["provenance"]["graph_hash"] = "0123456789abcdef"
    (tmp_path / "other.json").write_text(json.dumps(other))
    text = succeeds("diff", planned.plan, tmp_path / "other.json")
    assert "The graphs differ: " in text and "0123456789abcdef" in text and "clusters differ" not in text


def test_figures_that_a_plan_lacks_are_filled_in(planned, tmp_path):
    plan = json.loads(planned.plan.read_text())
    bare = {key: plan[key] for key in ("format", "version", "settings", "tasks", "transfers")}
    mine, filled = tmp_path / "mine.json", tmp_path / "filled.json"
    mine.write_text(json.dumps(bare))
    assert 'key "status" is missing' in fails(2, "check", *planned.inputs, mine)
    assert "--fill FILE" in opweave("check", *planned.inputs, mine).stderr.splitlines()[1]
    assert succeeds("check", *planned.inputs, mine, "--fill", filled).startswith("valid: makespan")
    result = json.loads(filled.read_text())
    assert {key: result[key] for key in ("makespan_ns", "statistics", "tasks", "transfers")} == {
        key: plan[key] for key in ("makespan_ns", "statistics", "tasks", "transfers")
    }
    succeeds("check", *planned.inputs, filled)
    # What others made is not called ours.
    names = [
        row["name"]
        for row in json.loads(succeeds("compare", *planned.inputs, filled, "--json"))["comparisons"][0]["schedules"]
    ]
    assert names[-1] == "plan"


def test_what_if_has_a_bound_as_planned_and_says_why_other_microbatches_have_no_order(planned):
    answer = json.loads(succeeds("what-if", *planned.inputs, planned.plan, "--samples", 0, "--json"))
    assert 0 < answer["lower_bound_ns"] <= answer["makespan_ns"]
    (other,) = (one for one in answer["changes"] if "microbatches" in one["change"])
    assert other["same_order_ns"] is None and "--replan" in other["remark"]


def test_bounds_of_blocks_are_said_to_be_theirs(tmp_path):
    case = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 2)
    text = succeeds("plan", *case.inputs, "--blocks", "stage", "--work-limit", 50, "-o", case.plan)
    assert "bound and gap are of plans in pieces by stage; without --blocks a plan may be shorter" in text
    plan = json.loads(case.plan.read_text())
    answer = json.loads(succeeds("what-if", *case.inputs, case.plan, "--memory", 2, "--samples", 0, "--json"))
    # More memory leaves the bound of the pieces as it is.
    assert answer["changes"][0]["lower_bound_ns"] >= answer["lower_bound_ns"] == plan["lower_bound_ns"]


def test_sizes_are_read_in_any_case(small):
    for size in ("20mib", "20MiB", "20MIB", "20 mb"):
        assert '"makespan_ns"' in succeeds("plan", *small.inputs, "--memory-limit", size, "--work-limit", 5)
