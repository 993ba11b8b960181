"""What people meet at every turn: names, wrong arguments, copies, charts, notebooks, progress."""

import copy
import inspect
import pickle
import subprocess
import sys
import time

import opweave
import pytest

GB = 10**9


@pytest.fixture
def plan(small):
    return opweave.plan(*small, work_limit=50, threads=1)


def test_modules_are_there_on_first_use_and_cost_nothing_before():
    code = (
        "import sys, opweave; assert not {'torch', 'opweave.run', 'opweave.export'} & set(sys.modules);"
        "opweave.run.trace, opweave.export, opweave.costs.analytic; print('opweave.run' in sys.modules)"
    )
    path = {"PYTHONPATH": str(inspect.getfile(opweave)).rsplit("/opweave/", 1)[0]}
    assert subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True).stdout == "True\n"
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        opweave.walk  # noqa: B018


def test_capture_is_a_module_and_a_function():
    from opweave.capture import capture, capture_onnx

    assert callable(opweave.capture) and opweave.capture.capture is capture
    assert opweave.capture.capture_onnx is capture_onnx is opweave.capture_onnx
    assert inspect.signature(opweave.capture) == inspect.signature(capture)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_values_are_copied_and_pickled(small, plan, copied):
    plan.stopped_by = "work 50"
    for value in (*small, plan):
        again = copied(value)
        assert type(again) is type(value) and again == value and hash(again) == hash(value)
    assert copied(plan).stopped_by == "work 50" and copied(plan).check() == []


def test_errors_come_through_a_pool_of_processes():
    bound = opweave.Bound("load", 7, "")
    for error in (
        opweave.NoPlanError(infeasible=True, detail="too large", limit="time 1 s", bounds=(bound,)),
        opweave.CaptureError("module a: no"),
        opweave.InputError("graph: no"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, c: opweave.plan("graph.json", c), r'graph: value is "graph\.json", expected an opweave\.Graph'),
        (lambda g, c: opweave.plan(g, None), r"cluster: value is None, expected an opweave\.Cluster"),
        (lambda g, c: opweave.plan(c, g), r"graph: value is of class Cluster"),
        (lambda g, c: opweave.plan(g, c, time_limit="1"), r'time_limit: value is "1", expected a number from 0'),
        (lambda g, c: opweave.plan(g, c, seed=None), "seed: value is None, expected an integer from 0"),
        (lambda g, c: opweave.plan(g, c, threads=0), "threads: value is 0, expected an integer from 1"),
        (lambda g, c: opweave.plan(g, c, threads=True), "threads: value is True, expected an integer from 1"),
        (lambda g, c: opweave.plan(g, c, microbatches=1.5), r"microbatches: value is 1\.5, expected an integer"),
        (lambda g, c: opweave.plan(g, c, objectives=3), "objectives: value is 3, expected a text or a list"),
        (
            lambda g, c: opweave.plan(g, c, warm_start={}),
            r"warm_start: value is of class dict, expected an opweave\.Plan",
        ),
        (lambda g, c: opweave.lower_bounds(c, c), "graph: value is of class Cluster"),
        (lambda g, c: opweave.compare(c), "graph: value is of class Cluster"),
        (lambda g, c: opweave.compare(g), r"cluster: value is None, expected an opweave\.Cluster"),
        (lambda g, c: opweave.simulate(g), r"plan: value is of class Graph, expected an opweave\.Plan"),
        (lambda g, c: opweave.check(g), r"plan: value is of class Graph, expected an opweave\.Plan"),
        (lambda g, c: opweave.Graph.from_file(3), "graph: value is 3, expected the path of a file"),
        (lambda g, c: opweave.Graph.from_json({}), "graph: value is of class dict, expected a text in JSON"),
        (lambda g, c: opweave.Cluster.from_dict("x"), 'cluster: value is "x", expected a dictionary'),
        (
            lambda g, c: opweave.Plan.from_json("{}", c, g),
            r"graph: value is of class Cluster, expected an opweave\.Graph",
        ),
        (lambda g, c: g.with_durations([1]), "durations: value is of class list, expected a dictionary"),
        (lambda g, c: opweave.costs.analytic("g", c), 'graph: value is "g", expected an'),
        (lambda g, c: opweave.costs.analytic(g, g), "cluster: value is of class Graph"),
        (lambda g, c: opweave.costs.measured(c), "graph: value is of class Cluster"),
        (lambda g, c: opweave.costs.profiled(3, "t"), "graph: value is 3"),
        (lambda g, c: opweave.capture_onnx(3), "path: value is 3, expected the path of a file"),
        (lambda g, c: opweave.Cluster.preset(3), "cluster preset: value is 3, expected one of a100"),
        (lambda g, c: opweave.Cluster.preset("h100", nodes="2"), 'nodes: value is "2", expected an integer from 1'),
        (lambda g, c: opweave.Cluster.uniform(0), "devices: value is 0, expected an integer from 1"),
        (lambda g, c: opweave.Cluster.uniform(2, memory=1.5), r"memory: value is 1\.5, expected bytes as an integer"),
    ],
)
def test_arguments_of_the_wrong_kind_are_said_in_one_line(small, call, message):
    with pytest.raises(opweave.InputError, match=message):
        call(*small)


