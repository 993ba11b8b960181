"""From models to graphs."""

import functools
import logging
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import models  # noqa: E402
import opweave  # noqa: E402
from opweave.capture.segments import block_names  # noqa: E402
from opweave.capture.step import graph_of, read_step  # noqa: E402
from torch import nn  # noqa: E402

# Model, inputs, loss.
FAMILIES = {
    "language": (models.Gpt, lambda: (models.ids(),), models.next_token_loss),
    "tied": (lambda: models.Gpt(tied=True), lambda: (models.ids(),), models.next_token_loss),
    "experts": (lambda: models.Gpt(experts=4), lambda: (models.ids(),), models.next_token_loss),
    "two towers": (models.TwoTower, lambda: (models.pictures(), models.ids()), None),
    "convolutions": (models.Convolutions, lambda: (models.pictures(),), None),
    "vision and language": (models.VisionLanguage, lambda: (models.pictures(), models.ids()), models.next_token_loss),
}


@functools.cache
def step(family):
    model, inputs, loss = FAMILIES[family]
    return read_step(model, inputs(), loss=loss)


@functools.cache
def captured(family, granularity="operator"):
    """As opweave.capture gives it, traced once for all granularities."""
    return graph_of(step(family), granularity=granularity)


def by_phase(graph, key="flops"):
    sums = dict.fromkeys("FIWBO", 0)
    for op in graph.operators:
        sums[op["phase"]] += op.get(key, 0)
    return sums


def real_model(family):
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        return mode, FAMILIES[family][0]()


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
def test_weight_gradients_feed_nothing_but_weight_gradients(family):
    for granularity in ("operator", "module", "block"):
        graph = captured(family, granularity)
        phase_of = {op["name"]: op["phase"] for op in graph.operators}
        makers = {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}
        for op in graph.operators:
            for tensor in op.get("inputs", ()):
                if phase_of.get(makers.get(tensor)) == "W":
                    assert op["phase"] == "W", (granularity, op["name"], tensor)


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


# A matrix product of a layer costs the same forward, for the input's and for the weight's gradient; attention (2
# products forward, 5 backward) has no weights. Per block of width 32 with 2 x 16 tokens: 12 x 32^2 weights, so
# F = 2 x 32 x 12288 + 2 products x 2 x 2 heads x 2 x 16 x 16 x 16 = 786432 + 65536; I has 5 / 2 of the latter.
def test_phases_of_a_block_have_the_flops_of_the_formula():
    flops = {op["name"]: op.get("flops", 0) for op in captured("language", "block").operators}
    for block in ("blocks.0", "blocks.1"):
        assert flops[f"{block}.F"] == 786432 + 65536
        assert flops[f"{block}.I"] == 786432 + 65536 * 5 // 2
        assert flops[f"{block}.W"] == 786432


def test_integer_inputs_have_no_gradient_so_embeddings_are_weight_gradients_alone():
    phases = {op["name"] for op in captured("language", "block").operators}
    assert {"tokens.F", "tokens.W", "tokens.O"} <= phases
    assert not {"tokens.I", "tokens.B", "positions.I", "positions.B"} & phases


# Outputs 2 x 8 x 16 x 16, kernels 8 x 3 x 3: each gradient of a convolution costs what its forward does, 2 x 4096 x 72.
def test_backward_of_a_convolution_is_two_calls():
    flops = {op["name"]: op.get("flops", 0) for op in captured("convolutions", "block").operators}
    for block in ("blocks.0", "blocks.1"):
        assert flops[f"{block}.F"] == flops[f"{block}.I"] == flops[f"{block}.W"] == 2 * 4096 * 72
    assert "stem.I" not in flops  # pictures need no gradient


def test_coarser_graphs_have_the_same_work_and_fewer_operators():
    fine, middle, coarse = (captured("language", granularity) for granularity in ("operator", "module", "block"))
    assert len(fine.operators) > len(middle.operators) > len(coarse.operators)
    for phase in "FW":
        assert by_phase(fine)[phase] == by_phase(middle)[phase] == by_phase(coarse)[phase]
    assert by_phase(fine, "bytes_accessed")["F"] == by_phase(coarse, "bytes_accessed")["F"]


