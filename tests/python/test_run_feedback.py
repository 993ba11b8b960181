"""What a run found goes back to graph and cluster by one call."""

import opweave
import pytest
import run_support as support
from opweave.run import ActionTiming, compile_plan, feed_back


@pytest.fixture
def plan():
    """Two segments on two devices, 100 ns apart, 3 microbatches."""
    content = support.graph({"s0": [], "s1": ["s0"]}, 3)
    for op in content["operators"]:
        op["devices"] = [f"gpu{op['stage']}"]
    cluster = opweave.Cluster.uniform(2, latency_ns=100, streams=("compute",))
    return opweave.plan(opweave.Graph.from_dict(content), cluster, work_limit=50, threads=1)


def run(plan, factor, overhead=0):
    """Timings of a run in which operators take *factor* times as long as planned, and messages as well; a wait is
    what lies between two actions of a rank, and before each *overhead*."""
    timings = []
    free = {}
    for rank, action in sorted(compile_plan(plan).actions(), key=lambda entry: entry[1].start_ns):
        start, end = factor * action.start_ns, factor * action.end_ns - overhead
        timings.append(ActionTiming(rank, action, start, end, start - free.get(rank, start - overhead)))
        free[rank] = end
    return timings


# 3 times as long: operators of 1000 ns take 3000, and a message of 100 ns takes 300.
def test_times_and_latency_are_those_of_the_run(plan):
    graph, cluster = feed_back(plan, run(plan, 3))
    assert {op["duration_ns"] for op in graph.operators} == {3000}
    assert cluster.transfer_time_ns(0, "gpu0", "gpu1") == 300
    assert graph.times_from == "measured in a run"
    assert opweave.plan(graph, cluster, work_limit=50, threads=1).makespan_ns == 3 * plan.makespan_ns


# 40 of 1000 ns before every action are no work of an operator, but no other can use them: the time stays 1000.
def test_what_lies_between_actions_is_part_of_their_time(plan):
    graph, _ = feed_back(plan, run(plan, 1, overhead=40))
    assert {op["duration_ns"] for op in graph.operators} == {1000}


def test_the_first_of_several_steps_warms_up(plan):
    graph, _ = feed_back(plan, [run(plan, 50), run(plan, 2), run(plan, 2)])
    assert {op["duration_ns"] for op in graph.operators} == {2000}


def test_timings_that_are_not_all_are_refused(plan):
    timings = run(plan, 1)
    with pytest.raises(opweave.InputError, match=r'operator "s0\.F" was not measured'):
        feed_back(plan, [timing for timing in timings if timing.rank == 1])
    for nothing in ([], [[]]):
        with pytest.raises(opweave.InputError, match="timings: no actions"):
            feed_back(plan, nothing)


def on_ranks(plan, factor, copy_ns):
    """The program of the plan on one rank per device, and a step in which an action lasts *factor* times as long as
    planned, a copy *copy_ns* and all else nothing."""
    from opweave.run.parallel import Mesh, Timing, predict, spread
    from opweave.run.parallel.program import Communicate, Compute, Copy
    from opweave.run.parallel.timings import Costs, cost_key

    program = spread(compile_plan(plan), Mesh())
    steps = {step for rank in program.ranks for step in rank}
    durations = {cost_key(step): copy_ns for step in steps if isinstance(step, Copy)}
    durations |= {
        cost_key(step): factor * (step.action.end_ns - step.action.start_ns)
        for step in steps
        if isinstance(step, Compute) and step.kind == "run"
    }
    durations |= {cost_key(step): 300 for step in steps if isinstance(step, Communicate) and step.kind == "receive"}
    timings = predict(program, Costs(durations))
    assert all(isinstance(timing, Timing) for timing in timings)
    return program, timings


# Twice as long; a copy of 2000 bytes in 10 ns of latency and 1000 ns is 2 bytes per ns.
def test_times_of_ranks_and_the_bandwidth_of_their_copies_go_back():
    pytest.importorskip("torch", reason="torch is not installed")
    from opweave.run import parallel

    content = support.graph({"s0": [], "s1": ["s0"]}, 4)
    for op in content["operators"]:
        op["devices"] = [f"gpu{op['stage']}"]
        op.setdefault("outputs" if op["phase"] == "F" else "inputs", []).append(f"{op['layer']}.saved")
    content["tensors"] += [{"name": f"s{i}.saved", "bytes": 2000, "memory_modes": ["host"]} for i in range(2)]
    link = {"latency_ns": 10, "bandwidth_bytes_per_s": 10**10}
    devices = [{"name": f"gpu{i}", "type": "gpu", "memory_bytes": 2700} for i in range(2)]
    cluster = opweave.Cluster.from_dict(
        {"device_types": [{"name": "gpu", "host_link": link}], "devices": devices, "default_link": link}
    )
    plan = opweave.plan(opweave.Graph.from_dict(content), cluster, work_limit=20, threads=1, progress=False)
    assert {mode["mode"] for mode in plan.to_dict()["memory_modes"]} == {"host"}
    program, timings = on_ranks(plan, 2, 1010)
    graph, found = parallel.feed_back(plan, program, [timings])
    assert {op["duration_ns"] for op in graph.operators} == {2000}
    assert found.to_dict()["device_types"][0]["host_link"] == {"latency_ns": 10, "bandwidth_bytes_per_s": 2 * 10**9}
