"""Modules and their wiring become a graph with measured costs, which is planned and run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import run_modules as blocks  # noqa: E402, I001

import opweave  # noqa: E402
from opweave.run import Executor, ProgramError, compile_plan, launch, measured_graph  # noqa: E402

WIRING = {
    "image": ["pixels"],
    "text": ["words"],
    "fusion": ["image:0", "text"],
    "head": ["fusion", "image:1"],
    "caption": ["fusion"],
}
ROWS = 2


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(9)
        self.table = torch.nn.Embedding(10, blocks.WIDTH)

    def forward(self, words):
        return self.table(words)


def modules():
    """Two sinks, an integer input, a segment without parameters, one with a buffer that changes."""
    return {
        "image": torch.nn.Sequential(torch.nn.BatchNorm1d(blocks.WIDTH), blocks.Block(0, 2)),
        "text": Words(),
        "fusion": Mix(),
        "head": blocks.Block(3),
        "caption": blocks.Block(4),
    }


class Mix(torch.nn.Module):
    def forward(self, image, text):
        return torch.tanh(image) * text


def mse(output, target):
    return torch.nn.functional.mse_loss(output, target)


def sum_of_squares(output, target):
    return output.square().sum()


LOSSES = {"head": mse, "caption": sum_of_squares}


def batch(microbatches):
    generator = torch.Generator().manual_seed(3)
    shape = (ROWS * microbatches, blocks.WIDTH)
    pixels, target = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    return {"pixels": pixels, "words": torch.arange(ROWS * microbatches) % 10}, target


def graph_of(segments, microbatches=3):
    inputs, target = batch(1)
    return measured_graph(segments, WIRING, inputs, target, LOSSES, microbatches=microbatches, repeats=2)


def test_the_graph_has_measured_times_and_the_bytes_of_tensors():
    segments = modules()
    graph = graph_of(segments).to_dict()
    operators = {op["name"]: op for op in graph["operators"]}
    # "fusion" learns nothing, everything else has F, I and W.
    assert set(operators) == {f"{s}.{p}" for s in WIRING for p in "FIW"} - {"fusion.W"}
    assert all(op["duration_ns"] > 0 for name, op in operators.items())
    tensors = {tensor["name"]: tensor["bytes"] for tensor in graph["tensors"]}
    row = 4 * blocks.WIDTH  # bytes of float32
    assert tensors["image:0"] == tensors["fusion:0"] == ROWS * row
    assert tensors["words"] == ROWS * 8
    assert tensors["gradient of fusion:0 from head"] == ROWS * row
    # tanh(image) and text, and the result of tanh for its own derivative: the same tensor.
    assert tensors["fusion.kept"] == 2 * ROWS * row
    # W of a block goes on from the gradients at its norm, up and down (8, 16 and 8 wide), at least.
    assert tensors["head.flow"] >= 4 * ROWS * (8 + 16 + 8) - ROWS * row
    parameters = {parameter["name"]: parameter["bytes"] for parameter in graph["parameters"]}
    assert parameters["text.weights"] == 10 * row
    assert "fusion.weights" not in parameters


def test_measuring_leaves_no_trace_in_the_modules():
    segments = modules()
    segments["head"].up.weight.grad = torch.ones_like(segments["head"].up.weight)
    before = {name: value.clone() for name, value in segments["image"].state_dict().items()}
    graph_of(segments)
    for name, value in segments["image"].state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert segments["image"][1].up.weight.grad is None
    torch.testing.assert_close(segments["head"].up.weight.grad, torch.ones_like(segments["head"].up.weight))


def one_process(segments, microbatches):
    inputs, target = batch(microbatches)
    slices = [tensor.chunk(microbatches) for tensor in (inputs["pixels"], inputs["words"], target)]
    for pixels, words, wanted in zip(*slices, strict=True):
        image, image_again = segments["image"](pixels)
        fused = segments["fusion"](image, segments["text"](words))
        loss = mse(segments["head"](fused, image_again), wanted)
        loss = loss + sum_of_squares(segments["caption"](fused), None)
        (loss / microbatches).backward()


def run(rank, graph, plan):
    segments, reference = modules(), modules()
    program = compile_plan(plan, graph)
    inputs, target = batch(3)
    Executor(program, segments).step(inputs, target, LOSSES)
    one_process(reference, 3)
    mine = {name: segments[name] for name in program.segments_on(rank)}
    return blocks.largest_error(mine, reference)


def test_a_measured_graph_is_planned_and_run_with_the_gradients_of_one_process():
    graph = graph_of(modules())
    plan = opweave.plan(graph, opweave.Cluster.uniform(3), work_limit=20, threads=1, progress=False)
    assert not plan.check()
    arguments = (graph.to_json(), plan.to_json())
    assert max(launch(run, 3, arguments, timeout_s=180, start_method="fork")) < 1e-5


def test_wiring_that_cannot_run_is_refused():
    inputs, target = batch(1)

    def refuses(text, wiring):
        with pytest.raises(ProgramError) as error:
            measured_graph(modules(), wiring, inputs, target, LOSSES, microbatches=1, repeats=1)
        assert text in str(error.value)

    refuses("segment 'video' has no module", {"video": ["pixels"]})
    refuses(
        "segment 'head' takes 'fusion', expected an input or the output of a segment before it", {"head": ["fusion"]}
    )
    refuses("segment 'fusion' takes a tensor twice", {"text": ["words"], "fusion": ["text", "text"]})
    refuses("no segment takes output 1 of segment 'image'", {"image": ["pixels"], "caption": ["image:0"]})