def test_repeated_blocks_are_recognised():
    assert captured("language").blocks == [["blocks.0", "blocks.1"]]
    assert captured("vision and language").blocks == [
        ["vision.0", "vision.1"],
        ["language.blocks.0", "language.blocks.1"],
    ]
    stages = {op["layer"]: op["stage"] for op in captured("language", "block").operators if "layer" in op}
    assert stages["blocks.1"] == stages["blocks.0"] + 1


class Holding(nn.Module):
    """A module with lists by name, and a parameter of its own."""

    def __init__(self, **lists):
        super().__init__()
        self.own = nn.Parameter(torch.zeros(len(lists)))
        for name, modules in lists.items():
            setattr(self, name, nn.ModuleList(modules))


def linears(*widths):
    return [nn.Linear(width, width) for width in widths]


@pytest.mark.parametrize(
    ("model", "blocks"),
    [
        # Stages of different width, as in Swin and ConvNeXt: their blocks are repeated, they are not.
        (
            Holding(stages=[Holding(blocks=linears(4, 4)), Holding(blocks=linears(8, 8, 8))]),
            [f"stages.0.blocks.{i}" for i in range(2)] + [f"stages.1.blocks.{i}" for i in range(3)],
        ),
        # Lists of lists, as in Segformer.
        (
            nn.ModuleList([nn.ModuleList(linears(4, 4)), nn.ModuleList(linears(8, 8))]),
            ["0.0", "0.1", "1.0", "1.1"],
        ),
        # The first layer is dense, the second a mixture of experts, as in DeepSeek: layers all the same.
        (Holding(layers=[Holding(), Holding(experts=linears(4, 4))]), ["layers.0", "layers.1"]),
        # One layer has a parameter more, and all have parts of different classes, as in T5.
        (
            Holding(
                layers=[
                    Holding(parts=[nn.Linear(4, 4), nn.LayerNorm(4)]),
                    Holding(parts=[nn.Linear(4, 4), nn.LayerNorm(8)]),
                ]
            ),
            ["layers.0", "layers.1"],
        ),
        # Equal layers with equal experts.
        (Holding(layers=[Holding(experts=linears(4, 4)), Holding(experts=linears(4, 4))]), ["layers.0", "layers.1"]),
    ],
    ids=["stages", "lists", "dense and experts", "parts", "experts"],
)
def test_blocks_are_what_is_repeated(model, blocks):
    assert block_names(model) == blocks


