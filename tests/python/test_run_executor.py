"""Any plan runs on gloo processes in its own order and with the gradients of one process."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import run_modules as blocks  # noqa: E402, I001
import run_support as support  # noqa: E402

import opweave  # noqa: E402

from opweave.run import (  # noqa: E402
    Executor,
    ProgramError,
    compile_plan,
    execute,
    gather_timings,
    launch,
    measured_durations,
)

LOOP = {f"s{i}": i % 4 for i in range(8)}
V = {f"s{i}": min(i, 7 - i) for i in range(8)}
CONSECUTIVE = {f"s{i}": i // 2 for i in range(8)}
IRREGULAR = {"s0": 2, "s1": 0, "s2": 0, "s3": 3, "s4": 2, "s5": 1, "s6": 3, "s7": 2}
BRANCHED = {"image": 0, "text": 1, "image2": 2, "fusion": 3, "decoder": 1, "head": 0}
CROSSED = {"image": 3, "text": 0, "image2": 1, "fusion": 0, "decoder": 2, "head": 3}


def compare(rank, graph, plan, split="graph"):
    """Executes a plan and returns what is wrong, as numbers: gradient error, loss error, orders that differ."""
    program = compile_plan(plan, graph)
    segments = blocks.modules(graph)
    reference = blocks.modules(graph)
    losses = blocks.one_process(graph, reference)
    x, target = blocks.batch(graph["training"]["microbatches"])
    result = Executor(program, segments, split=split).step(x, target, blocks.mse)
    mine = {name: segments[name] for name in program.segments_on(rank)}
    error = blocks.largest_error(mine, reference)
    loss_error = max((abs(loss.item() - losses[b]) for b, loss in result.losses.items()), default=0.0)
    executed = [timing.action.key for timing in result.timings]
    planned = [
        (task["operator"][-1], task["operator"][:-2], task["microbatch"])
        for task in plan["tasks"]
        if task["devices"] == [f"gpu{rank}"] and "microbatch" in task
    ]
    # Tasks of zero duration may share their start; the program breaks such ties along the graph.
    starts = {
        (t["operator"][-1], t["operator"][:-2], t["microbatch"]): t["start_ns"]
        for t in plan["tasks"]
        if "microbatch" in t
    }
    in_order = sorted(executed) == sorted(planned) and all(starts[a] <= starts[b] for a, b in pairwise(executed))
    return error, loss_error, in_order and executed == program.order(rank)


def losses_and_outputs(rank, graph, plan):
    x, target = blocks.batch(graph["training"]["microbatches"])
    result = execute(plan, blocks.modules(graph), x, target, graph=graph)
    return {b: made for on_segment in result.outputs.values() for b, made in on_segment.items()}


def compare_all(rank, cases):
    return [compare(rank, *case) for case in cases]


def run_cases(cases, timeout_s=180):
    results = launch(compare_all, 4, (cases,), timeout_s=timeout_s, start_method="fork")
    for number in range(len(cases)):
        for rank in range(4):
            error, loss_error, in_order = results[rank][number]
            assert error < 1e-5, f"case {number}, rank {rank}: gradient error {error}"
            assert loss_error < 1e-6, f"case {number}, rank {rank}: loss error {loss_error}"
            assert in_order, f"case {number}, rank {rank}: executed order differs"


def test_loop_v_consecutive_and_irregular_placements_give_the_gradients_of_one_process():
    graph = support.chain(8, 4)
    run_cases(
        [(graph, support.plan(graph, where, 4, seed)) for seed, where in enumerate([LOOP, V, CONSECUTIVE, IRREGULAR])]
    )


def test_branches_skips_and_shared_tensors_give_the_gradients_of_one_process():
    graph = support.graph(support.BRANCHES, 3)
    run_cases([(graph, support.plan(graph, where, 4, 5)) for where in (BRANCHED, CROSSED)])


def test_fused_backwards_mix_with_split_ones():
    graph = support.graph(support.BRANCHES, 3, fused=frozenset({"image2", "fusion", "text"}))
    run_cases([(graph, support.plan(graph, CROSSED, 4, 3))])


def test_splitting_by_two_calls_of_autograd_gives_the_same_gradients():
    graph = support.graph(support.BRANCHES, 2)
    run_cases([(graph, support.plan(graph, BRANCHED, 4, 1), "twice")])


def test_twenty_random_plans_of_random_placements_end():
    rng = random.Random(2026)
    cases = []
    for seed in range(20):
        graph = support.chain(6, 3) if seed % 2 else support.graph(support.BRANCHES, 3)
        names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
        cases.append((graph, support.plan(graph, {name: rng.randrange(4) for name in names}, 4, seed)))
    run_cases(cases)


def test_two_homes_per_segment_sum_their_gradients():
    # Two-way: microbatches 0, 1 run down the ranks, microbatches 2, 3 up.
    graph = support.chain(4, 4)
    graph["training"]["replicas"] = 2
    run_cases([(graph, support.plan(graph, {f"s{i}": [i, 3 - i] for i in range(4)}, 4, 2))])


@pytest.mark.parametrize("replicas", [1, 2])
def test_optimizers_step_where_the_plan_says(replicas):
    graph = support.chain(4, 2)
    graph["training"]["replicas"] = replicas
    for op in [op for op in graph["operators"] if op["phase"] == "W"]:
        graph["operators"].append({"name": op["name"][:-1] + "O", "phase": "O", "after": [op["name"]]})
    plan = support.plan(graph, {f"s{i}": [i, 3 - i] for i in range(4)}, 4)
    for before, after, gradient, right in launch(train_one_step, 4, (graph, plan), timeout_s=180, start_method="fork"):
        torch.testing.assert_close(gradient, right)
        # Plain gradient descent with rate 0.5.
        torch.testing.assert_close(after, before - 0.5 * gradient)


def train_one_step(rank, graph, plan):
    segments = blocks.modules(graph)
    weight = segments[f"s{rank}"].up.weight
    before = weight.detach().clone()
    optimizers = {name: torch.optim.SGD(module.parameters(), lr=0.5) for name, module in segments.items()}
    x, target = blocks.batch(2)
    execute(plan, segments, x, target, blocks.mse, graph=graph, optimizers=optimizers)
    reference = blocks.modules(graph)
    blocks.one_process(graph, reference)
    return before, weight.detach().clone(), weight.grad.clone(), reference[f"s{rank}"].up.weight.grad


def test_gradients_of_several_steps_add_up_also_between_homes():
    graph = support.chain(4, 4)
    graph["training"]["replicas"] = 2
    plan = support.plan(graph, {f"s{i}": [i, 3 - i] for i in range(4)}, 4, 2)
    for error in launch(two_steps, 4, (graph, plan), timeout_s=180, start_method="fork"):
        assert error < 1e-5


def test_a_plan_runs_on_a_part_of_the_processes():
    graph = support.chain(4, 4)
    graph["training"]["replicas"] = 2
    plan = support.plan(graph, {f"s{i}": [i % 2, 1 - i % 2] for i in range(4)}, 2)
    results = launch(on_the_last_two, 3, (graph, plan), timeout_s=180, start_method="fork")
    assert results[0] is None
    assert max(results[1:]) < 1e-5


def on_the_last_two(rank, graph, plan):
    group = torch.distributed.new_group([1, 2])
    if rank == 0:
        return None
    program = compile_plan(plan, graph)
    segments, reference = blocks.modules(graph), blocks.modules(graph)
    x, target = blocks.batch(4)
    Executor(program, segments, group=group).step(x, target, blocks.mse)
    blocks.one_process(graph, reference)
    return blocks.largest_error({name: segments[name] for name in program.segments_on(rank - 1)}, reference)


def two_steps(rank, graph, plan):
    program = compile_plan(plan, graph)
    segments, reference = blocks.modules(graph), blocks.modules(graph)
    x, target = blocks.batch(4)
    executor = Executor(program, segments)
    for _ in range(2):
        executor.step(x, target, blocks.mse)
        blocks.one_process(graph, reference)
    return blocks.largest_error({name: segments[name] for name in program.segments_on(rank)}, reference)


def test_plans_without_a_backward_return_the_outputs():
    graph = support.graph(support.BRANCHES, 2)
    graph["operators"] = [op for op in graph["operators"] if op["phase"] == "F"]
    plan = support.plan(graph, BRANCHED, 4)
    results = launch(losses_and_outputs, 4, (graph, plan), timeout_s=180, start_method="fork")
    segments = blocks.modules(graph)
    x, _ = blocks.batch(2)
    for b, xb in enumerate(x.chunk(2)):
        with torch.no_grad():
            image, image_again = segments["image"](xb)
            text = segments["text"](xb)
            fused = segments["fusion"](segments["image2"](image), text)
            head = segments["head"](segments["decoder"](fused, image_again), text)
        torch.testing.assert_close(results[BRANCHED["head"]][b], head)


class Routed(torch.nn.Module):
    """Passes an integer tensor beside a float one, and leaves one of its inputs without a gradient."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = torch.nn.Linear(blocks.WIDTH, blocks.WIDTH)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, unused=None):
        self.calls += 1
        y = self.linear(x)
        return y, y.argmax(-1)


