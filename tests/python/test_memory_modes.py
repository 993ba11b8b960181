"""Memory modes from Python: planned, checked, bounded, and refused by name."""

from __future__ import annotations

import pathlib

import opweave
import pytest

PIPELINE = pathlib.Path(__file__).resolve().parents[2] / "examples/memory-modes/pipeline.json"


@pytest.fixture(scope="module")
def tight():
    """A V pipeline with memory for little more than one microbatch in flight."""
    return opweave.Pipeline.from_file(PIPELINE).build(shape="V", devices=4, activations=2.5)


def test_values_may_be_dropped_where_memory_is_short(tight):
    graph, cluster = tight
    plan = opweave.plan(graph, cluster, memory_modes=["drop"], microbatches=4, work_limit=300, threads=1)
    assert plan.check() == []
    assert plan.to_dict()["settings"]["memory_modes"] == ["drop"]
    best, *_ = opweave.lower_bounds(graph, cluster, memory_modes=["drop"], microbatches=4)
    assert best.value_ns <= plan.makespan_ns
    assert best.value_ns <= opweave.lower_bounds(graph, cluster, microbatches=4)[0].value_ns


@pytest.mark.parametrize("wrong", [["forget"], "drop", [1]])
def test_other_words_are_refused(tight, wrong):
    with pytest.raises(opweave.InputError, match="memory_modes"):
        opweave.plan(*tight, memory_modes=wrong, work_limit=1)
