"""Graphs whose operators have options with layouts: plan, check, and what does not know them."""

import json
import pathlib
import subprocess
import sys

import pytest
from conftest import ROOT, fails, opweave, succeeds

EXAMPLE = ROOT / "examples/layouts"
WORK = ("--work-limit", 2000, "--threads", 1)
LITTLE_MEMORY = 150_000_000


def plan_of(tmp_path, name, *options):
    """The plan of an example as a dictionary, checked."""
    path = tmp_path / "plan.json"
    succeeds("plan", EXAMPLE / f"{name}.json", EXAMPLE / "cluster.json", "-o", path, *WORK, *options)
    assert succeeds("check", EXAMPLE / f"{name}.json", EXAMPLE / "cluster.json", path).startswith("valid")
    return json.loads(path.read_text())


def test_the_files_of_the_example_are_what_its_script_writes(tmp_path):
    subprocess.run([sys.executable, EXAMPLE / "make_graphs.py", tmp_path], check=True)
    for name in ("sequence.json", "experts.json", "cluster.json"):
        assert (tmp_path / name).read_text() == (EXAMPLE / name).read_text()


def test_sequence_layout_moves_by_all_gather_and_reduce_scatter(tmp_path):
    graph = json.loads((EXAMPLE / "sequence.json").read_text())
    for operator in graph["operators"]:  # the two ways on the gang
        operator["options"] = [o for o in operator["options"] if o["name"] == "sequence"]
    forced = tmp_path / "graph.json"
    forced.write_text(json.dumps(graph))
    path = tmp_path / "plan.json"
    succeeds("plan", forced, EXAMPLE / "cluster.json", "-o", path, *WORK)
    assert succeeds("check", forced, EXAMPLE / "cluster.json", path).startswith("valid")
    kinds = {m["kind"] for m in json.loads(path.read_text())["movements"]}
    assert kinds == {"all_gather", "reduce_scatter"}


def test_dispatch_to_experts_elsewhere_is_an_all_to_all_between_the_gangs(tmp_path):
    graph = json.loads((EXAMPLE / "experts.json").read_text())
    for operator in graph["operators"]:
        operator["options"] = [o for o in operator["options"] if o["name"] != "here"]
    forced = tmp_path / "graph.json"
    forced.write_text(json.dumps(graph))
    path = tmp_path / "plan.json"
    succeeds("plan", forced, EXAMPLE / "cluster.json", "-o", path, *WORK)
    movements = json.loads(path.read_text())["movements"]
    dispatch = [m for m in movements if m.get("tensor") == "h0" and m["to"] == ["gpu4", "gpu5", "gpu6", "gpu7"]]
    assert {m["kind"] for m in dispatch} == {"all_to_all"}
    assert all(len(m["devices"]) == 8 for m in dispatch)


@pytest.mark.parametrize("name", ["sequence", "experts"])
def test_plan_check_report_trace_and_explain_know_options(tmp_path, name):
    report, trace = tmp_path / "report.html", tmp_path / "trace.json"
    plan = plan_of(tmp_path, name, "--report", report, "--trace", trace)
    assert plan["version"] == 3
    assert {o["operator"] for o in plan["options"]} == {
        o["name"] for o in json.loads((EXAMPLE / f"{name}.json").read_text())["operators"]
    }
    assert all(m["kind"] in trace.read_text() for m in plan["movements"])
    files = (EXAMPLE / f"{name}.json", EXAMPLE / "cluster.json", tmp_path / "plan.json")
    succeeds("report", *files, "-o", tmp_path / "again.html")
    succeeds("explain", *files)
    succeeds("show", *files)


def test_values_that_do_not_fit_are_made_again_with_what_their_layer_gathers(tmp_path):
    graph = json.loads((EXAMPLE / "sequence.json").read_text())
    for operator in graph["operators"]:
        operator["options"] = [o for o in operator["options"] if o["name"] == "sequence"]
    forced = tmp_path / "graph.json"
    forced.write_text(json.dumps(graph))
    path, report, trace = tmp_path / "plan.json", tmp_path / "report.html", tmp_path / "trace.json"
    files = (forced, EXAMPLE / "cluster.json")
    most = ("--memory-limit", LITTLE_MEMORY)
    assert opweave("plan", *files, "-o", path, *WORK, *most).returncode == 3
    shown = ("--report", report, "--trace", trace)
    said = succeeds("plan", *files, "-o", path, *WORK, *most, "--memory-modes", "drop", *shown)
    assert "memory modes: " in said
    assert succeeds("check", *files, path).startswith("valid")
    plan = json.loads(path.read_text())
    assert {back["kind"] for back in plan["returns"]} == {"recompute"}
    assert max(d["peak_memory_bytes"] for d in plan["plan"]["statistics"]["devices"]) <= LITTLE_MEMORY
    assert "again" in trace.read_text()
    succeeds("report", *files, path, "-o", tmp_path / "again.html")
    succeeds("explain", *files, path)
    succeeds("show", *files, path)


def test_the_same_work_gives_the_same_bytes(tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in files:
        succeeds("plan", EXAMPLE / "sequence.json", EXAMPLE / "cluster.json", "-o", path, *WORK)
    texts = [pathlib.Path(path).read_text().replace(path.name, "") for path in files]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["bounds", "GRAPH", "CLUSTER"], "options with layouts, which this command does not know"),
        (["compare", "GRAPH", "CLUSTER"], "options with layouts, which this command does not know"),
        (["plan", "GRAPH", "CLUSTER", "--contention", "link"], "contention is link"),
        (["plan", "GRAPH", "CLUSTER", "--replicas", "2"], "replicas are 2"),
        (["plan", "GRAPH", "CLUSTER", "--objective", "peak-memory"], "expected no other objective"),
        (["plan", "GRAPH", "CLUSTER", "--on", "processes"], "--on: not for graphs"),
        (["plan", "GRAPH", "CLUSTER", "--write-model", "m.mps"], "--write-model: not for graphs"),
        (["plan", "GRAPH", "CLUSTER", "--uniform"], "--uniform: no value may have a memory mode"),
    ],
)
def test_what_does_not_know_options_says_so(command, said):
    names = {"GRAPH": EXAMPLE / "sequence.json", "CLUSTER": EXAMPLE / "cluster.json"}
    assert said in fails(2, *(names.get(word, word) for word in command))


def test_every_operator_of_a_graph_of_version_2_has_options(tmp_path):
    graph = json.loads((EXAMPLE / "sequence.json").read_text())
    for operator in graph["operators"]:
        del operator["options"]
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    line = fails(2, "plan", path, EXAMPLE / "cluster.json")
    assert line == f'error: {path}: /operators/0: key "options" is missing'


def test_a_plan_without_a_movement_is_rejected_by_its_rule(tmp_path):
    plan = plan_of(tmp_path, "experts")
    plan["movements"] = [m for m in plan["movements"] if m["of"] != "gradient"]
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(plan))
    done = opweave("check", EXAMPLE / "experts.json", EXAMPLE / "cluster.json", path)
    assert done.returncode == 2
    missing = [line for line in done.stderr.splitlines() if ": reduction: " in line]
    assert missing
    assert all(line.endswith("is missing") for line in missing)