# Width 8, 2 x 3 tokens: a layer multiplies by 4 x 8 rows of 8 for the inputs and as many for the state.
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_are_segments(kind, gates):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = kind(8, 8, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.recurrent(x)[0]

    graph = opweave.capture(Recurrent(), (torch.zeros(2, 3, 8),), loss=torch.sum, granularity="block")
    flops = {op["name"]: op.get("flops", 0) for op in graph.operators if op["phase"] == "F"}
    layer = 2 * (2 * 3) * 8 * 8 * gates * 2
    assert flops == {"recurrent.l0.F": layer, "recurrent.l1.F": layer, "loss.F": 0}
    parameters = next(op["parameters"] for op in graph.operators if op["name"] == "recurrent.l1.O")
    assert sorted(parameters) == [f"recurrent.{name}_l1" for name in ("bias_hh", "bias_ih", "weight_hh", "weight_ih")]


def test_two_towers_do_not_wait_for_each_other():
    graph = captured("two towers", "block")
    makers = {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}
    for op in graph.operators:
        sources = {makers[tensor] for tensor in op.get("inputs", ()) if tensor in makers}
        if op["name"].startswith("text.") and op["phase"] == "F":
            assert not any(source.startswith(("vision", "patches")) for source in sources), op["name"]


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


def test_a_model_on_the_meta_device_is_captured_like_a_real_one():
    with torch.device("meta"):
        model = models.Gpt()
    graph = opweave.capture(model, (models.ids(),), loss=models.next_token_loss)
    assert graph == captured("language")
    assert next(model.parameters()).device.type == "meta"


def test_the_users_model_is_left_alone():
    model = models.Mlp(8)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    opweave.capture(model, (torch.randn(2, 8),))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


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


def test_a_loss_that_does_not_depend_on_the_model_is_an_error():
    with pytest.raises(opweave.CaptureError, match="the loss does not depend on the model"):
        opweave.capture(models.Mlp(8), (torch.zeros(2, 8),), loss=lambda y: y.detach().sum())


def makers_of(graph):
    return {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}


# d(x * x) = 2 x g: two calls that torch tags neither as forward nor as backward.
def test_the_backward_of_a_custom_function_is_backward():
    graph = opweave.capture(models.Squares(), (torch.zeros(2, 8),))
    phases = [(op["kind"], op["phase"]) for op in graph.operators if op["kind"] == "aten.mul"]
    assert phases == [("aten.mul", "F")] * 3 + [("aten.mul", "I")] * 6
    assert {op["layer"] for op in graph.operators if op["kind"] == "aten.mul"} == {"blocks.0", "blocks.1", "blocks.2"}


# Width 8, 2 rows: a product is 2 x 2 x 8 x 8 = 256 operations. The first block needs no gradient of its input, but
# the custom function stands between its product and the gradient that arrives.
def test_a_custom_function_belongs_to_the_block_that_calls_it():
    graph = opweave.capture(models.Squares(), (torch.zeros(2, 8),), granularity="block")
    flops = {op["name"]: op.get("flops", 0) for op in graph.operators if op["phase"] != "O"}
    assert flops == {
        **{f"blocks.{block}.F": 256 for block in range(3)},
        "loss.F": 0,
        "blocks.2.I": 256,
        "blocks.2.W": 256,
        "blocks.1.I": 256,
        "blocks.1.W": 256,
        "blocks.0.I": 0,
        "blocks.0.W": 256,
    }
    # What a block keeps for its backward stays in it: nothing but activations and gradients crosses blocks.
    makers = makers_of(graph)
    crossing = {
        (makers[tensor], op["name"])
        for op in graph.operators
        for tensor in op.get("inputs", ())
        if tensor in makers and makers[tensor][:-2] != op["name"][:-2]
    }
    assert crossing == {
        ("blocks.0.F", "blocks.1.F"),
        ("blocks.1.F", "blocks.2.F"),
        ("blocks.2.F", "loss.F"),
        ("blocks.0.F", "blocks.1.W"),
        ("blocks.1.F", "blocks.2.W"),
        ("blocks.2.I", "blocks.1.I"),
        ("blocks.1.I", "blocks.0.I"),
    }


# The custom function of the middle block belongs to it; what 3 granularities add up to is the same.
@pytest.mark.parametrize("granularity", ["operator", "module", "block"])
def test_no_forward_operator_waits_for_a_backward_one(granularity):
    graph = opweave.capture(models.Squares(), (torch.zeros(2, 8),), granularity=granularity)
    phases = {op["name"]: op["phase"] for op in graph.operators}
    makers = makers_of(graph)
    for op in graph.operators:
        if op["phase"] == "F":
            assert all(phases[makers[tensor]] == "F" for tensor in op.get("inputs", ()) if tensor in makers)


def test_a_capture_whose_phases_contradict_each_other_is_refused():
    step = read_step(models.Squares(), (torch.zeros(2, 8),))
    for call in step.primitives.calls:
        if call.kind == "aten.mul":
            call.phase = "F"  # that of block 1 takes the gradient that block 2 makes
    message = (
        r'operator "blocks\.1\.mul_\d\.F" of the forward pass takes "mm_\d" from "blocks\.2\.linear\.mm_\d\.I" of the'
    )
    with pytest.raises(opweave.CaptureError, match=message):
        graph_of(step)


# Of a block of width 8 with 2 rows: two products of 2 x 2 x 8 x 16 = 512. Its backward first makes the input of GELU
# again, that is the first product, and GELU for the gradient of the second weight; the second product is not needed.
def test_what_checkpointing_drops_is_computed_again():
    inputs = (torch.zeros(2, 8),)
    plain = opweave.capture(models.Checkpointed(checkpoints=False), inputs, granularity="block")
    graph = opweave.capture(models.Checkpointed(), inputs, granularity="block")
    flops = {op["name"]: op.get("flops", 0) for op in graph.operators}
    assert [name for name in flops if name.endswith(".F")] == ["first.F"] + [f"blocks.{b}.F" for b in range(3)] + [
        "loss.F"
    ]
    for block in range(3):
        assert flops[f"blocks.{block}.F"] == flops[f"blocks.{block}.W"] == 2 * 512
        assert flops[f"blocks.{block}.I"] == 3 * 512
    assert graph.flops == plain.flops + 3 * 512
    assert {op["name"] for op in graph.operators} == {op["name"] for op in plain.operators}

    def kept(graph, block):
        """Bytes that the backward of a block takes from forward operators."""
        makers = makers_of(graph)
        tensors = {
            tensor
            for op in graph.operators
            if op["name"] in (f"blocks.{block}.I", f"blocks.{block}.W")
            for tensor in op.get("inputs", ())
            if makers.get(tensor, "").endswith(".F")
        }
        return sum(graph.tensors[tensor] for tensor in tensors)

    # Kept of a block: its input of 2 x 8 fp32 numbers. Without checkpointing also GELU's input and output, 2 x 16 each.
    assert kept(graph, 1) == 4 * 2 * 8
    assert kept(plain, 1) == 4 * 2 * (8 + 16 + 16)


@pytest.mark.parametrize("granularity", ["operator", "module", "block"])
def test_flops_with_checkpointing_are_those_of_the_flop_counter(granularity):
    from torch.utils.flop_counter import FlopCounterMode

    model = models.Checkpointed()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 8)).backward()
    assert opweave.capture(model, (torch.zeros(2, 8),), granularity=granularity).flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: models.Checkpointed(depth=2), r'module "blocks\.\d.*": activation checkpointing inside of activation'),
        (lambda: models.Checkpointed(use_reentrant=True), "reentrant activation checkpointing is not captured"),
    ],
)
def test_checkpointing_that_is_not_captured_is_refused(model, message):
    with pytest.raises(opweave.CaptureError, match=message):
        opweave.capture(model, (torch.zeros(2, 8),))


