"""What can be traced, and what is said where it cannot."""

import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import models  # noqa: E402
import opweave  # noqa: E402
from capture_support import by_phase, captured, hugging_face  # noqa: E402
from torch import nn  # noqa: E402


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


def test_a_loss_that_does_not_depend_on_the_model_is_an_error():
    with pytest.raises(opweave.CaptureError, match="the loss does not depend on the model"):
        opweave.capture(models.Mlp(8), (torch.zeros(2, 8),), loss=lambda y: y.detach().sum())


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
