import csv
import itertools
import json

from conftest import fails, opweave, succeeds


def goal(case, *options):
    succeeds("plan", *case.inputs, *options, "-o", case.plan)
    succeeds("check", *case.inputs, case.plan)
    return json.loads(case.plan.read_text())


def test_less_memory_within_a_deadline_is_found_and_bounded(small):
    fastest = goal(small, "--work-limit", 200)
    peak = max(device["peak_memory_bytes"] for device in fastest["statistics"]["devices"])
    deadline = fastest["makespan_ns"] * 3
    plan = goal(small, "--work-limit", 200, "--objective", "peak-memory,makespan", "--deadline", deadline)
    memory, makespan = plan["goal"]["objectives"]
    assert (memory["name"], memory["unit"], makespan["name"]) == ("peak-memory", "bytes", "makespan")
    assert memory["bound"] <= memory["value"] < peak
    assert memory["proof"]
    assert makespan["value"] == plan["makespan_ns"] <= deadline


def test_objectives_are_printed_with_their_bounds(small):
    text = succeeds(
        "plan", *small.inputs, "--objective", "devices,communication", "--work-limit", 100, "-o", small.plan
    )
    assert "objective devices " in text and "objective communication " in text and ", bound " in text


def test_deadline_that_is_too_early_is_proven_so(small):
    line = fails(3, "plan", *small.inputs, "--deadline", "5us", "--work-limit", 100)
    assert "no plan exists" in line and "deadline of 5000 ns" in line


def test_options_that_make_no_sense_are_named(small):
    assert "--objective" in fails(2, "plan", *small.inputs, "--objective", "speed")
    assert "--objective" in fails(2, "plan", *small.inputs, "--objective", "makespan,makespan")
    assert "--deadline" in fails(2, "plan", *small.inputs, "--deadline", "soon")


def test_same_work_gives_the_same_bytes_for_every_objective(small):
    for objective in ["peak-memory,makespan", "devices,makespan", "period", "communication", "utilisation"]:
        options = ["--objective", objective, "--work-limit", 50, "--deadline", "200us"]
        first = succeeds("plan", *small.inputs, *options, "--threads", 1)
        assert succeeds("plan", *small.inputs, *options, "--threads", 2) == first, objective


def test_plan_with_a_false_objective_is_rejected(small):
    plan = goal(small, "--objective", "devices", "--work-limit", 50)
    plan["goal"]["objectives"][0]["value"] += 1
    plan["status"] = "feasible"
    small.plan.write_text(json.dumps(plan))
    assert 'objective "devices"' in opweave("check", *small.inputs, small.plan).stderr


def test_pareto_curve_never_rises_and_keeps_its_bounds(small):
    table, points = small.folder / "curve.csv", small.folder / "curve.json"
    text = succeeds("pareto", *small.inputs, "--points", 4, "--time-limit", 4, "--csv", table, "--json", points)
    assert text.startswith("memory limit")
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == len(json.loads(points.read_text())["points"]) >= 2
    for smaller, larger in itertools.pairwise(rows):
        assert int(smaller["memory_limit_bytes"]) < int(larger["memory_limit_bytes"])
        assert int(smaller["makespan_ns"]) >= int(larger["makespan_ns"])
        assert int(smaller["lower_bound_ns"]) >= int(larger["lower_bound_ns"])
    for row in rows:
        assert int(row["lower_bound_ns"]) <= int(row["makespan_ns"])
        assert int(row["peak_memory_bytes"]) <= int(row["memory_limit_bytes"])