def test_checkpointing_without_dynamo_is_refused(monkeypatch):
    def fails(*_):
        raise RuntimeError("no dynamo here")

    monkeypatch.setattr(sys.modules["opweave.capture.torch_trace"], "_dynamo_graph_capture_for_export", fails)
    with pytest.raises(opweave.CaptureError, match=r"activation checkpointing, .* by dynamo alone.*no dynamo here"):
        opweave.capture(models.Checkpointed(), (torch.zeros(2, 8),))


def test_branching_on_values_is_an_error_that_names_the_module():
    with pytest.raises(
        opweave.CaptureError, match=r'module "inner": it branches on .* \(.*tests/python/models\.py:\d+\)'
    ):
        opweave.capture(models.Branching(), (torch.zeros(2, 4),))


# Pictures of 3 and 5 patches of width 8: products of 2 x 3 x 8 x 8 and 2 x 5 x 8 x 8 in each of 2 blocks, forward and for
# the weights, and in the second block for its input.
def test_integer_inputs_keep_their_values_where_control_flow_depends_on_them():
    inputs = (torch.zeros(8, 8), torch.tensor([3, 5]))
    graph = opweave.capture(models.Patches(), inputs, granularity="block")
    assert graph.flops == 5 * 2 * 8 * 8 * 8
    assert [op["name"] for op in graph.operators if op["phase"] == "F"] == ["blocks.0.F", "blocks.1.F", "loss.F"]
    assert graph.blocks == [["blocks.0", "blocks.1"]]
    other = opweave.capture(models.Patches(), (torch.zeros(8, 8), torch.tensor([2, 2, 4])), granularity="block")
    shapes = [call.signature.partition(",")[0] for call in other.calls["blocks.1.F"] if call.kind == "aten.mm"]
    assert shapes == ["aten.mm(fp32[2", "aten.mm(fp32[2", "aten.mm(fp32[4"]