# 80 without a unit is 80 bytes; no device that exists has less than a megabyte.
def test_amounts_without_a_unit_that_cannot_be_meant_are_errors():
    assert opweave.Cluster.preset("h100", message="1KB") == opweave.Cluster.preset("h100", message=1000)
    for amount in (80, "80"):
        with pytest.raises(opweave.InputError, match=r'memory: value is 80 B of 74\.5.* GiB\nhint: memory="80GB"'):
            opweave.Cluster.preset("h100", memory=amount)
    graph = opweave.Graph.from_dict({"operators": [{"name": "a", "duration_ns": 1}]})
    for call in (opweave.plan, opweave.lower_bounds, opweave.compare):
        with pytest.raises(opweave.InputError, match='hint: memory_limit="40GB"'):
            call(graph, opweave.Cluster.preset("h100"), memory_limit=40)
    # Where devices are toys, so is their memory.
    toy = opweave.Cluster.uniform(1, memory=12)
    assert opweave.plan(graph, toy, memory_limit="8", work_limit=1).makespan_ns == 1
    assert opweave.Cluster.preset("h100", memory="80GB").to_dict()["devices"][0]["memory_bytes"] == 80 * GB


# Four layers as a V on two devices: 0, 1, 6, 7 and 2 to 5 of eight.
def test_show_names_the_layers_on_each_device(plan, capsys):
    plan.show(width=100)
    shown = [line for line in capsys.readouterr().out.splitlines() if " to " in line and "block" in line]
    assert shown == ["gpu0  block.0 to block.1, block.6 to block.7", "gpu1  block.2 to block.5"]
    assert plan.layers["gpu1"] == [f"block.{index}" for index in range(2, 6)]


# 2 microbatches of 1e9 operations in 2 x 1 ms on two devices of 1e12 and 3e12 per second: 1e12 of 4e12, 25 %.
def test_figures_of_speed_follow_from_operations_and_rates():
    types = [{"name": str(rate), "peak_flops_per_s": {"bf16": rate * 1e12}} for rate in (1, 3)]
    devices = [{"name": f"d{rate}", "type": str(rate)} for rate in (1, 3)]
    cluster = opweave.Cluster.from_dict({"device_types": types, "devices": devices})
    operator = {"name": "a", "phase": "F", "flops": 1e9, "duration_ns": 1_000_000, "devices": ["d1"]}
    graph = opweave.Graph.from_dict({"operators": [operator], "training": {"microbatches": 2}})
    plan = opweave.plan(graph, cluster, work_limit=1)
    assert plan.flops_per_s == pytest.approx(1e12) and plan.mfu == pytest.approx(0.25)
    unknown = opweave.plan(graph, opweave.Cluster.from_dict({"devices": [{"name": "d1"}]}), work_limit=1)
    assert unknown.mfu is None and unknown.flops_per_s == pytest.approx(1e12)


def test_notebooks_show_values_with_their_figures(small, plan):
    graph, _ = small
    assert "operators" in graph._repr_html_() and "<table>" in graph._repr_html_()
    assert "no limit" in opweave.Cluster.uniform(3)._repr_html_()
    assert "bf16 989" in opweave.Cluster.preset("h100")._repr_html_()
    shown = plan._repr_html_()
    for text in ("makespan", "block.2 to block.5", "peak memory", "<pre", "gpu1"):
        assert text in shown
    hostile = opweave.Graph.from_dict({"name": "<script>", "operators": [{"name": "a", "duration_ns": 1}]})
    assert "<script>" not in hostile._repr_html_()


