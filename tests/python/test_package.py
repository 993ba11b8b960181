"""The package from outside, as its users see it."""

import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import jsonschema
import opweave
import pytest

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "docs/schemas"


def schema(kind):
    return json.loads((SCHEMAS / f"{kind}.schema.json").read_text())


# One device: 100 + 200 + 150 + 100 = 550. Two: c runs on the other one within b's 200, x and z take 10 ns each:
# c ends at 100 + 10 + 150 + 10 = 270 < 300, so 100 + 200 + 100 = 400, which is the critical path.
def test_the_diamond_is_planned_to_its_optimum(diamond):
    plan = opweave.plan(*diamond, work_limit=100, threads=1)
    assert plan.makespan_ns == plan.lower_bound_ns == 400
    assert plan.optimal and plan.gap == 0
    assert plan.check() == opweave.check(plan) == []
    assert {task["operator"] for task in plan.tasks} == {"a", "b", "c", "d"}
    assert plan.statistics["moved_bytes"] == 20


def test_another_python_is_told_what_the_package_was_built_for(tmp_path):
    package = pathlib.Path(opweave.__file__).parent
    shutil.copytree(package, tmp_path / "opweave", ignore=shutil.ignore_patterns("_core.*.so", "__pycache__"))
    (tmp_path / "opweave/_core.cpython-27.so").touch()
    command = [sys.executable, "-c", "import opweave"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: this Python cannot load the extension module of opweave (_core.cpython-27.so); "
        "build it with this one: make python, or pip install"
    )


def test_plans_are_repeatable_and_survive_their_file(small, tmp_path):
    graph, cluster = small
    plan = opweave.plan(graph, cluster, work_limit=100)
    assert plan.to_json() == opweave.plan(graph, cluster, work_limit=100).to_json()
    jsonschema.validate(plan.to_dict(), schema("plan"))
    plan.save(tmp_path / "plan.json")
    again = opweave.Plan.from_file(tmp_path / "plan.json", graph, cluster)
    assert again == plan
    assert again.check() == []


def test_graphs_and_clusters_survive_their_files(small, tmp_path):
    for value, kind in zip(small, ("graph", "cluster"), strict=True):
        jsonschema.validate(value.to_dict(), schema(kind))
        value.save(tmp_path / "file.json")
        again = type(value).from_file(tmp_path / "file.json")
        assert again == value and hash(again) == hash(value)
        assert again.content_hash == value.content_hash


# On one device nothing is sent: 550 ns. The makespan alone would take two devices and end at 400.
def test_objectives_methods_and_warm_starts_reach_the_planner(diamond):
    graph, cluster = diamond
    apart = opweave.plan(graph, cluster, work_limit=50, threads=1)
    together = opweave.plan(graph, cluster, work_limit=50, threads=1, objectives=["communication", "makespan"])
    assert (apart.makespan_ns, apart.statistics["moved_bytes"]) == (400, 20)
    assert (together.makespan_ns, together.statistics["moved_bytes"]) == (550, 0)
    again = opweave.plan(graph, cluster, work_limit=1, method="heuristic", warm_start=apart, deadline_ns=400)
    assert again.makespan_ns == 400


def test_a_spoiled_plan_is_found_out(small):
    graph, cluster = small
    content = opweave.plan(graph, cluster, work_limit=10).to_dict()
    content["tasks"][0]["end_ns"] += 1
    spoiled = opweave.Plan.from_json(json.dumps(content), graph, cluster)
    assert "once" in {violation.rule for violation in spoiled.check()}


def test_settings_replace_what_graph_and_cluster_say(diamond):
    graph, cluster = diamond
    plan = opweave.plan(graph, cluster, work_limit=10, microbatches=3, contention="link", memory_limit="1KiB")
    settings = plan.to_dict()["settings"]
    assert settings["training"]["microbatches"] == 3
    assert settings["contention"] == "link"
    assert settings["memory_limit_bytes"] == 1024
    assert len(plan.tasks) == 12


def test_changes_make_new_graphs(diamond):
    graph, _ = diamond
    changed = graph.with_training(microbatches=2, optimizer_bytes_per_weight_byte=6).with_durations({"a": 500})
    assert graph.training["microbatches"] == 1 and graph.operators[0]["duration_ns"] == 100
    assert changed.training == {"microbatches": 2, "replicas": 1, "optimizer_bytes_per_weight_byte": 6}
    assert changed.operators[0]["duration_ns"] == 500
    with pytest.raises(opweave.InputError, match='operator "e" is unknown'):
        graph.with_durations({"e": 1})


def test_wrong_input_is_an_error_with_place_and_value(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text('{"format": "opweave.graph", "version": 1, "operators": [{"name": "a", "duration_n": 1}]}')
    with pytest.raises(opweave.InputError) as error:
        opweave.Graph.from_file(path)
    assert str(error.value).splitlines() == [
        f'{path}: /operators/0: key "duration_n" is unknown',
        'hint: did you mean "duration_ns"?',
    ]
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_limit": -1}, "time_limit: value is -1"),
        ({"threads": 0}, "threads: value is 0"),
        ({"method": "guess"}, 'method: value is "guess"'),
        ({"objectives": "beauty"}, "beauty"),
        ({"contention": "some"}, 'value is "some", expected none, endpoint or link'),
        ({"memory_limit": "much"}, "memory_limit: "),
    ],
)
def test_arguments_out_of_range_are_named(diamond, arguments, message):
    with pytest.raises(opweave.InputError, match=message):
        opweave.plan(*diamond, **arguments)


