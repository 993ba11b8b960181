"""From ONNX files to graphs."""

import opweave
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (requirements-torch.txt)")

from onnx import TensorProto, helper  # noqa: E402

FLOAT = TensorProto.FLOAT


def weight(name, *shape):
    size = 1
    for dim in shape:
        size *= dim
    return helper.make_tensor(name, FLOAT, shape, [0.0] * size)


def value(name, *shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path, nodes, inputs, outputs, weights):
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


@pytest.fixture
def mlp(tmp_path):
    """x (batch, 4) -> up -> relu -> flat view -> down -> y (batch, 3), with a shape as a constant."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="/up/MatMul"),
        helper.make_node("Relu", ["h"], ["r"], name="/act/Relu"),
        helper.make_node("Reshape", ["r", "shape"], ["v"], name="/Reshape"),
        helper.make_node("Gemm", ["v", "w2", "b2"], ["y"], name="/down/Gemm", transB=1),
    ]
    weights = [weight("w1", 4, 8), weight("w2", 3, 8), weight("b2", 3)]
    weights.append(helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 8]))
    return save(tmp_path / "mlp.onnx", nodes, [value("x", "batch", 4)], [value("y", "batch", 3)], weights)


# 5 rows: up 2 x 5 x 4 x 8 = 320, down 2 x 5 x 8 x 3 = 240 operations. h is 5 x 8 x 4 = 160 bytes.
def test_files_become_graphs_with_bound_sizes(mlp):
    graph = opweave.capture_onnx(mlp, sizes={"batch": 5})
    operators = {op["name"]: op for op in graph.operators}
    assert list(operators) == ["/up/MatMul", "/act/Relu", "/down/Gemm"]
    assert operators["/up/MatMul"]["flops"] == 320
    assert operators["/down/Gemm"]["flops"] == 240
    assert operators["/act/Relu"]["flops"] == 0 and operators["/act/Relu"]["bytes_accessed"] == 320
    assert operators["/down/Gemm"]["inputs"] == ["r"]  # the view is the tensor that it looks at
    assert operators["/up/MatMul"]["layer"] == "up"
    assert graph.parameters == {"w1": 128, "w2": 96, "b2": 12}
    assert graph.tensors == {"x": 80, "h": 160, "r": 160, "y": 60}
    cluster = opweave.Cluster.preset("a100", devices_per_node=2)
    assert opweave.plan(opweave.costs.analytic(graph, cluster), cluster, work_limit=10).check() == []


def test_unbound_and_unknown_sizes_are_named(mlp):
    with pytest.raises(opweave.InputError, match='dimension 0 of input "x" is batch, expected a number'):
        opweave.capture_onnx(mlp)
    with pytest.raises(opweave.InputError, match='no dimension is named "length"'):
        opweave.capture_onnx(mlp, sizes={"batch": 5, "length": 3})


# Output 1 x 6 x 4 x 4 (stride 2 on 8 x 8 with padding 1), 2 groups of 2 input channels, kernel 3 x 3: 2 x 96 x 18.
def test_convolutions_count_by_group(tmp_path):
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    path = save(
        tmp_path / "conv.onnx", [node], [value("x", 1, 4, 8, 8)], [value("y", 1, 6, 4, 4)], [weight("w", 6, 2, 3, 3)]
    )
    assert opweave.capture_onnx(path).operators[0]["flops"] == 2 * 96 * 18


def test_tensors_of_unknown_size_are_an_error_that_names_them(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"], name="search"),
        helper.make_node("Cast", ["found"], ["y"], to=1),
    ]
    path = save(tmp_path / "nonzero.onnx", nodes, [value("x", 4)], [value("y", 1, "count")], [])
    with pytest.raises(opweave.InputError, match='the size of tensor "found" of operator "search" of kind NonZero'):
        opweave.capture_onnx(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")
    with pytest.raises(opweave.InputError, match="no ONNX model"):
        opweave.capture_onnx(path)
    with pytest.raises(opweave.InputError, match=r"nowhere\.onnx"):
        opweave.capture_onnx(tmp_path / "nowhere.onnx")
