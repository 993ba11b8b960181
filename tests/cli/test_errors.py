import json
import resource
import time

import pytest
from conftest import JOB_SHOP, Case, LAYERS, OPWEAVE, fails, opweave, pipeline, succeeds


def test_missing_file_is_named(small):
    line = fails(2, "plan", "nowhere.json", small.cluster)
    assert "nowhere.json" in line and "no such file" in line.lower()


@pytest.mark.parametrize("command", [["plan", "-o"], ["plan", "-o", "plan.json", "--report"], ["pareto", "--csv"]])
def test_file_that_cannot_be_written_is_an_error_before_the_search(small, command):
    target = small.folder / "missing/file"
    begin = time.monotonic()
    line = fails(2, command[0], *small.inputs, "--time-limit", 60, "--microbatches", 64, *command[1:], target)
    assert line == f"error: {target}: cannot be written: no such file or directory"
    assert time.monotonic() - begin < 30


def test_broken_json_is_located(small):
    small.graph.write_text('{"format": "opweave.graph", ')
    assert "graph.json" in fails(2, "plan", *small.inputs)


def test_unknown_key_is_located(small):
    graph = json.loads(small.graph.read_text())
    graph["operators"][3]["colour"] = "red"
    small.graph.write_text(json.dumps(graph))
    line = fails(2, "bounds", *small.inputs)
    assert "graph.json: /operators/3" in line and "colour" in line


def test_error_stays_one_line_whatever_the_file_is_called(small):
    fails(2, "plan", "no\nsuch\rfile\x1b[31m", small.cluster)


@pytest.mark.parametrize("option", [["--memory-limit", "much"], ["--contention", "some"], ["--microbatches", "0"]])
def test_option_with_a_wrong_value_is_named(small, option):
    assert option[0] in fails(2, "bounds", *small.inputs, *option)


def test_invalid_plan_is_an_input_error_with_a_line_per_violation(planned):
    plan = json.loads(planned.plan.read_text())
    first = plan["tasks"][0]
    last = plan["tasks"][-1]
    # The last task moves to the beginning: its inputs are not there yet, and its stream is taken.
    duration = last["end_ns"] - last["start_ns"]
    last["start_ns"], last["end_ns"] = first["start_ns"], first["start_ns"] + duration
    planned.plan.write_text(json.dumps(plan))
    done = opweave("check", *planned.inputs, planned.plan)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") and "plan.json: " in line for line in lines)
    assert any(": presence: " in line for line in lines)
    assert done.stdout == ""


def test_invalid_plan_is_neither_reported_nor_compared(planned):
    plan = json.loads(planned.plan.read_text())
    plan["tasks"][-1]["start_ns"] += 5
    plan["tasks"][-1]["end_ns"] += 6
    planned.plan.write_text(json.dumps(plan))
    assert ": once: " in fails(2, "report", *planned.inputs, planned.plan)
    assert ": once: " in fails(2, "compare", *planned.inputs, planned.plan)


def test_order_that_waits_for_itself_cannot_be_simulated(planned):
    plan = json.loads(planned.plan.read_text())
    last = plan["tasks"][-1]
    duration = last["end_ns"] - last["start_ns"]
    # First on its stream, but everything before it in the graph runs there later.
    last["start_ns"], last["end_ns"] = 0, duration
    for task in plan["tasks"][:-1]:
        task["start_ns"] += 1
        task["end_ns"] += 1
    planned.plan.write_text(json.dumps(plan))
    assert "plan.json: the order cannot run: " in fails(2, "simulate", *planned.inputs, planned.plan)


def test_pipeline_schedule_that_waits_for_itself_is_refused(tmp_path):
    case = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 2, "--microbatches", 2)
    csv = tmp_path / "schedule.csv"
    # 0B0 needs 1B0, which stands behind 1F1, which needs 0F1, which stands behind 0B0.
    csv.write_text("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n")
    assert "waits forever" in fails(2, "convert", "csv", csv, *case.inputs)


