"""The Perfetto trace, read by itself and by Perfetto: it gives the plan back, and Perfetto has nothing to complain of."""

import collections
import itertools
import json
import os
import pathlib
import sys
from decimal import Decimal

import pytest
from conftest import ROOT, succeeds

sys.path.append(str(ROOT / "tests/report"))
import trace_processor

needs_perfetto = pytest.mark.skipif(
    trace_processor.what_is_missing() is not None, reason=str(trace_processor.what_is_missing())
)

BUSY = """
select process.name device, thread.name stream, count(*) slices, sum(slice.dur) busy, max(slice.depth) depth
from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid)
group by utid"""
FLOWS = """
select sent.name producer, source.name source, taken.name consumer, destination.name destination
from flow join slice sent on sent.id = slice_out join slice taken on taken.id = slice_in
join thread_track t on sent.track_id = t.id join thread a on a.utid = t.utid join process source on source.upid = a.upid
join thread_track u on taken.track_id = u.id join thread b on b.utid = u.utid
join process destination on destination.upid = b.upid"""
COUNTERS = """
select process.name device, process_counter_track.name counter, max(counter.value) peak
from counter join process_counter_track on counter.track_id = process_counter_track.id join process using (upid)
group by process_counter_track.id"""


def traced(case):
    """Plans and writes a trace; returns the plan and the trace's file."""
    trace = case.folder / "trace.json"
    succeeds("plan", *case.inputs, "--work-limit", 20, "-o", case.plan, "--trace", trace)
    return json.loads(case.plan.read_text()), trace


def nanoseconds(text):
    """Microseconds with three decimals, kept as text so that nothing is rounded."""
    value = Decimal(text) * 1000
    assert value == int(value)
    return int(value)


def spans_of(plan):
    """Start and end of each task, by device and stream."""
    spans = collections.defaultdict(list)
    for task in plan["tasks"]:
        for device, stream in itertools.product(task["devices"], task["streams"]):
            spans[device, stream].append((task["start_ns"], task["end_ns"]))
    return spans


def test_trace_gives_busy_time_flows_and_memory_of_the_plan_back(planned):
    trace_file = planned.folder / "trace.json"
    succeeds("report", *planned.inputs, planned.plan, "-o", planned.folder / "report.html", "--trace", trace_file)
    trace = json.loads(trace_file.read_text(), parse_float=str, parse_int=str)
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    plan = json.loads(planned.plan.read_text())

    processes, threads = {}, {}
    for event in events:
        if event["ph"] == "M" and event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        if event["ph"] == "M" and event["name"] == "thread_name":
            threads[event["pid"], event["tid"]] = event["args"]["name"]

    slices = collections.defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            start = nanoseconds(event["ts"])
            lane = processes[event["pid"]], threads[event["pid"], event["tid"]]
            slices[lane].append((start, start + nanoseconds(event["dur"])))
    expected = spans_of(plan)
    assert {lane: sorted(spans) for lane, spans in slices.items()} == {
        lane: sorted(spans) for lane, spans in expected.items()
    }
    for spans in slices.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "slices of one track overlap"

    # A flow per transfer, each beginning and ending once, forwards in time.
    begins = {e["id"]: nanoseconds(e["ts"]) for e in events if e["ph"] == "s"}
    ends = {e["id"]: nanoseconds(e["ts"]) for e in events if e["ph"] == "f"}
    assert begins.keys() == ends.keys() and len(begins) == len(plan["transfers"])
    assert all(begins[i] <= ends[i] for i in begins)

    for device in plan["statistics"]["devices"]:
        levels = [
            int(Decimal(next(iter(e["args"].values()))))
            for e in events
            if e["ph"] == "C" and e["name"] == "memory" and processes[e["pid"]] == device["device"]
        ]
        assert max(levels) == device["peak_memory_bytes"]


@needs_perfetto
def test_trace_processor_of_perfetto_gives_the_plan_back_and_has_no_complaint(large):
    plan, trace = traced(large)
    graph = json.loads(large.graph.read_text())
    capacity = {device["name"]: device["memory_bytes"] for device in json.loads(large.cluster.read_text())["devices"]}
    producers = {tensor: operator["name"] for operator in graph["operators"] for tensor in operator.get("outputs", [])}
    consumers = collections.defaultdict(set)
    for operator in graph["operators"]:
        for tensor in operator.get("inputs", []):
            consumers[tensor].add(operator["name"])
    with trace_processor.TraceProcessor(trace) as processor:
        assert processor.complaints() == []
        # Slices that overlap on a track would be drawn below each other: depth above 0.
        assert {(device, stream): rest for device, stream, *rest in processor.query(BUSY)} == {
            lane: [len(spans), sum(end - start for start, end in spans), 0] for lane, spans in spans_of(plan).items()
        }
        flows = processor.query(FLOWS)
        assert len(flows) == len(plan["transfers"]) > 0
        assert collections.Counter(
            (producer, source, destination) for producer, source, _, destination in flows
        ) == collections.Counter(
            (f"{producers[t['tensor']]}#{t['microbatch']}", t["source"], t["destination"]) for t in plan["transfers"]
        )
        fed = {
            (f"{producers[t['tensor']]}#{t['microbatch']}", f"{consumer}#{t['microbatch']}")
            for t in plan["transfers"]
            for consumer in consumers[t["tensor"]]
        }
        assert {(producer, consumer) for producer, _, consumer, _ in flows} <= fed
        peaks = {(device, counter): peak for device, counter, peak in processor.query(COUNTERS)}
        assert peaks == {
            **{
                (device["device"], "memory bytes"): device["peak_memory_bytes"]
                for device in plan["statistics"]["devices"]
            },
            **{(device, "memory limit bytes"): limit for device, limit in capacity.items()},
        }


def spoil(trace):
    """Adds a slice without a time and one that overlaps another."""
    content = json.loads(trace.read_text())
    task = next(event for event in content["traceEvents"] if event["ph"] == "X" and event["dur"] > 0)
    timeless = {key: value for key, value in task.items() if key != "ts"}
    content["traceEvents"] += [timeless, {**task, "ts": task["ts"] + task["dur"] / 2}]
    trace.write_text(json.dumps(content))


@needs_perfetto
def test_trace_processor_of_perfetto_complains_about_a_spoiled_trace(planned):
    """So that the test above can fail."""
    _, trace = traced(planned)
    spoil(trace)
    with trace_processor.TraceProcessor(trace) as processor:
        assert len(processor.complaints()) == 2, processor.complaints()


@needs_perfetto
def test_user_interface_of_perfetto_opens_the_trace_without_a_warning(large, tmp_path):
    plan, trace = traced(large)
    devices = [device["device"] for device in plan["statistics"]["devices"]]
    pictures = pathlib.Path(os.environ.get("OPWEAVE_PICTURES", tmp_path))
    shown = [*devices, "compute", "comm", "memory limit"]
    assert trace_processor.warnings_of_ui(trace, shown, pictures / "perfetto.png") == []
    spoil(trace)
    assert trace_processor.warnings_of_ui(trace, shown, pictures / "perfetto-spoiled.png") != []
