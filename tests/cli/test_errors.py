import json
import resource
import time

import pytest
from conftest import JOB_SHOP, LAYERS, OPWEAVE, Case, fails, opweave, pipeline, succeeds


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
    line = fails(
        2,
        "convert",
        "pipeline",
        small.folder / "layers.json",
        "--shape",
        "V",
        "--devices",
        5,
        "-o",
        tmp_path / "g.json",
        "--cluster",
        tmp_path / "c.json",
    )
    assert "10 stages" in line and "8 layers" in line
    assert not (tmp_path / "g.json").exists()


def test_pipeline_operator_without_times_is_refused(tmp_path):
    layers = {"format": "opweave.pipeline", "version": 1, "layers": [{"name": "a", "operators": [{"name": "x"}]}]}
    spec = tmp_path / "layers.json"
    spec.write_text(json.dumps(layers))
    line = fails(
        2, "convert", "pipeline", spec, "--devices", 1, "-o", tmp_path / "g.json", "--cluster", tmp_path / "c.json"
    )
    assert "/layers/0/operators/0" in line and "forward_ns" in line


def test_memory_exhaustion_is_told_in_one_line(large):
    if "dev" in OPWEAVE.parts:
        pytest.skip("address sanitizer reserves terabytes of address space")
    limit = 128 * 1024 * 1024  # the program loads in this; 3,200,000 tasks do not fit
    done = opweave(
        "plan",
        *large.inputs,
        "--microbatches",
        10000,
        "--threads",
        "1",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr == "error: out of memory\n"


def write_problem(case, operators, parameters=(), device=None, types=(), **training):
    case.graph.write_text(
        json.dumps(
            {
                "format": "opweave.graph",
                "version": 1,
                "training": training,
                "parameters": list(parameters),
                "operators": operators,
            }
        )
    )
    case.cluster.write_text(
        json.dumps(
            {
                "format": "opweave.cluster",
                "version": 1,
                "device_types": list(types),
                "devices": [device or {"name": "d"}],
            }
        )
    )


def test_parameters_that_overflow_are_refused_with_the_numbers(tmp_path):
    case = Case(tmp_path)
    write_problem(
        case,
        [{"name": "a", "duration_ns": 1, "parameters": ["w"]}],
        [{"name": "w", "bytes": 9007199254740991}],
        gradient_bytes_per_weight_byte=1000,
        optimizer_bytes_per_weight_byte=1000,
    )
    for command in ("plan", "bounds", "pareto", "compare"):
        line = fails(2, command, *case.inputs, *(["-o", case.plan] if command == "plan" else []))
        assert 'parameter "w" of 9007199254740991 bytes needs 1.8e+19 bytes' in line, line
        assert "expected at most 1e+18" in line


@pytest.mark.parametrize("allowed", [{}, {"devices": ["d"]}])
def test_flops_that_take_for_ever_are_refused_with_the_numbers(tmp_path, allowed):
    case = Case(tmp_path)
    write_problem(
        case,
        [{"name": "a", "flops": 1e300, **allowed}],
        device={"name": "d", "type": "t"},
        types=[{"name": "t", "peak_flops_per_s": {"bf16": 1e12}}],
    )
    line = fails(2, "plan", *case.inputs, "-o", case.plan)
    # 1e300 / 1e12 s.
    assert 'operator "a" (1e+300 flops, 0 bytes accessed) would take 1e+297 ns on device type "t"' in line
    # Without a rate there is nothing to multiply: the other message.
    write_problem(case, [{"name": "a", "flops": 1e300}], device={"name": "d", "type": "t"}, types=[{"name": "t"}])
    assert "can run on no device" in fails(2, "plan", *case.inputs, "-o", case.plan)


def test_activations_beyond_all_memory_are_refused_with_the_numbers(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(LAYERS))
    line = fails(
        2,
        "convert",
        "pipeline",
        spec,
        "--devices",
        2,
        "--activations",
        "1e300",
        "-o",
        tmp_path / "g.json",
        "--cluster",
        tmp_path / "c.json",
    )
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


# docs/how-to.md: 2 where the words of the files do not fit together, 3 where the numbers do not suffice.
@pytest.mark.parametrize(
    ("code", "op", "devices", "more"),
    [
        (2, {"devices": ["z"]}, [{}, {}], {}),
        (2, {"streams": ["comm"]}, [{}, {}], {}),
        (2, {"duration_ns": {"H": 1}}, [{}, {}], {}),
        (2, {"devices": ["d0"], "colocation": "x"}, [{}, {}], {"devices": ["d1"], "colocation": "x"}),
        (2, {"colocation": "x", "anti_colocation": ["y"]}, [{}, {}], {"colocation": "x", "anti_colocation": ["y"]}),
        (3, {"workspace_bytes": 11}, [{"memory_bytes": 10}, {"memory_bytes": 10}], {}),
        (3, {"devices": ["d0"], "outputs": ["t"]}, [{}, {}], {"devices": ["d1"], "inputs": ["t"]}),
        (0, {"outputs": ["t"]}, [{}, {}], {"inputs": ["t"]}),
    ],
)
def test_words_that_do_not_fit_are_2_and_numbers_that_do_not_suffice_are_3(tmp_path, code, op, devices, more):
    graph, cluster = tmp_path / "g.json", tmp_path / "c.json"
    graph.write_text(
        json.dumps(
            {
                "format": "opweave.graph",
                "version": 1,
                "tensors": [{"name": "t", "bytes": 5}],
                "operators": [{"name": "a", "duration_ns": 1} | op, {"name": "b", "duration_ns": 1} | more],
            }
        )
    )
    cluster.write_text(
        json.dumps(
            {
                "format": "opweave.cluster",
                "version": 1,
                "devices": [{"name": f"d{i}"} | device for i, device in enumerate(devices)],
            }
        )
    )
    for command in ["plan", "bounds"]:
        done = opweave(command, graph, cluster, *(["--work-limit", 10] if command == "plan" else []))
        assert done.returncode == code, done.stderr
        assert code == 0 or done.stderr.startswith("error: ")


def test_check_says_where_the_plan_s_own_settings_replace_those_of_the_files(small):
    succeeds(
        "plan",
        *small.inputs,
        "--work-limit",
        20,
        "--microbatches",
        2,
        "--contention",
        "endpoint",
        "--memory-limit",
        "1MiB",
        "-o",
        small.plan,
    )
    done = opweave("check", *small.inputs, small.plan)
    assert done.returncode == 0 and done.stdout.startswith("valid: ")
    front = f"note: {small.plan}: by its own settings, "
    lines = done.stderr.splitlines()
    assert all(line.startswith(front) for line in lines)
    said = [line.removeprefix(front) for line in lines]
    assert said[:2] == ["microbatches are 2 instead of 8", "contention is endpoint instead of none"]
    assert len(said) == 3 and said[2].startswith("memory of every device is 1048576 bytes instead of ")
    # By the settings of the files there is nothing to say.
    succeeds("plan", *small.inputs, "--work-limit", 20, "-o", small.plan)
    assert opweave("check", *small.inputs, small.plan).stderr == ""


def test_violations_name_the_figures_as_the_file_does(planned):
    plan = json.loads(planned.plan.read_text())
    plan["statistics"]["moved_bytes"] += 1
    plan["statistics"]["devices"][0]["sent_bytes"] += 1
    plan["statistics"]["devices"][0]["received_bytes"] += 1
    planned.plan.write_text(json.dumps(plan))
    done = opweave("check", *planned.inputs, planned.plan)
    for key in ["moved_bytes is ", "sent_bytes of device ", "received_bytes of device "]:
        assert f"figures: {key}" in done.stderr


@pytest.mark.parametrize(
    ("objective", "options", "told"),
    [
        ("makespan", ["--time-limit", 0.2], "time limit 0.2 s reached: "),
        ("makespan", ["--work-limit", 50], "work limit 50 reached: "),
        ("makespan", ["--work-limit", 10**9, "--time-limit", 0.2], "time limit 0.2 s reached: "),
        ("communication,peak-memory", ["--work-limit", 50], "work limit 50 reached: "),
        ("period,makespan", ["--work-limit", 10**9, "--time-limit", 0.2], "time limit 0.2 s reached: "),
        ("makespan,peak-memory", ["--time-limit", 0.3], "time limit 0.3 s reached: "),
    ],
)
def test_what_ended_a_search_is_named_whatever_was_minimised(large, objective, options, told):
    done = opweave("plan", *large.inputs, *options, "--objective", objective, "-o", large.plan)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1, done.stderr
    warning = lines[0].removeprefix("warning: ")
    assert warning.startswith(told)
    # It says how far each objective is from its bound.
    plan = json.loads(large.plan.read_text())
    assert plan["status"] == "feasible"
    for figure in plan.get("goal", {}).get("objectives", []):
        stated = f"{figure['name']} {figure['value']} {figure['unit']}, bound {figure['bound']}"
        assert (stated in warning) == (figure["value"] != figure["bound"])
    limits = [f"work {options[1]}"] if options[0] == "--work-limit" else []
    if "--time-limit" in options:
        limits.append(f"time {options[-1]} s")
    assert plan["provenance"]["limit"] == ", ".join(limits)
