"""From a captured model to its execution: capture, plan for named devices, run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import models  # noqa: E402, I001
import run_modules as blocks  # noqa: E402

import opweave  # noqa: E402
from opweave.run import Executor, compile_plan, launch  # noqa: E402

WIDTH, LENGTH, WORDS, MICROBATCHES = 32, 8, 50, 3


def language_model():
    """A model whose blocks are all of it."""
    torch.manual_seed(0)
    blocks = [models.Block(WIDTH, 4, models.Mlp(WIDTH)) for _ in range(4)]
    return torch.nn.Sequential(torch.nn.Embedding(WORDS, WIDTH), *blocks, torch.nn.Linear(WIDTH, WORDS))


def loss(logits, words):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten())


def batch(microbatches):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(WORDS, (2 * microbatches, LENGTH), generator=generator)


class Loss(torch.nn.Module):
    """The captured loss: it takes the words from outside, as the first block does."""

    def forward(self, *arguments):
        (logits,) = (value for value in arguments if value.is_floating_point())
        (words,) = (value for value in arguments if not value.is_floating_point())
        return loss(logits, words)


def run(rank, graph, plan):
    program = compile_plan(plan, graph)
    model, reference = language_model(), language_model()
    words = batch(MICROBATCHES)
    segments = {**dict(model.named_children()), "loss": Loss()}
    inputs = {name: words for names in program.external_inputs().values() for name in names}
    result = Executor(program, segments).step(inputs, None, lambda value, target: value)
    loss(reference(words), words).backward()
    mine = {name: segments[name] for name in program.segments_on(rank) if name != "loss"}
    assert [t.action.key for t in result.timings] == program.order(rank)
    return blocks.largest_error(mine, dict(reference.named_children()))


def test_a_captured_model_is_planned_for_named_devices_and_run_with_the_gradients_of_one_process():
    words = batch(1)
    graph = opweave.capture(
        language_model(),
        (words,),
        loss=lambda logits: loss(logits, words),
        granularity="block",
        optimizer=None,
        microbatches=MICROBATCHES,
    )
    cluster = opweave.Cluster.preset("a100", devices_per_node=3)
    content = graph.to_dict()
    for op in content["operators"]:  # so small a model would stay on one device
        op["devices"] = [f"node0.gpu{op['stage'] % 3}"]
    spread = opweave.Graph.from_dict(content)
    plan = opweave.plan(spread, cluster, work_limit=20, threads=1, progress=False)
    assert not plan.check()
    arguments = (plan.graph.to_json(), plan.to_json())
    assert max(launch(run, 3, arguments, timeout_s=180, start_method="fork")) < 1e-5
