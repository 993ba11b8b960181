"""What capture relies on in the private interfaces of torch. Fails first when another version of torch is installed."""

import operator

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (requirements-torch.txt)")

import models  # noqa: E402
from opweave.capture.torch_joint import backward_nodes, checkpoint_of, module_of, operation_of  # noqa: E402
from opweave.capture.torch_trace import trace  # noqa: E402


@pytest.fixture(scope="module")
def joint():
    return trace(models.Gpt, (models.ids(),), {}, models.next_token_loss)


def calls(joint):
    return [node for node in joint.graph.nodes if node.op == "call_function" and node.target is not operator.getitem]


def test_every_parameter_of_the_graph_is_one_of_the_model(joint):
    names = [name for name, _ in joint.model.named_parameters()]
    assert sorted(joint.parameter_of.values()) == sorted(names)
    assert sorted(name for found in joint.gradient_of.values() for name in found) == sorted(names)
    assert joint.missing_gradients == []


def test_parameters_hold_no_memory(joint):
    assert all(type(parameter.data).__name__ == "FakeTensor" for parameter in joint.model.parameters())


def tagged_as_backward(node):
    return node.meta.get("partitioner_tag") == "is_backward"


def test_forward_comes_before_backward(joint):
    backward = set(backward_nodes(joint))
    assert [tagged_as_backward(node) for node in calls(joint)] == [node in backward for node in calls(joint)]
    assert 0 < len(backward) < len(calls(joint))


def test_nodes_of_a_custom_backward_have_no_tag_and_the_number_of_another_operation():
    joint = trace(models.Squares, (torch.zeros(2, 8),), {}, None)
    backward = backward_nodes(joint)
    untagged = [node for node in backward if not tagged_as_backward(node)]
    assert len(untagged) == 2 * 3  # 2 * x and its product with the gradient, in each of 3 blocks
    assert len({operation_of(node) for node in untagged}) == 3
    assert {module_of(node) for node in untagged} == {"blocks.0", "blocks.1", "blocks.2"}


def test_checkpointed_nodes_are_tagged_with_their_region_and_depth():
    joint = trace(models.Checkpointed, (torch.zeros(2, 8),), {}, None)
    found = {module_of(node).split(".")[1]: checkpoint_of(node) for node in calls(joint) if checkpoint_of(node)}
    assert len({checkpoint.region for checkpoint in found.values()}) == len(found) == 3
    assert all(checkpoint.dropped and checkpoint.depth == 1 for checkpoint in found.values())


def test_forward_and_backward_nodes_know_their_module(joint):
    modules = dict(joint.model.named_modules())
    products = [node for node in calls(joint) if str(node.target).startswith(("aten.mm", "aten.addmm"))]
    # 4 in each of 2 blocks and the head: one product forward, two backward.
    assert len(products) == 3 * 9
    assert all(module_of(node) in modules for node in products)
    assert {module_of(node) for node in products if tagged_as_backward(node)} == {
        module_of(node) for node in products if not tagged_as_backward(node)
    }


def test_sequence_numbers_tie_backward_to_forward(joint):
    forward = {}
    for node in calls(joint):
        if not tagged_as_backward(node):
            forward.setdefault(node.meta["seq_nr"], module_of(node))
    tied = [node for node in calls(joint) if tagged_as_backward(node) and module_of(node)]
    assert tied
    assert all(forward[node.meta["seq_nr"]] == module_of(node) for node in tied)


def test_values_have_shapes_and_dtypes(joint):
    for node in calls(joint):
        leaves = node.meta["val"] if isinstance(node.meta["val"], (tuple, list)) else [node.meta["val"]]
        assert any(isinstance(leaf, torch.Tensor) for leaf in leaves), node


def test_a_model_that_asks_is_not_exported():
    class Asking(torch.nn.Module):
        def forward(self, x):
            return x.sin() if torch.compiler.is_exporting() else x.cos()

    joint = trace(Asking, (torch.ones(2),), {}, None)
    assert [str(node.target) for node in calls(joint)] == ["aten.cos.default"]


def test_views_are_declared_by_their_schemas():
    aten = torch.ops.aten
    for view in (aten.view, aten.t, aten.transpose.int, aten.select.int, aten.slice.Tensor, aten.expand, aten.detach):
        overload = view if hasattr(view, "_schema") else view.default
        assert overload._schema.returns[0].alias_info is not None, view
    for call in (aten.mm.default, aten.add.Tensor, aten.clone.default):
        assert call._schema.returns[0].alias_info is None, call
