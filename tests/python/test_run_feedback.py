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


# A core that several ranks share is never idle where one of them can always go on: a step takes all processor times.
# Two segments with F, I and W for 3 microbatches are 18 actions of 1000 ns; on two cores and two ranks each has its own.
@pytest.mark.parametrize("bound", [False, True])
def test_ranks_on_one_core_take_turns_and_on_a_core_each_do_not(plan, bound):
    pytest.importorskip("torch", reason="torch is not installed")
    from opweave.run.parallel import Costs, predict, step_ns
    from opweave.run.parallel.program import Compute
    from opweave.run.parallel.timings import cost_key

    program, _ = on_ranks(plan, 1, 0)
    keys = {cost_key(step) for rank in program.ranks for step in rank if isinstance(step, Compute)}
    costs = Costs(busy_ns=dict.fromkeys(keys, (1000,)))
    assert step_ns(predict(program, costs, cores=1, bound=bound)) == 18_000
    alone = step_ns(predict(program, Costs(durations_ns=dict.fromkeys(keys, 1000))))
    assert step_ns(predict(program, costs, cores=2, bound=bound)) == alone
    # The same on average, but unevenly: who is early waits, so that cores are idle and the step is longer.
    uneven = Costs(busy_ns=dict.fromkeys(keys, (0, 2000)))
    longer = step_ns(predict(program, uneven, cores=2, bound=bound, plays=101))
    assert longer > alone
    assert longer == step_ns(predict(program, uneven, cores=2, bound=bound, plays=101))


# Four ranks that compute all the time on two cores: each has half a core, wherever it is. Bound, ranks 0 and 2 share a
# core; once both are done, that core is idle, although ranks 1 and 3 still share the other.
def test_ranks_that_are_bound_leave_their_core_idle():
    pytest.importorskip("torch", reason="torch is not installed")
    from opweave.run.parallel import Costs, Mesh, predict, spread, step_ns
    from opweave.run.parallel.program import Compute
    from opweave.run.parallel.timings import cost_key

    names = [f"s{i}" for i in range(4)]
    content = support.graph({name: [] for name in names}, 1, frozenset(names))
    home = {name: i for i, name in enumerate(names)}
    program = spread(compile_plan(support.plan(content, home, 4), content), Mesh())
    busy = {
        cost_key(step): (1000 if step.action.segment in ("s0", "s2") else 4000,)
        for rank in program.ranks
        for step in rank
        if isinstance(step, Compute)
    }
    costs = Costs(busy_ns=busy)
    # F and B of each: 2000 and 8000 ns. The others' core has 2 x 8000 to do; unbound, the work is 20000 on two cores,
    # of which the last 2 x 6000 need a core each: 4 x 2000 / 2, then 6000.
    assert step_ns(predict(program, costs, cores=2, bound=True)) == 16_000
    assert step_ns(predict(program, costs, cores=2)) == 10_000


@pytest.mark.parametrize("wrong", [{"cores": 0}, {"cores": 1, "plays": 0}])
def test_less_than_one_core_or_play_is_refused(plan, wrong):
    pytest.importorskip("torch", reason="torch is not installed")
    from opweave.run import ProgramError
    from opweave.run.parallel import Costs, predict

    program, _ = on_ranks(plan, 1, 0)
    with pytest.raises(ProgramError, match=r"value is 0, expected an integer from 1"):
        predict(program, Costs(), **wrong)


# Every action lasts 100 ns, 10 of them its sum over the tensor axis, for which the second rank of a pair waits 20 more,
# since the first comes late. Gradients are reduced in 50 ns, 70 on a rank that waits.
def test_parts_of_a_step_leave_out_the_wait_for_others_and_calibrate(plan):
    pytest.importorskip("torch", reason="torch is not installed")
    from opweave.run.parallel import Mesh, Timing, measured_step, spread, step_parts
    from opweave.run.parallel.program import Collective, Compute
    from opweave.run.parallel.within import Within

    program = spread(compile_plan(plan), Mesh(tensor=2, data=2))
    timings = []
    for rank, steps in enumerate(program.ranks):
        now = 0
        for step in steps:
            if isinstance(step, Compute):
                wait = 20 * (rank % 2)
                timings.append(Timing(rank, Within("all_reduce"), now + 80 - wait, now + 85))
                timings.append(Timing(rank, Within("wait_tensor"), now + 85, now + 90))
            length = {Compute: 100, Collective: 50 + 20 * (rank % 4 > 1)}.get(type(step), 0)
            timings.append(Timing(rank, step, now, now + length))
            now += length
    actions = 9  # of a rank: F, I and W of 3 microbatches
    sums = sum(isinstance(step, Collective) and step.kind == "reduce" for step in program.ranks[0])
    parts = step_parts(program, timings)
    assert parts == {"compute": 90 * actions, "tensor": 10 * actions, "data": 50 * sums}
    length = max(t.end_ns for t in timings)
    model = {"hidden": 1024, "vocabulary": 32000, "layers": [{"count": 8, "attention": {"heads": 8, "head_dim": 128},
             "mlp": {"width": 4096}}]}  # fmt: skip
    strategy = {"format": "opweave.strategy", "version": 1, "tensor": 2, "data": 2, "pipeline": 2, "micro_batch": 1}
    entry = measured_step(
        "run", "mine", strategy, model, {"device": "H100"}, {"global_batch": 8, "sequence": 1024},
        [3_000_000, 4_000_000, 9_000_000], program=program, timings=timings,
    )  # fmt: skip
    assert entry["measured_ns"] == 4_000_000
    assert entry["parts_ns"] == {part: time * 4_000_000 // length for part, time in parts.items()}
    calibration = opweave.calibrate([entry])
    assert calibration.profiles[0]["name"] == "mine" and calibration.profiles[0]["steps"] == 1