def test_where_no_plan_exists_the_reason_and_the_bounds_are_in_the_error(diamond):
    with pytest.raises(opweave.NoPlanError) as error:
        opweave.plan(*diamond, time_limit=1, memory_limit=5)
    assert error.value.infeasible
    assert "no plan exists" in str(error.value) and error.value.detail in str(error.value)


def test_bounds_are_below_plans(small):
    plan = opweave.plan(*small, work_limit=100)
    bounds = opweave.lower_bounds(*small)
    assert 0 < bounds[0].value_ns <= plan.makespan_ns
    assert plan.lower_bound_ns == max(bound.value_ns for bound in plan.bounds)


# Every duration doubled doubles the makespan of the same order; a slower link changes nothing on one device.
def test_simulation_follows_other_durations(diamond):
    graph, _ = diamond
    plan = opweave.plan(graph, opweave.Cluster.uniform(1), work_limit=10)
    assert opweave.simulate(plan).makespan_ns == plan.makespan_ns == 550
    doubled = {op["name"]: 2 * op["duration_ns"] for op in graph.operators}
    assert opweave.simulate(plan, durations=doubled).makespan_ns == 1100
    with pytest.raises(opweave.InputError, match="durations"):
        opweave.simulate(plan, durations={"e": 1})
    assert opweave.simulate(plan, channels="in-order").makespan_ns >= 550
    with pytest.raises(opweave.InputError, match='channels: value is "slow", expected free, in-order'):
        opweave.simulate(plan, channels="slow")


def test_comparison_has_the_experts_and_ends_with_the_plan(small):
    graph, cluster = small
    names = [schedule["name"] for schedule in opweave.compare(graph, cluster).schedules]
    assert "ZB-V" in names and "opweave" not in names
    plan = opweave.plan(graph, cluster, work_limit=100)
    comparison = opweave.compare(plan)
    assert comparison.schedules[-1]["name"] == "opweave"
    assert comparison.schedules[-1]["makespan_ns"] == plan.makespan_ns
    assert comparison.lower_bound_ns == plan.lower_bound_ns
    assert "ZB-V" in comparison._repr_html_()


def test_reports_and_traces_are_written(small, tmp_path):
    plan = opweave.plan(*small, work_limit=10)
    plan.report(tmp_path / "report.html")
    plan.trace(tmp_path / "trace.json")
    assert "<html" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    with pytest.raises(opweave.InputError, match="nowhere"):
        plan.report(tmp_path / "nowhere" / "report.html")


# 550 ns on 55 letters: 10 ns each, so a: 10 letters, then b and c in some order: 20 + 15, then d: 10.
def test_the_chart_draws_durations_to_scale(diamond, capsys):
    graph, _ = diamond
    content = graph.to_dict()
    for op, phase in zip(content["operators"], "FIWO", strict=True):
        op["phase"] = phase
    plan = opweave.plan(opweave.Graph.from_dict(content), opweave.Cluster.uniform(1), work_limit=10)
    from opweave.gantt import rows

    ((device, stream, letters),) = rows(plan, 55)
    assert (device, stream) == ("gpu0", "compute")
    assert [letters.count(phase) for phase in "FIWO"] == [10, 20, 15, 10]
    assert letters.startswith("F" * 10) and letters.endswith("O" * 10)
    plan.show(width=80)
    assert "makespan 550 ns" in capsys.readouterr().out
    assert "gpu0 compute" in plan._repr_html_()


# 1000 ns on 10 letters: "a" takes 10 ns of the first, "b" the last three, with 960 ns of nothing between.
def test_a_device_that_works_is_never_drawn_idle():
    from opweave.gantt import rows

    operators = [
        {"name": "a", "phase": "F", "duration_ns": 10, "outputs": ["x"], "devices": ["gpu0"]},
        {"name": "b", "phase": "B", "duration_ns": 300, "inputs": ["x"], "devices": ["gpu1"]},
    ]
    link = {"latency_ns": 690, "bandwidth_bytes_per_s": 10**12}
    cluster = {"devices": [{"name": "gpu0"}, {"name": "gpu1"}], "default_link": link}
    graph = opweave.Graph.from_dict({"tensors": [{"name": "x", "bytes": 0}], "operators": operators})
    plan = opweave.plan(graph, opweave.Cluster.from_dict(cluster), work_limit=10)
    assert plan.makespan_ns == 1000
    assert [letters for _, _, letters in rows(plan, 10)] == ["f.........", ".......BBB"]


def test_plans_are_read_from_paths_alone(diamond):
    with pytest.raises(opweave.InputError, match="plan: value is 7, expected the path of a file"):
        opweave.Plan.from_file(7, *diamond)