def test_what_durations_come_from_is_known(small):
    graph, _ = small
    assert graph.times_from == ""
    durations = {op["name"]: 5 for op in graph.operators}
    assert graph.with_durations(durations, "guessed").with_training(microbatches=2).times_from == "guessed"
    graph = opweave.Graph.from_dict({"operators": [{"name": "a", "flops": 1e12}]})
    assert opweave.costs.analytic(graph, opweave.Cluster.preset("h100")).times_from.startswith("analytic")


def test_steps_are_shown_while_work_goes_on(capsys):
    from opweave.progress import Steps

    with Steps("capture", True) as steps:
        steps.begin("tracing the model")
        time.sleep(0.7)
    shown = capsys.readouterr().err
    assert "capture: tracing the model (00:00)" in shown
    with Steps("capture", False) as steps:
        steps.begin("tracing the model")
    assert capsys.readouterr().err == ""


@pytest.fixture
def no_tracing(monkeypatch):
    """Arguments must be refused before anything is traced."""
    pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    from opweave.capture import step

    def fail(*_, **__):
        raise AssertionError("traced")

    monkeypatch.setattr(step, "trace", fail)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": 3}, r"model: value is 3, expected a torch\.nn\.Module"),
        ({"model": "gpt2"}, 'model: value is "gpt2", expected a torch'),
        ({"example_inputs": 3}, "example_inputs: value is 3, expected a sequence"),
        ({"example_inputs": "ids"}, "example_inputs: value is a text"),
        ({"loss": "mean"}, "loss: value is no function"),
        ({"training": 1}, "training: value is 1, expected True or False"),
        ({"granularity": "layer"}, 'granularity: value is "layer", expected operator, module or block'),
        ({"granularity": None}, "granularity: value is None"),
        ({"optimizer": "lion"}, 'optimizer: value is "lion", expected adam, adamw, sgd or None'),
        ({"dtype": "half"}, 'dtype: value is "half", expected fp32, bf16, fp16 or None'),
        ({"microbatches": 0}, "microbatches: value is 0, expected an integer from 1"),
        ({"microbatches": 2.0}, r"microbatches: value is 2\.0"),
        ({"assumed_size": -1}, "assumed_size: value is -1"),
        ({"name": 7}, "name: value is 7, expected a text"),
    ],
)
def test_capture_refuses_arguments_before_it_traces(no_tracing, changes, message):
    import torch

    arguments = {"model": torch.nn.Linear(2, 2), "example_inputs": (torch.zeros(1, 2),)} | changes
    with pytest.raises(opweave.InputError, match=message):
        opweave.capture(**arguments)


# Under AdamW a parameter keeps as much as under Adam: two moments of 4 bytes for one of 4 bytes.
def test_adamw_is_an_optimizer():
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    graph = opweave.capture(torch.nn.Linear(4, 4), (torch.zeros(1, 4),), optimizer="adamw")
    assert graph.training["optimizer_bytes_per_weight_byte"] == 2
    assert [op["kind"] for op in graph.operators if op["phase"] == "O"] == ["adamw"]
    timed = opweave.costs.measured(graph, device="cpu", seconds_per_call=0)
    assert all(op["duration_ns"] > 0 for op in timed.operators) and timed.times_from.startswith("measured call by call")


@pytest.mark.parametrize("loss", ["constant", "detached", "number", "vector", "nothing"])
def test_a_loss_that_says_nothing_about_the_model_is_an_error(loss):
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    losses = {
        "constant": lambda output: torch.ones(()),
        "detached": lambda output: output.detach().sum(),
        "number": lambda output: 1.0,
        "vector": lambda output: output,
        "nothing": lambda output: None,
    }
    with pytest.raises(opweave.CaptureError, match="loss"):
        opweave.capture(torch.nn.Linear(4, 4), (torch.zeros(2, 4),), loss=losses[loss])


# Two ids of 3 tokens: 6.
def test_tokens_of_a_microbatch_are_known_where_inputs_are_integers():
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 4))
    graph = opweave.capture(model, (torch.zeros(2, 3, dtype=torch.long),))
    assert graph.tokens == 6
    assert pickle.loads(pickle.dumps(graph)).tokens == 6 and copy.deepcopy(graph) == graph
    assert opweave.capture(torch.nn.Linear(4, 4), (torch.zeros(2, 4),)).tokens is None
