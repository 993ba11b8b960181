"""From models to graphs: parameters, flops, memory, files, plans."""

import logging

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import models  # noqa: E402
import opweave  # noqa: E402
from capture_support import FAMILIES, captured, real_model  # noqa: E402


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_there_with_its_bytes_and_gets_its_gradient(family):
    graph = captured(family)
    _, model = real_model(family)
    expected = {name: 4 * parameter.numel() for name, parameter in model.named_parameters()}
    assert graph.parameters == expected
    updated = {name for op in graph.operators if op["phase"] in "WB" for name in op.get("parameters", ())}
    stepped = [name for op in graph.operators if op["phase"] == "O" for name in op["parameters"]]
    assert updated == set(expected) - set(graph.unread_parameters)
    assert sorted(stepped) == sorted(updated)


@pytest.mark.parametrize("family", FAMILIES)
def test_flops_are_those_of_the_flop_counter(family):
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    aten = torch.ops.aten

    def forward(query, key, value, *_, **__):
        return sdpa_flop_count(query, key, value)

    def backward(gradient, query, key, value, *_, **__):
        return sdpa_backward_flop_count(gradient, query, key, value)

    # The counter knows attention on GPUs only; the formulas are its own.
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    mode, model = real_model(family)
    _, inputs, loss = FAMILIES[family]
    with mode, FlopCounterMode(display=False, custom_mapping=attention) as counter:
        output = model(*inputs())
        (loss(output) if loss else output).backward()
    assert counter.get_total_flops() > 0
    for granularity in ("operator", "module", "block"):
        assert captured(family, granularity).flops == pytest.approx(counter.get_total_flops(), rel=0.01)


# Adam keeps two fp32 moments for 4 bytes of weight: 2 bytes per byte. A gradient has the bytes of its weight.
def test_training_memory_follows_from_the_optimizer():
    training = captured("language").training
    assert training["gradient_bytes_per_weight_byte"] == 1
    assert training["optimizer_bytes_per_weight_byte"] == 2
    half = opweave.capture(models.Mlp(8).bfloat16(), (torch.zeros(2, 8, dtype=torch.bfloat16),))
    assert half.training["optimizer_bytes_per_weight_byte"] == 6
    assert half.operators[0].get("dtype", "bf16") == "bf16"  # the default of the file


def test_frozen_parameters_need_no_gradients_and_no_optimizer():
    def build():
        model = models.Mlp(8)
        model.up.requires_grad_(False)
        return model

    graph = opweave.capture(build, (torch.zeros(2, 8),))
    assert {name for op in graph.operators if op["phase"] == "O" for name in op["parameters"]} == {
        "down.weight",
        "down.bias",
    }
    # Weights 4 x 8 x 8 x 2 + biases: the half that is trained keeps gradients.
    trained = 4 * (8 * 32 + 8)
    assert graph.training["gradient_bytes_per_weight_byte"] == pytest.approx(trained / (trained + 4 * (8 * 32 + 32)))


def test_inference_has_no_phase_and_no_backward():
    graph = opweave.capture(models.Mlp(8), (torch.zeros(2, 8),), training=False)
    assert [op.get("phase", "") for op in graph.operators] == ["", "", ""]
    assert graph.training == {"microbatches": 1, "replicas": 1}


# Cut between two views of one tensor: q, k and v are views of what one product makes, which is sent once.
def test_views_are_no_tensors_of_their_own():
    graph = captured("language")
    attention = next(op for op in graph.operators if "flash" in op["kind"] and op["phase"] == "F")
    assert len(attention["inputs"]) == 1
    assert graph.tensors[attention["inputs"][0]] == 4 * 2 * 16 * 3 * 32
    assert not any(op["kind"] in ("aten.view", "aten.t", "aten.transpose") for op in graph.operators)


def test_parameters_that_are_never_read_are_warned_about():
    class Spare(models.Mlp):
        def forward(self, x):
            return self.up(x)

    with pytest.warns(UserWarning, match=r"2 parameters are never read, the first is down\.weight"):
        graph = opweave.capture(Spare(8), (torch.zeros(2, 8),))
    assert graph.unread_parameters == ["down.weight", "down.bias"]


def test_parameters_that_get_no_gradient_are_warned_about_and_frozen():
    class Idle(models.Mlp):
        def forward(self, x):
            return self.up(x).square().mean(), self.down(self.up(x)).detach()

    with pytest.warns(UserWarning, match=r"2 parameters are read but get no gradient, the first is down\.weight"):
        graph = opweave.capture(Idle(8), (torch.zeros(2, 8),), loss=lambda output: output[0] + 0 * output[1].sum())
    assert graph.parameters_without_gradient == ["down.weight", "down.bias"]
    assert graph.unread_parameters == []
    assert {name for op in graph.operators if op["phase"] == "O" for name in op["parameters"]} == {
        "up.weight",
        "up.bias",
    }
    assert "down.weight" in {name for op in graph.operators if op["phase"] == "F" for name in op.get("parameters", ())}