class Gather(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(blocks.WIDTH))

    def forward(self, y, index):
        return y.gather(-1, index.unsqueeze(-1)) * self.scale


def test_integers_and_unused_inputs_pass_between_ranks():
    edges = {"a": [], "b": ["a:0", "a:1"], "c": ["b:0", "b:1"]}
    graph = support.graph(edges, 2)
    plan = support.plan(graph, {"a": 0, "b": 1, "c": 2}, 3, 4)
    for error, calls in launch(routed, 3, (graph, plan), timeout_s=180, start_method="fork"):
        assert error < 1e-5
        assert calls in (0, 2)  # once per microbatch: finding out the shapes leaves no trace


def routed(rank, graph, plan):
    segments, reference = ({"a": Routed(0), "b": Routed(1), "c": Gather()} for _ in range(2))
    x, target = blocks.batch(2)
    execute(plan, segments, x, target, blocks.mse, graph=graph)
    blocks.one_process(graph, reference)
    mine = {name: segments[name] for name in "abc"[rank]}
    return blocks.largest_error(mine, reference), getattr(segments["abc"[rank]], "calls", torch.tensor(0)).item()


def test_weight_gradients_away_from_the_way_of_the_input_are_not_lost():
    # A segment with an output that depends on a parameter alone: no input gradient passes there.
    edges = {"a": [], "b": ["a:0"], "c": ["b:0", "b:1"]}
    graph = support.graph(edges, 2)
    plan = support.plan(graph, {"a": 0, "b": 1, "c": 2}, 3)
    assert max(launch(with_bias, 3, (graph, plan), timeout_s=180, start_method="fork")) < 1e-5


