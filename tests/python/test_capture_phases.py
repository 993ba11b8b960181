"""Forward, input gradients, weight gradients: which call is what."""

import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import models  # noqa: E402
import opweave  # noqa: E402
from capture_support import FAMILIES, captured, hugging_face, makers_of  # noqa: E402
from opweave.capture.step import graph_of, read_step  # noqa: E402


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
