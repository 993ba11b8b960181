"""Helpers for tests of the Python package, which they take from the build folder."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = pathlib.Path(os.environ.get("OPWEAVE_PACKAGE", ROOT / "build/default/python"))
if PACKAGE.is_dir():
    sys.path.insert(0, str(PACKAGE))

import opweave  # noqa: E402


@pytest.fixture
def pipeline():
    """Eight layers of two operators on two streams, unequal times, so that overlap and order matter."""
    result = opweave.Pipeline("small", microbatches=8, gradient_bytes_per_weight_byte=1)
    operators = [
        {"name": "mix", "forward_ns": 400, "input_gradient_ns": 900, "weight_gradient_ns": 200},
        {"name": "send", "streams": ["comm"], "forward_ns": 300, "input_gradient_ns": 500},
    ]
    return result.add_layer("block", operators, repeat=8, weights_bytes=1000, activation_bytes=100)


@pytest.fixture
def small(pipeline):
    """The same as a V over 2 devices, with memory for 3 activations: graph and cluster."""
    return pipeline.build(devices=2, shape="V", activations=3)


@pytest.fixture
def large():
    """The example of the README, far too large to be solved to the end: 6,400 tasks, V; graph and cluster."""
    spec = ROOT / "examples/deepseek-v3/pipeline.json"
    return opweave.Pipeline.from_file(spec).build(devices=8, shape="V", activations=8.5)


@pytest.fixture
def diamond():
    """tiny_diamond: a makes x, b and c consume it, d joins them; 2 devices, 1 ns per byte between them."""
    graph = opweave.Graph.from_dict(
        {
            "name": "tiny_diamond",
            "tensors": [{"name": name, "bytes": 10} for name in ("x", "y", "z")],
            "operators": [
                {"name": "a", "duration_ns": 100, "outputs": ["x"]},
                {"name": "b", "duration_ns": 200, "inputs": ["x"], "outputs": ["y"]},
                {"name": "c", "duration_ns": 150, "inputs": ["x"], "outputs": ["z"]},
                {"name": "d", "duration_ns": 100, "inputs": ["y", "z"]},
            ],
        }
    )
    return graph, opweave.Cluster.uniform(2, bandwidth_bytes_per_s=10**9)


@pytest.fixture(scope="session")
def opweave_program():
    """The command line of the same build."""
    return os.environ.get("OPWEAVE_BIN", str(ROOT / "build/default/opweave"))