class WithBias(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(blocks.WIDTH, blocks.WIDTH)
        self.bias = torch.nn.Parameter(torch.full((blocks.WIDTH,), 0.5))

    def forward(self, x):
        return self.linear(x), self.bias.exp()


def with_bias(rank, graph, plan):
    torch.manual_seed(3)
    module = WithBias()
    segments = {"a": blocks.Block(0), "b": module, "c": blocks.Block(2)}
    torch.manual_seed(3)
    reference = {"a": blocks.Block(0), "b": WithBias(), "c": blocks.Block(2)}
    reference["b"].load_state_dict(module.state_dict())
    x, target = blocks.batch(2)
    execute(plan, segments, x, target, blocks.mse, graph=graph)
    blocks.one_process(graph, reference)
    return blocks.largest_error({"abc"[rank]: segments["abc"[rank]]}, reference)


def test_timings_cover_every_action_and_follow_the_data():
    graph = support.chain(4, 3)
    plan = support.plan(graph, {f"s{i}": i for i in range(4)}, 4, 1)
    everywhere = launch(timed, 4, (graph, plan), timeout_s=180, start_method="fork")
    assert everywhere[0] == everywhere[3]
    ends = {key: end for key, _, end in everywhere[0]}
    starts = {key: start for key, start, _ in everywhere[0]}
    assert len(starts) == 4 * 3 * 3
    for b in range(3):
        for i in range(3):
            # One clock for all ranks of a machine; a receiver cannot run before the sender began to send.
            assert starts["F", f"s{i + 1}", b] > starts["F", f"s{i}", b]
            assert ends["I", f"s{i}", b] > starts["I", f"s{i + 1}", b]


def timed(rank, graph, plan):
    x, target = blocks.batch(3)
    result = execute(plan, blocks.modules(graph), x, target, blocks.mse, graph=graph)
    return [(t.action.key, t.start_ns, t.end_ns) for t in gather_timings(result)]


class Filter(torch.nn.Module):
    """Keeps the rows that belong to an expert which gets none: tensors without elements travel, too."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = torch.nn.Linear(blocks.WIDTH, blocks.WIDTH)

    def forward(self, x):
        return self.linear(x)[:0], self.linear(x)


def test_tensors_without_elements_pass_between_ranks():
    graph = support.graph({"a": [], "b": ["a:0"], "c": ["a:1", "b"]}, 2)
    plan = support.plan(graph, {"a": 0, "b": 1, "c": 2}, 3)
    assert max(launch(with_filter, 3, (graph, plan), timeout_s=180, start_method="fork")) < 1e-5


class AddSum(blocks.Block):
    def forward(self, x, empty):
        return super().forward(x) + empty.sum()


def with_filter(rank, graph, plan):
    segments, reference = ({"a": Filter(0), "b": blocks.Block(1), "c": AddSum(2)} for _ in range(2))
    x, target = blocks.batch(2)
    execute(plan, segments, x, target, blocks.mse, graph=graph)
    blocks.one_process(graph, reference)
    return blocks.largest_error({"abc"[rank]: segments["abc"[rank]]}, reference)


def mistakes(rank):
    """What the executor says to wrong use, in one process."""
    graph = support.chain(2, 2)
    program = compile_plan(support.plan(graph, {"s0": 0, "s1": 0}, 1), graph)
    modules = blocks.modules(graph)
    x, target = blocks.batch(2)
    executor = Executor(program, modules)
    two_ranks = compile_plan(support.plan(graph, {"s0": 0, "s1": 1}, 2), graph)
    forward_only = {**graph, "operators": [op for op in graph["operators"] if op["name"] != "s0.W"]}
    without_w = compile_plan(support.plan(forward_only, {"s0": 0, "s1": 0}, 1), forward_only)
    three = {"s0": blocks.Block(0, 3), "s1": blocks.Block(1)}
    calls = [
        lambda: Executor(two_ranks, modules),
        lambda: Executor(program, {"s0": modules["s0"]}),
        lambda: Executor(without_w, modules),
        lambda: executor.step({"y": x}, target, blocks.mse),
        lambda: executor.step({}, target, blocks.mse),
        lambda: executor.step(x[:3], target, blocks.mse),
        lambda: executor.step([x], target, blocks.mse),
        lambda: executor.step(x, target),
        lambda: Executor(program, three).step(x, target, blocks.mse),
        lambda: (executor.step(x, target, blocks.mse), executor.step(x[:2], target[:2], blocks.mse)),
    ]
    said = []
    for call in calls:
        with pytest.raises(ProgramError) as error:
            call()
        said.append(str(error.value))
    return said


def test_wrong_use_is_refused_with_what_was_expected():
    expected = [
        "group has 1 processes, the plan has 2 devices",
        "rank 0 has no module for segment 's1'",
        "segment 's0' has parameters that require gradients, but the plan has no W or B for it",
        "no segment takes input 'y', expected 'x'",
        "segment 's0' needs input 'x'",
        "inputs of 'x': first dimension is 3, expected a multiple of 2 microbatches",
        "inputs of 'x': 1 entries, expected one for each of 2 microbatches",
        "nothing consumes segment 's1', expected a loss function for it",
        "segment 's0' returned 3 outputs, expected 1 tensors: s0:0",
        'tensor "s0:0" of microbatch',
    ]
    for said, start in zip(launch(mistakes, 1, timeout_s=180, start_method="fork")[0], expected, strict=True):
        assert said.startswith(start), said


class Slow(torch.nn.Module):
    """Takes a stated time forward, for the gradient of its input and for that of its weight."""

    class Wait(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            time.sleep(0.005)
            return gradient

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        time.sleep(0.005)
        return Slow.Wait.apply(x) * Slow.Wait.apply(self.weight)


def slow_step(rank, graph, plan):
    segments = {f"s{i}": Slow() for i in range(4)}
    x, target = blocks.batch(3)
    executor = Executor(compile_plan(plan, graph), segments)
    executor.step(x, target, blocks.mse)
    return gather_timings(executor.step(x, target, blocks.mse))


def test_measured_times_contain_what_the_modules_took_and_predict_the_step():
    graph = support.chain(4, 3)
    cluster = opweave.Cluster.uniform(4, streams=("compute",))
    for op in graph["operators"]:
        op["devices"] = [f"gpu{op['stage']}"]
    plan = opweave.plan(opweave.Graph.from_dict(graph), cluster, work_limit=20, threads=1, progress=False)
    timings = launch(slow_step, 4, (graph, plan.to_json()), timeout_s=180, start_method="fork")[0]
    durations = measured_durations([timings])
    # Sleeping takes at least its time; only I of the first stage has nothing to do.
    assert all(ns >= 5_000_000 for name, ns in durations.items() if name != "s0.I")
    step = max(t.end_ns for t in timings) - min(t.start_ns for t in timings)
    # A message leaves before the end of its action, whose rank may then lose its core: its receiver begins early.
    at = {t.action.key: t for t in timings}
    flows = [(("F", f"s{i}", b), ("F", f"s{i + 1}", b)) for i in range(3) for b in range(3)]
    flows += [(("I", f"s{i + 1}", b), ("I", f"s{i}", b)) for i in range(3) for b in range(3)]
    early = sum(max(0, at[sender].end_ns - at[receiver].start_ns) for sender, receiver in flows)
    # The simulated step is no longer than the real one if every task takes at most its measured time.
    shortest = {f"{t.action.operators[0]}#{t.action.microbatch}": t.end_ns - t.start_ns for t in timings}
    assert opweave.simulate(plan, durations=shortest).makespan_ns <= step + early