def test_plan_of_another_graph_is_refused(planned, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shop = other / "shop.fjs"
    shop.write_text(JOB_SHOP)
    succeeds("convert", "fjs", shop, "-o", other / "graph.json", "--cluster", other / "cluster.json")
    fails(2, "simulate", other / "graph.json", other / "cluster.json", planned.plan)


def test_no_plan_has_its_own_exit_code_and_a_reason(small):
    line = fails(3, "plan", *small.inputs, "--memory-limit", "100")
    assert "no plan" in line


def test_proven_infeasibility_shows_in_bounds_too(small):
    assert "no plan exists" in fails(3, "bounds", *small.inputs, "--memory-limit", "100")


def test_shape_that_needs_more_layers_is_refused(tmp_path, small):
    line = fails(2, "convert", "pipeline", small.folder / "layers.json", "--shape", "V", "--devices", 5,
                 "-o", tmp_path / "g.json", "--cluster", tmp_path / "c.json")
    assert "10 stages" in line and "8 layers" in line
    assert not (tmp_path / "g.json").exists()


def test_pipeline_operator_without_times_is_refused(tmp_path):
    layers = {"format": "opweave.pipeline", "version": 1, "layers": [{"name": "a", "operators": [{"name": "x"}]}]}
    spec = tmp_path / "layers.json"
    spec.write_text(json.dumps(layers))
    line = fails(2, "convert", "pipeline", spec, "--devices", 1, "-o", tmp_path / "g.json", "--cluster",
                 tmp_path / "c.json")
    assert "/layers/0/operators/0" in line and "forward_ns" in line


def test_memory_exhaustion_is_told_in_one_line(large):
    if "dev" in OPWEAVE.parts:
        pytest.skip("address sanitizer reserves terabytes of address space")
    limit = 128 * 1024 * 1024  # the program loads in this; 3,200,000 tasks do not fit
    done = opweave("plan", *large.inputs, "--microbatches", 10000, "--threads", "1",
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 4, done.stderr
    assert done.stderr == "error: out of memory\n"


def write_problem(case, operators, parameters=(), device=None, types=(), **training):
    case.graph.write_text(json.dumps({"format": "opweave.graph", "version": 1, "training": training,
                                      "parameters": list(parameters), "operators": operators}))
    case.cluster.write_text(json.dumps({"format": "opweave.cluster", "version": 1, "device_types": list(types),
                                        "devices": [device or {"name": "d"}]}))


def test_parameters_that_overflow_are_refused_with_the_numbers(tmp_path):
    case = Case(tmp_path)
    write_problem(case, [{"name": "a", "duration_ns": 1, "parameters": ["w"]}],
                  [{"name": "w", "bytes": 9007199254740991}], gradient_bytes_per_weight_byte=1000,
                  optimizer_bytes_per_weight_byte=1000)
    for command in ("plan", "bounds", "pareto", "compare"):
        line = fails(2, command, *case.inputs, *(["-o", case.plan] if command == "plan" else []))
        assert 'parameter "w" of 9007199254740991 bytes needs 1.8e+19 bytes' in line, line
        assert "expected at most 1e+18" in line


@pytest.mark.parametrize("allowed", [{}, {"devices": ["d"]}])
def test_flops_that_take_for_ever_are_refused_with_the_numbers(tmp_path, allowed):
    case = Case(tmp_path)
    write_problem(case, [{"name": "a", "flops": 1e300, **allowed}], device={"name": "d", "type": "t"},
                  types=[{"name": "t", "peak_flops_per_s": {"bf16": 1e12}}])
    line = fails(2, "plan", *case.inputs, "-o", case.plan)
    # 1e300 / 1e12 s.
    assert 'operator "a" (1e+300 flops, 0 bytes accessed) would take 1e+297 ns on device type "t"' in line
    # Without a rate there is nothing to multiply: the other message.
    write_problem(case, [{"name": "a", "flops": 1e300}], device={"name": "d", "type": "t"}, types=[{"name": "t"}])
    assert "can run on no device" in fails(2, "plan", *case.inputs, "-o", case.plan)


def test_activations_beyond_all_memory_are_refused_with_the_numbers(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(LAYERS))
    line = fails(2, "convert", "pipeline", spec, "--devices", 2, "--activations", "1e300", "-o", tmp_path / "g.json",
                 "--cluster", tmp_path / "c.json")
    # 8 layers of 100 bytes on 2 devices are 400 each, and 4 x 1000 bytes of weights count twice.
    assert "1e+300 activations of 400 bytes and 8000 bytes of parameters" in line


def test_schedule_that_does_not_fit_has_no_gap(tmp_path):
    """One activation per device makes microbatches wait, so GPipe, which keeps all, is shorter than the bound."""
    case = pipeline(tmp_path, LAYERS, "--shape", "linear", "--devices", 2, "--activations", 1)
    comparison = json.loads(succeeds("compare", *case.inputs, "--json"))["comparisons"][0]
    below = [row for row in comparison["schedules"] if row["makespan_ns"] < comparison["lower_bound_ns"]]
    assert below
    for row in comparison["schedules"]:
        assert (row["gap"] is None) == (not row["fits_memory"])
        assert row["fits_memory"] or row not in below or row["gap"] is None
