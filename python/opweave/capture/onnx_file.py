"""Graphs of ONNX files: the forward pass."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import onnx
import onnx.inliner
import onnx.shape_inference

from opweave.errors import InputError
from opweave.graph import Graph

_VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}  # Dropout does nothing in inference
_MANY_OPERATIONS = {"Einsum", "LSTM", "GRU", "RNN", "QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger"}
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64"}
_CONSTANT_ELEMENTS = 1024  # integer initializers up to this size are shapes, axes, indices: not weights

Shape = tuple[int, ...]


def graph_of_file(path: str | os.PathLike[str], sizes: Mapping[str, int], name: str | None) -> Graph:
    """The work of opweave.capture_onnx, which describes the arguments."""
    source = os.fspath(path)
    try:
        model = onnx.load(source, load_external_data=False)
    except Exception as error:  # protobuf's errors have no common class
        raise InputError(f"{source}: no ONNX model: {str(error) or type(error).__name__}") from None
    model = onnx.inliner.inline_local_functions(model)
    _bind(model.graph, sizes, source)
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise InputError(f"{source}: {str(error).splitlines()[0]}") from None
    return _Reader(model.graph, source).graph(name or model.graph.name or "onnx")


def _bind(graph: Any, sizes: Mapping[str, int], source: str) -> None:
    """Put numbers in place of symbolic dimensions; every name that the inputs have must be bound."""
    weights = {tensor.name for tensor in graph.initializer}
    unknown = dict(sizes)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                unknown.pop(dim.dim_param, None)
                dim.dim_value = int(sizes[dim.dim_param])
    for value in graph.input:
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name not in weights and not dim.HasField("dim_value"):
                symbol = dim.dim_param or "without a name"
                raise InputError(
                    f'{source}: dimension {index} of input "{value.name}" is {symbol}, expected a number'
                    f'\nhint: sizes={{"{dim.dim_param or "..."}": 8}}'
                )
    if unknown:
        raise InputError(f'{source}: no dimension is named "{next(iter(unknown))}"')


class _Reader:
    def __init__(self, graph: Any, source: str) -> None:
        self._graph = graph
        self._source = source
        self._shapes: dict[str, Shape] = {}
        self._dtypes: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._roots: dict[str, str] = {}
        self._parameters: dict[str, int] = {}
        self._constants: set[str] = set()

    def graph(self, name: str) -> Graph:
        for value in [*self._graph.input, *self._graph.value_info, *self._graph.output]:
            tensor = value.type.tensor_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                self._know(value.name, tensor.elem_type, tuple(dim.dim_value for dim in tensor.shape.dim))
        for weight in self._graph.initializer:
            self._know(weight.name, weight.data_type, tuple(weight.dims))
            floating = self._dtypes[weight.name] in _DTYPES.values()
            if floating or prod(weight.dims) > _CONSTANT_ELEMENTS:
                self._parameters[weight.name] = self._bytes[weight.name]
            else:
                self._constants.add(weight.name)
        operators = [op for index, node in enumerate(self._graph.node) if (op := self._operator(index, node))]
        used = {tensor for op in operators for tensor in [*op["inputs"], *op["outputs"]]}
        kinds = sorted({op["kind"] for op in operators if op["kind"] in _MANY_OPERATIONS})
        if kinds:
            warnings.warn(f"{self._source}: operations of {', '.join(kinds)} are not counted", stacklevel=4)
        content = {
            "name": name,
            "parameters": [{"name": weight, "bytes": size} for weight, size in self._parameters.items()],
            "tensors": [{"name": tensor, "bytes": self._bytes[tensor]} for tensor in sorted(used)],
            "operators": operators,
        }
        return Graph.from_dict(content, self._source)

    def _know(self, tensor: str, elem_type: int, shape: Shape) -> None:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
        self._shapes[tensor] = shape
        self._dtypes[tensor] = _DTYPES.get(dtype.name, dtype.name)
        self._bytes[tensor] = prod(shape) * dtype.itemsize

    def _operator(self, index: int, node: Any) -> dict[str, Any] | None:
        where = f'operator "{node.name or index}" of kind {node.op_type}'
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise InputError(f"{self._source}: {where} has a body of its own, which is not supported")
        if node.op_type == "Constant":
            self._constants.update(node.output)
            return None
        sources = list(dict.fromkeys(self._roots.get(tensor, tensor) for tensor in node.input if tensor))
        outputs = [tensor for tensor in node.output if tensor]
        if (sources and all(source in self._constants for source in sources)) or node.op_type == "Shape":
            self._constants.update(outputs)  # computed once, before the model runs
            return None
        if node.op_type in _VIEWS:
            self._roots[outputs[0]] = sources[0]
            return None
        for tensor in [*node.input, *outputs]:
            if tensor and tensor not in self._shapes and tensor not in self._constants:
                raise InputError(f'{self._source}: the size of tensor "{tensor}" of {where} is unknown')
        inputs = [source for source in sources if source not in self._constants and source not in self._parameters]
        shapes = [self._shapes.get(tensor, ()) for tensor in node.input]
        flops = _FLOPS.get(node.op_type, _no_flops)(node, shapes, self._shapes[outputs[0]])
        moved = sum(self._bytes.get(tensor, 0) for tensor in [*dict.fromkeys(node.input), *outputs])
        if node.op_type == "Gather" and node.input[0] in self._bytes:  # reads the rows that it gives, not all
            moved -= max(0, self._bytes[node.input[0]] - self._bytes[outputs[0]])
        dtype = self._dtypes[outputs[0]]
        return {
            "name": node.name or f"{node.op_type}.{index}",
            "kind": node.op_type,
            "flops": flops,
            "bytes_accessed": moved,
            "dtype": dtype if dtype in _DTYPES.values() else "fp32",
            "inputs": inputs,
            "outputs": outputs,
            "parameters": [source for source in sources if source in self._parameters],
            "layer": ".".join(part for part in node.name.split("/")[:-1] if part),
        }


def _no_flops(node: Any, shapes: list[Shape], output: Shape) -> int:
    return 0


def _matmul(node: Any, shapes: list[Shape], output: Shape) -> int:
    return 2 * prod(output) * shapes[0][-1]


def _gemm(node: Any, shapes: list[Shape], output: Shape) -> int:
    transposed = next((attribute.i for attribute in node.attribute if attribute.name == "transA"), 0)
    return 2 * prod(output) * shapes[0][0 if transposed else 1]


def _conv(node: Any, shapes: list[Shape], output: Shape) -> int:
    return 2 * prod(output) * prod(shapes[1][1:])  # weights: (out, in / groups, kernel...)


def _conv_transpose(node: Any, shapes: list[Shape], output: Shape) -> int:
    return 2 * prod(shapes[0]) * prod(shapes[1][1:])  # weights: (in, out / groups, kernel...)


def _attention(node: Any, shapes: list[Shape], output: Shape) -> int:
    if len(shapes[0]) != 4:
        raise InputError(f'operator "{node.name}" of kind Attention has inputs of rank {len(shapes[0])}, expected 4')
    batch, heads, length, width = shapes[0]
    return 2 * batch * heads * length * shapes[1][2] * (width + shapes[2][3])


_FLOPS: dict[str, Callable[[Any, list[Shape], Shape], int]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Attention": _attention,
}