# CTC takes the lengths of the targets: 2 of at most 3 symbols, so that 2 x 6 x (2 x 3 + 1) numbers are kept of 6 moments.
def test_lengths_of_targets_are_values():
    model = nn.Linear(4, 5)

    def loss(scores):
        return nn.functional.ctc_loss(
            scores.log_softmax(-1), torch.ones(5, dtype=torch.long), torch.tensor([6, 6]), torch.tensor([2, 3])
        )

    graph = opweave.capture(model, (torch.zeros(6, 2, 4),), loss=loss)
    made = next(op for op in graph.operators if op["kind"] == "aten._ctc_loss" and op["phase"] == "F")
    assert 4 * 2 * 6 * 7 in [graph.tensors[tensor] for tensor in made["outputs"]]


def test_without_dynamo_module_names_are_the_same(monkeypatch):
    def fails(*_):
        raise RuntimeError("no dynamo here")

    monkeypatch.setattr(sys.modules["opweave.capture.torch_trace"], "_dynamo_graph_capture_for_export", fails)
    graph = opweave.capture(models.Gpt, (models.ids(),), loss=models.next_token_loss, granularity="block")
    expected = captured("language", "block")
    assert [op["name"] for op in graph.operators] == [op["name"] for op in expected.operators]
    assert graph.flops == expected.flops


