"""Measurements beside predictions: traces, and durations that go back to the graph."""

from __future__ import annotations

import collections
import json
import sys

import opweave
import pytest
import run_support as support
from conftest import ROOT
from opweave.run import ActionTiming, compile_plan, measured_durations, trace, with_durations

sys.path.append(str(ROOT / "tests/report"))
import trace_processor

LOOP = {f"s{i}": i % 2 for i in range(4)}


def program(placement, devices=2, microbatches=2, seed=0):
    graph = support.chain(len(placement), microbatches)
    return compile_plan(support.plan(graph, placement, devices, seed), graph)


def timings_of(made):
    """A measurement in which everything takes twice as long as planned."""
    return [ActionTiming(rank, action, 2 * action.start_ns, 2 * action.end_ns, 5) for rank, action in made.actions()]


def test_traces_show_prediction_beside_measurement(tmp_path):
    made = program(LOOP)
    trace(made, timings_of(made), tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 2 * 4 * 3 * 2  # planned and measured; stages, phases, microbatches
    track = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert sorted(track.values()) == ["measured", "measured", "planned", "planned"]
    starts = {(track[event["tid"]], event["name"]): event["ts"] for event in slices}
    for name in {event["name"] for event in slices}:
        assert starts["measured", name] == 2 * starts["planned", name]
    # Ends of arrows lie inside of slices on their track.
    for end in (event for event in events if event["ph"] in "sf"):
        assert any(s["tid"] == end["tid"] and s["ts"] <= end["ts"] <= s["ts"] + s["dur"] for s in slices)
    assert sum(event["ph"] == "s" for event in events) == sum(event["ph"] == "f" for event in events) == 2 * 3 * 2 * 2


def two_streams():
    """A plan that overlaps the operators of two streams of a device, and what runs them one after another."""
    pipeline = opweave.Pipeline("two streams", microbatches=8, gradient_bytes_per_weight_byte=1)
    operators = [
        {"name": "mix", "forward_ns": 400, "input_gradient_ns": 900, "weight_gradient_ns": 200},
        {"name": "send", "streams": ["comm"], "forward_ns": 300, "input_gradient_ns": 500},
    ]
    pipeline.add_layer("block", operators, repeat=8, weights_bytes=1000, activation_bytes=100)
    graph, cluster = pipeline.build(devices=2, shape="V", activations=3)
    return compile_plan(opweave.plan(graph, cluster, work_limit=20), graph)


@pytest.mark.skipif(trace_processor.what_is_missing() is not None, reason=str(trace_processor.what_is_missing()))
@pytest.mark.parametrize("make", [lambda: program(LOOP), two_streams], ids=["one stream", "two streams"])
def test_perfetto_has_no_complaint_about_prediction_beside_measurement(make, tmp_path):
    made = make()
    trace(made, timings_of(made), tmp_path / "trace.json")
    with trace_processor.TraceProcessor(tmp_path / "trace.json") as processor:
        assert processor.complaints() == []
        spans = collections.Counter(
            processor.query("""
            select process.name device, substr(thread.name, 1, 7) kind, ts, dur
            from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
            join process using (upid)""")
        )
        expected = collections.Counter()
        for rank, action in made.actions():
            length = action.end_ns - action.start_ns
            expected[made.devices[rank], "planned", action.start_ns, length] += 1
            expected[made.devices[rank], "measure", 2 * action.start_ns, 2 * length] += 1
        assert spans == expected
        assert processor.query("select max(depth) as depth from slice where dur > 0") == [(0,)]
        messages = sum(len(step.send) for steps in made.ranks for step in steps)
        assert processor.query("select count(*) as flows from flow") == [(2 * messages,)]


def test_measured_durations_go_back_to_graph_and_simulation():
    graph = support.chain(4, 2)
    made = compile_plan(support.plan(graph, LOOP, 2), graph)
    durations = measured_durations([timings_of(made)] * 3)
    assert set(durations) == {op["name"] for op in graph["operators"]}
    assert all(value in (0, 500, 1000, 1500, 2000, 3000, 2500, 4000) for value in durations.values())
    again = with_durations(graph, {"s0.F": 77}).to_dict()
    assert next(op for op in again["operators"] if op["name"] == "s0.F")["duration_ns"] == 77
    assert next(op for op in graph["operators"] if op["name"] == "s0.F")["duration_ns"] == 1000


def test_durations_of_joined_operators_are_shared_out_as_planned():
    graph = support.chain(2, 1)
    for op in graph["operators"]:
        op["layer"] = "all"
    plan = support.plan(graph, {"s0": 0, "s1": 0}, 1)
    order = ["s0.F", "s1.F", "s1.I", "s0.I", "s1.W", "s0.W"]
    for task in plan["tasks"]:
        task["start_ns"] = 100 * order.index(task["operator"])
        task["end_ns"] = task["start_ns"] + (10 if task["operator"] == "s0.F" else 30)
    made = compile_plan(plan, graph, "layer")
    forward = next(action for _, action in made.actions() if action.phase == "F")
    assert measured_durations([[ActionTiming(0, forward, 0, 80, 0)]]) == {"s0.F": 20, "s1.F": 60}