def test_captured_steps_are_planned():
    graph = captured("language", "block").with_training(microbatches=4)
    costed = opweave.costs.analytic(graph, opweave.Cluster.preset("a100", devices_per_node=2))
    plan = opweave.plan(costed, opweave.Cluster.preset("a100", devices_per_node=2), work_limit=20, threads=1)
    assert plan.check() == []
    assert {task["operator"] for task in plan.tasks} == {op["name"] for op in graph.operators}


def test_a_graph_that_is_saved_and_read_again_is_the_same(tmp_path):
    cluster = opweave.Cluster.preset("a100", devices_per_node=2)
    for granularity in ("operator", "block"):
        graph = captured("language", granularity)
        graph.save(tmp_path / "graph.json")
        again = opweave.Graph.from_file(tmp_path / "graph.json")
        assert type(again) is type(graph)
        assert again == graph
        assert again.content_hash == graph.content_hash
        assert again.to_json() == graph.to_json()
        assert (again.flops, again.blocks, again.uncounted) == (graph.flops, graph.blocks, graph.uncounted)
        assert opweave.costs.analytic(again, cluster) == opweave.costs.analytic(graph, cluster)
        for name, calls in graph.calls.items():
            assert [call.signature for call in again.calls[name]] == [call.signature for call in calls]


def test_calls_of_a_file_are_run_like_those_of_the_process(tmp_path):
    graph = opweave.capture(models.Convolutions(), (models.pictures(),), granularity="block")
    graph.save(tmp_path / "graph.json")
    again = opweave.Graph.from_file(tmp_path / "graph.json")
    cache = tmp_path / "times.json"
    costed = opweave.costs.measured(graph, device="cpu", seconds_per_call=0, cache=cache)
    times = cache.read_text()
    assert opweave.costs.measured(again, device="cpu", seconds_per_call=0, cache=cache) == costed
    assert cache.read_text() == times  # every call was known by its signature
    opweave.costs.measured(again, device="cpu", seconds_per_call=0)


def test_a_file_whose_calls_are_not_those_of_its_operators_is_an_error():
    content = captured("language", "block").to_dict()
    next(op for op in content["operators"] if op["name"] == "blocks.1.F")["flops"] *= 2
    with pytest.raises(
        opweave.InputError, match=r'graph: /captured/operators: the calls of "blocks\.1\.F" add up to flops'
    ):
        opweave.Graph.from_dict(content)
    content["captured"]["operators"]["nobody.F"] = []
    with pytest.raises(opweave.InputError, match=r'"nobody\.F" is no operator'):
        opweave.Graph.from_dict({**content, "operators": captured("language", "block").operators})
    del content["captured"]
    assert type(opweave.Graph.from_dict(content)) is opweave.Graph
    with pytest.raises(opweave.InputError, match=r"graph: /captured: KeyError: 'calls'"):
        opweave.Graph.from_dict({**content, "captured": {}})


@pytest.fixture
def logged():
    """Messages of the package's loggers."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("opweave")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def test_a_captured_graph_without_durations_is_planned_with_analytic_costs(logged, tmp_path):
    graph = captured("language", "block").with_training(microbatches=4)
    cluster = opweave.Cluster.preset("a100", devices_per_node=2)
    plan = opweave.plan(graph, cluster, work_limit=20, threads=1)
    count = len(graph.operators)
    estimated, narrow = logged
    assert estimated == f"{count} operators have no duration: opweave.costs.analytic estimates them"
    assert "in fp32, in which a100 has 19.5 of its 312 TFLOP/s" in narrow
    costed = opweave.costs.analytic(graph, cluster)
    assert logged[2:] == [narrow]
    assert plan == opweave.plan(costed, cluster, work_limit=20, threads=1)
    assert plan.graph == costed
    assert opweave.lower_bounds(graph, cluster) == opweave.lower_bounds(costed, cluster)
    plan.save(tmp_path / "plan.json")
    graph.save(tmp_path / "graph.json")
    logged.clear()
    again = opweave.Plan.from_file(tmp_path / "plan.json", opweave.Graph.from_file(tmp_path / "graph.json"), cluster)
    assert logged == []
    assert again == plan
    assert again.check() == []
    read = opweave.Graph.from_file(tmp_path / "graph.json")
    assert opweave.plan(read, cluster, work_limit=20, threads=1) == plan


def test_other_graphs_without_durations_are_timed_by_peak_rates_and_a_line_says_so(logged):
    graph = opweave.Graph.from_dict({"operators": [{"name": "a", "flops": 312e9}]})
    plan = opweave.plan(graph, opweave.Cluster.preset("a100", devices_per_node=1), work_limit=1)
    assert plan.makespan_ns == 1_000_000  # 312 Tflop/s of bf16
    assert ["peak rates" in message for message in logged] == [True]
