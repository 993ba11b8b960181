"""The Perfetto trace, read by itself: its slices give the plan's busy time per stream back."""

import collections
import itertools
import json
from decimal import Decimal

from conftest import succeeds


def nanoseconds(text):
    """Microseconds with three decimals, kept as text so that nothing is rounded."""
    value = Decimal(text) * 1000
    assert value == int(value)
    return int(value)


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
    expected = collections.defaultdict(list)
    for task in plan["tasks"]:
        for device in task["devices"]:
            for stream in task["streams"]:
                expected[device, stream].append((task["start_ns"], task["end_ns"]))
    assert {lane: sorted(spans) for lane, spans in slices.items()} == {lane: sorted(spans) for lane, spans in expected.items()}
    for spans in slices.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "slices of one track overlap"

    # A flow per transfer, each beginning and ending once, forwards in time.
    begins = {e["id"]: nanoseconds(e["ts"]) for e in events if e["ph"] == "s"}
    ends = {e["id"]: nanoseconds(e["ts"]) for e in events if e["ph"] == "f"}
    assert begins.keys() == ends.keys() and len(begins) == len(plan["transfers"])
    assert all(begins[i] <= ends[i] for i in begins)

    for device in plan["statistics"]["devices"]:
        levels = [int(Decimal(next(iter(e["args"].values())))) for e in events
                  if e["ph"] == "C" and e["name"] == "memory" and processes[e["pid"]] == device["device"]]
        assert max(levels) == device["peak_memory_bytes"]