class Selecting(nn.Module):
    """Works on the rows that a mask selects: how many depends on data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 8, bias=False)

    def forward(self, x, mask):
        return self.linear(x[mask.nonzero().squeeze(1)]).sum()


# With 5 rows assumed the product costs 2 x 5 x 4 x 8 = 320 forward, and as much for the weight's gradient.
def test_sizes_that_depend_on_data_are_assumed():
    inputs = (torch.zeros(16, 4), torch.zeros(16, dtype=torch.bool))
    with pytest.raises(opweave.CaptureError, match="depends on data"):
        opweave.capture(Selecting(), inputs)
    assert opweave.capture(Selecting(), inputs, assumed_size=5).flops == 640


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


def test_other_graphs_without_durations_are_timed_by_peak_rates_and_a_line_says_so(logged):
    graph = opweave.Graph.from_dict({"operators": [{"name": "a", "flops": 312e9}]})
    plan = opweave.plan(graph, opweave.Cluster.preset("a100", devices_per_node=1), work_limit=1)
    assert plan.makespan_ns == 1_000_000  # 312 Tflop/s of bf16
    assert ["peak rates" in message for message in logged] == [True]


# Blocks of 1, 2, 3, 4 and 6 units in 3 stages: 1 + 2 + 3, 4, 6, for any other cut makes a stage of more than 6.
def test_stages_are_whole_blocks_of_balanced_work():
    content = {
        "operators": [
            {"name": f"b{i}.F", "phase": "F", "flops": work, "stage": i, "parameters": [f"w{i}"]}
            for i, work in enumerate((1, 2, 3, 4, 6))
        ],
        "parameters": [{"name": f"w{i}", "bytes": 1} for i in range(5)],
        "captured": {
            "calls": [],
            "operators": {},
            "blocks": [],
            "uncounted": {},
            "unread_parameters": [],
            "parameters_without_gradient": [],
        },
    }
    graph = opweave.Graph.from_dict(content)
    staged = graph.staged(3, devices=["a", "b", "c"])
    assert [(op["stage"], op["devices"]) for op in staged.operators] == [(0, ["a"])] * 3 + [(1, ["b"]), (2, ["c"])]
    timed = graph.with_durations({f"b{i}.F": time for i, time in enumerate((9, 1, 1, 1, 1))})
    assert [op["stage"] for op in timed.staged(2, devices=["a", "b"]).operators] == [0, 1, 1, 1, 1]
    assert [op["devices"] for op in graph.staged(4, "loop", devices=["a", "b"]).operators] == [[d] for d in "aabab"]
    assert [op["devices"] for op in graph.staged(4, "V", devices=["a", "b"]).operators] == [[d] for d in "aabba"]
    for arguments, message in (
        ((6, "linear"), "stages: value is 6 for 2 devices, expected as many as devices"),
        ((3, "loop"), "stages: value is 3 for 2 devices, expected a multiple of the devices"),
        ((6, "loop"), "stages: value is 6, expected 1 to 5, the number of blocks"),
        ((4, "W"), 'shape: value is "W", expected linear, loop or V'),
    ):
        with pytest.raises(opweave.InputError, match=message):
            graph.staged(*arguments, devices=["a", "b"])


def test_a_tied_parameter_keeps_its_stages_on_one_device():
    graph = captured("tied", "block")
    with pytest.raises(
        opweave.InputError, match=r'parameter "tokens\.weight" is read in stages 0 and 1, which lie on a and b'
    ):
        graph.staged(2, devices=["a", "b"])
    assert {op["stage"] for op in graph.staged(4, "V", devices=["a", "b"]).operators} == {0, 1, 2, 3}


def test_a_module_is_exported_as_a_pipeline_of_stages(tmp_path):
    from opweave.export import layers_by_stage, pytorch_csv, torchtitan_settings
    from opweave.run import compile_plan

    cluster = opweave.Cluster.preset("h100", devices_per_node=2)
    graph = captured("language", "block").with_training(microbatches=4).staged(4, "V", devices=cluster)
    plan = opweave.plan(graph, cluster, work_limit=20, threads=1, blocks="stage")
    program = compile_plan(plan, segments="stage")
    layers = layers_by_stage(program, graph)
    assert [layer for stage in layers for layer in stage] == [
        *("tokens", "positions", "blocks.0", "blocks.1", "norm", "head", "loss")
    ]
    rows = pytorch_csv(program).strip().splitlines()
    assert len(rows) == 2
    assert sum(row.count("F") for row in rows) == 4 * 4
    settings = torchtitan_settings(program, layers)
    assert settings.parallelism["pipeline_parallel_schedule"] == "ZBVZeroBubble"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"granularity": "layer"}, 'granularity: value is "layer"'),
        ({"optimizer": "lion"}, 'optimizer: value is "lion"'),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(opweave.InputError, match=message):
        opweave.capture(models.Mlp(8), (torch.zeros(2, 8),), **arguments)


def hugging_face(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (requirements-torch.txt)")
    small = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    if name == "llama":
        config = transformers.LlamaConfig(**small, num_key_value_heads=1)
        return lambda: transformers.LlamaForCausalLM(config), {"input_ids": models.ids(), "labels": models.ids()}
    if name == "mixtral":
        config = transformers.MixtralConfig(**small, num_key_value_heads=1, num_local_experts=4)
        return lambda: transformers.MixtralForCausalLM(config), {"input_ids": models.ids(), "labels": models.ids()}
    text = {**small, "max_position_embeddings": 16, "bos_token_id": 62, "eos_token_id": 63}
    vision = {**small, "image_size": 16, "patch_size": 4}
    del vision["vocab_size"]
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    inputs = {"input_ids": models.ids(), "pixel_values": models.pictures(), "return_loss": True}
    return lambda: transformers.CLIPModel(config), inputs


# Experts in fp32 are one custom operator whose backward gives both gradients: two products of the size of the forward one.
def test_gradients_of_experts_in_fp32_are_two_calls():
    model, inputs = hugging_face("mixtral")
    graph = opweave.capture(model, inputs, loss=lambda output: output.loss)
    grouped = {"F": [], "I": [], "W": [], "B": []}
    for op in graph.operators:
        if "grouped_mm" in op["kind"]:
            grouped[op["phase"]].append(op["flops"])
    assert grouped["B"] == []
    assert len(grouped["F"]) == 4  # gate and up in one, down; in each of 2 layers
    assert sorted(grouped["F"]) == sorted(grouped["I"]) == sorted(grouped["W"])


@pytest.mark.parametrize("name", ["llama", "mixtral", "clip"])
def test_hugging_face_models_are_captured_from_their_configuration(name):
    model, inputs = hugging_face(name)
    graph = opweave.capture(model, inputs, loss=lambda output: output.loss, granularity="block")
    updated = {parameter for op in graph.operators if op["phase"] in "IWB" for parameter in op.get("parameters", ())}
    assert updated == set(graph.parameters) and graph.unread_parameters == []
    assert all(len(group) == 2 for group in graph.blocks)
    assert len(graph.blocks) == (2 if name == "clip" else 1)
    sums = by_phase(graph)
    assert sums["F"] > 0 and sums["I"] > 0 and sums["W"] > 0
