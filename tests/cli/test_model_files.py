"""The way to other solvers: a model out, a solution in. The program `highs`, where installed, plays the other solver."""

import json
import os
import subprocess

import pytest
from conftest import JOB_SHOP, Case, fails, succeeds


@pytest.fixture
def shop(tmp_path):
    case = Case(tmp_path)
    source = tmp_path / "shop.fjs"
    source.write_text(JOB_SHOP)
    succeeds("convert", "fjs", source, "-o", case.graph, "--cluster", case.cluster)
    return case


def solve(model, solution):
    """Solves an MPS or LP file with the program `highs` and writes its solution file."""
    highsbox = pytest.importorskip("highsbox")
    subprocess.run(
        [highsbox.highs_bin_path(), "--solution_file", solution, model],
        check=True,
        timeout=60,
        capture_output=True,
        cwd=solution.parent,
        env={**os.environ, "LD_LIBRARY_PATH": highsbox.highs_lib_dir()},
    )


@pytest.mark.parametrize("method", ["mip", "mip-time-indexed"])
@pytest.mark.parametrize("ending", ["mps", "lp"])
def test_solution_of_another_solver_becomes_a_plan(shop, method, ending):
    model, solution = shop.folder / f"model.{ending}", shop.folder / "model.sol"
    succeeds("plan", *shop.inputs, "--method", method, "--write-model", model)
    solve(model, solution)
    succeeds("plan", *shop.inputs, "--method", method, "--read-solution", solution, "-o", shop.plan)
    succeeds("check", *shop.inputs, shop.plan)
    plan = json.loads(shop.plan.read_text())
    assert plan["provenance"]["method"].startswith("solution of mip-")
    # Job 0 needs at least 3 + 2, job 1 2 + 3; both end on their only second machine. Brute force says 6.
    assert plan["makespan_ns"] == 6000


def test_model_files_are_refused_where_there_is_none(shop, large):
    assert "--write-model" in fails(2, "plan", *shop.inputs, "--write-model", shop.folder / "model.txt")
    assert "no integer program" in fails(
        2, "plan", *shop.inputs, "--method", "cp", "--write-model", shop.folder / "m.mps"
    )
    line = fails(3, "plan", *large.inputs, "--method", "mip", "--write-model", large.folder / "m.mps")
    assert "nonzeros" in line


def test_model_that_is_too_large_is_not_built(large):
    line = fails(3, "plan", *large.inputs, "--method", "mip", "--time-limit", 5)
    assert "the model would have" in line and "nonzeros" in line and "expected at most" in line


def test_solution_that_states_no_plan_is_an_input_error(shop):
    solution = shop.folder / "model.sol"
    solution.write_text("nonsense\n")
    assert "model.sol: line 1" in fails(2, "plan", *shop.inputs, "--read-solution", solution)


def test_every_method_plans_the_job_shop(shop):
    for method in ["auto", "heuristic", "mip", "mip-time-indexed", "cp"]:
        succeeds("plan", *shop.inputs, "--method", method, "--time-limit", 1, "-o", shop.plan)
        succeeds("check", *shop.inputs, shop.plan)
        makespan = json.loads(shop.plan.read_text())["makespan_ns"]
        assert makespan >= 6000
        if method.startswith("mip") or method == "cp":
            assert makespan == 6000
    assert "--method" in fails(2, "plan", *shop.inputs, "--method", "magic")


def test_warm_start_is_kept_and_must_fit(shop):
    succeeds("plan", *shop.inputs, "--method", "cp", "--time-limit", 10, "-o", shop.plan)
    again = shop.folder / "again.json"
    succeeds("plan", *shop.inputs, "--method", "heuristic", "--work-limit", 0, "--warm-start", shop.plan, "-o", again)
    assert json.loads(again.read_text())["makespan_ns"] == 6000
    plan = json.loads(shop.plan.read_text())
    last = max(plan["tasks"], key=lambda task: task["start_ns"])
    last["start_ns"], last["end_ns"] = 0, last["end_ns"] - last["start_ns"]
    shop.plan.write_text(json.dumps(plan))
    assert "plan.json: warm start is not valid: " in fails(2, "plan", *shop.inputs, "--warm-start", shop.plan)
    model = shop.folder / "model.lp"
    assert "plan.json: not valid here: " in fails(
        2, "plan", *shop.inputs, "--method", "mip", "--warm-start", shop.plan, "--write-model", model
    )
    plan["tasks"].pop()
    shop.plan.write_text(json.dumps(plan))
    assert "plan.json: plan lacks task" in fails(2, "plan", *shop.inputs, "--warm-start", shop.plan)