HOSTILE = "\x1b[31m\x07\n\x9b2J\u202e[bold]"


def test_names_reach_the_terminal_whole_and_escaped(diamond, capsys):
    graph, _ = diamond
    front = f"rack{HOSTILE}.a-name-of-eighty-letters-that-fits-no-third-of-a-terminal-however-wide-it-is."
    cluster = opweave.Cluster.uniform(2).to_dict()
    for device in cluster["devices"]:
        device["name"] = front + device["name"]
    content = graph.to_dict() | {"name": HOSTILE}
    plan = opweave.plan(opweave.Graph.from_dict(content), opweave.Cluster.from_dict(cluster), work_limit=10)
    plan.show(width=80)
    opweave.compare(plan).show()
    printed = capsys.readouterr().out
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    escaped = r"rack\u001b[31m\u0007\n\u009b2J\u202e[bold].a-name"
    assert f'names of devices without "{escaped}' in printed and "\ngpu0 compute " in printed
    assert escaped in plan._repr_html_()
    content["operators"][0]["devices"] = [HOSTILE]
    with pytest.raises(opweave.InputError) as error:
        opweave.plan(opweave.Graph.from_dict(content), opweave.Cluster.from_dict(cluster), work_limit=10)
    assert not set(str(error.value)) & set("\x1b\x07\x9b\u202e")


def test_the_interpreter_is_free_while_planning(large):
    ticks = 0
    done = threading.Event()

    def count():
        nonlocal ticks
        while not done.wait(0.01):
            ticks += 1

    counter = threading.Thread(target=count)
    counter.start()
    states = []
    try:
        plan = opweave.plan(*large, time_limit=1.5, threads=1, on_progress=states.append)
    finally:
        done.set()
        counter.join()
    assert ticks > 20
    assert plan.stopped_by == "time 1.5 s"
    assert states[-1].makespan_ns is None or states[-1].makespan_ns >= plan.makespan_ns


def test_an_exception_in_the_callback_ends_the_search(large):
    def refuse(_):
        raise LookupError("enough")

    start = time.monotonic()
    with pytest.raises(LookupError, match="enough"):
        opweave.plan(*large, time_limit=60, on_progress=refuse)
    assert time.monotonic() - start < 10


def test_pipeline_is_built_on_a_cluster():
    """8 equal layers on a device of speed 1 and one of speed 1/3: 6 and 2, 6 times 3 phases on both."""
    time_ns = {"fast": 10, "slow": 30}
    pipeline = opweave.Pipeline(microbatches=2)
    operator = {"name": "x", "forward_ns": time_ns, "input_gradient_ns": time_ns, "weight_gradient_ns": time_ns}
    pipeline.add_layer("layer", [operator], repeat=8)
    cluster = opweave.Cluster.from_dict(
        {
            "device_types": [{"name": "fast"}, {"name": "slow"}],
            "devices": [{"name": "a", "type": "fast"}, {"name": "b", "type": "slow"}],
            "default_link": {},
        }
    )
    graph, same = pipeline.build(on=cluster)
    assert same is cluster
    stages = [op["stage"] for op in graph.to_dict()["operators"] if op["phase"] == "F"]
    assert stages == [0] * 6 + [1] * 2
    for wrong in (
        {},
        {"devices": 2, "on": cluster},
        {"on": cluster, "memory": "1GiB"},
        {"on": cluster, "latency_ns": 5},
    ):
        with pytest.raises(opweave.InputError):
            pipeline.build(**wrong)


def test_interrupt_returns_the_best_plan():
    program = """
        import pathlib, sys
        sys.path[:0] = sys.argv[1:]
        import opweave
        spec = pathlib.Path(opweave.__file__).resolve().parents[2] / "examples/deepseek-v3/pipeline.json"
        graph, cluster = opweave.Pipeline.from_file(spec).build(devices=8, shape="V", activations=8.5)
        def tell(state):
            if state.makespan_ns: print("planning", flush=True)
        plan = opweave.plan(graph, cluster, time_limit=60, threads=1, on_progress=tell)
        print("limit", plan.stopped_by, len(plan.check()))
    """
    source = pathlib.Path(__file__).resolve().parents[2]
    package = pathlib.Path(opweave.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(package)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=source,
    )
    try:
        assert process.stdout.readline() == "planning\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "limit interrupt 0"
    assert "interrupted: makespan" in err


def test_importing_opweave_does_not_import_torch():
    program = "import sys; sys.path[:0] = sys.argv[1:]; import opweave; print('torch' in sys.modules)"
    package = os.path.dirname(os.path.dirname(opweave.__file__))
    done = subprocess.run([sys.executable, "-c", program, package], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_public_name_is_documented():
    for name in opweave.__all__:
        if name == "__version__":
            continue
        value = getattr(opweave, name)
        assert value.__doc__, name
        if isinstance(value, type) and value.__module__.startswith("opweave"):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and (callable(attribute) or isinstance(attribute, property)):
                    assert getattr(value, member).__doc__ or attribute.__doc__, f"{name}.{member}"
    assert importlib.import_module("opweave").__doc__
