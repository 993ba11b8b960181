"""From plan to program: what is refused, and what every program guarantees. Needs no torch process."""

from __future__ import annotations

import copy
import dataclasses
import random

import opweave
import pytest
import run_support as support
from opweave.run import ProgramError, compile_plan, runnable_graph
from opweave.run.checker import check_program

LINE = {f"s{i}": i for i in range(3)}


def case(microbatches=2):
    graph = support.chain(3, microbatches)
    return graph, support.plan(graph, LINE, 3)


def refused(plan, graph, text, **options):
    with pytest.raises(ProgramError) as error:
        compile_plan(plan, graph, **options)
    assert text in str(error.value)


def test_receives_are_posted_while_the_action_runs_during_which_the_plan_sends():
    # s0 on gpu0 ends F#0 at 10, while gpu1 runs F of the other branch from 5 to 20: the receive is posted before that.
    graph = support.graph({"a": [], "b": [], "c": ["a", "b"]}, 1)
    graph["operators"] = [op for op in graph["operators"] if op["phase"] == "F"]
    times = {"a.F": ("gpu0", 0, 10), "b.F": ("gpu1", 5, 20), "c.F": ("gpu1", 20, 30)}
    plan = support.plan(graph, {"a": 0, "b": 1, "c": 1}, 2)
    for task in plan["tasks"]:
        device, task["start_ns"], task["end_ns"] = times[task["operator"]]
        assert task["devices"] == [device]
    program = compile_plan(plan, graph)
    assert [[str(m) for m in step.post] for step in program.ranks[1]] == [["a:0, microbatch 0"], []]
    assert [[str(m) for m in step.receive] for step in program.ranks[1]] == [[], ["a:0, microbatch 0"]]


def test_sends_are_released_when_their_effect_has_come_back():
    graph, plan = case(1)
    first = compile_plan(plan, graph).ranks[0]
    assert [str(step.action) for step in first] == ["s0.F#0", "s0.I#0", "s0.W#0"]
    # The gradient of s0's output proves that s1 has had it.
    assert [len(step.release) for step in first] == [0, 1, 0]


def test_tensors_go_once_to_every_rank_however_many_consumers_are_there():
    graph = support.graph({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}, 1)
    program = compile_plan(support.plan(graph, {"a": 0, "b": 1, "c": 1, "d": 1}, 2), graph)
    sent = [str(message) for step in program.ranks[0] for message in step.send]
    assert sent == ["a:0, microbatch 0"]
    back = [str(message) for step in program.ranks[1] for message in step.send]
    assert sorted(back) == ["gradient of a:0 from b, microbatch 0", "gradient of a:0 from c, microbatch 0"]


def test_operators_of_a_layer_become_one_action_and_mixed_backwards_one_backward():
    graph = support.chain(2, 1)
    layers = {"s0": "first", "s1": "first"}
    for op in graph["operators"]:
        op["layer"] = layers[op["name"][:-2]]
    plan = support.plan(graph, {"s0": 0, "s1": 0}, 1)
    start = {name: i for i, name in enumerate(["s0.F", "s1.F", "s1.I", "s1.W", "s0.I", "s0.W"])}
    for task in plan["tasks"]:
        task["start_ns"], task["end_ns"] = start[task["operator"]], start[task["operator"]] + 1
    program = compile_plan(plan, graph, "layer")
    assert program.order(0) == [("F", "first", 0), ("B", "first", 0)]
    start["s1.W"], start["s0.I"] = 4, 3
    for task in plan["tasks"]:
        task["start_ns"], task["end_ns"] = start[task["operator"]], start[task["operator"]] + 1
    assert compile_plan(plan, graph, "layer").order(0) == [("F", "first", 0), ("I", "first", 0), ("W", "first", 0)]


def test_segments_whose_operators_are_torn_apart_are_refused():
    graph = support.chain(2, 2)
    for op in graph["operators"]:
        op["layer"] = "all"
    plan = support.plan(graph, {"s0": 0, "s1": 0}, 1)
    for task in plan["tasks"]:  # all of microbatch 0 and 1 in turn
        position = ["s0.F", "s1.F", "s1.I", "s0.I", "s1.W", "s0.W"].index(task["operator"])
        task["start_ns"] = task["end_ns"] = 2 * position + task["microbatch"]
    refused(
        plan,
        graph,
        'operators of segment "all" for microbatch 0 do not follow each other on device gpu0',
        segments="layer",
    )


def test_plans_that_do_not_fit_their_graph_are_refused():
    graph, plan = case()
    missing = {**plan, "tasks": [t for t in plan["tasks"] if (t["operator"], t["microbatch"]) != ("s1.W", 1)]}
    refused(missing, graph, 'operator "s1.W" does not run for microbatch 1')
    twice = {**plan, "tasks": [*plan["tasks"], plan["tasks"][0]]}
    refused(twice, graph, "runs twice for microbatch")
    gang = copy.deepcopy(plan)
    gang["tasks"][0]["devices"] = ["gpu0", "gpu1"]
    refused(gang, graph, "runs on 2 devices, expected 1")
    refused({"format": "opweave.graph"}, graph, "format is 'opweave.graph', expected \"opweave.plan\"")


def test_a_backward_away_from_its_forward_is_refused():
    graph, plan = case()
    for task in plan["tasks"]:
        if task["operator"] == "s1.W":
            task["devices"] = ["gpu0"]
    refused(plan, graph, 'segment "s1", microbatch 0: F runs on gpu1, W on gpu0, expected the same device')


def test_orders_that_wait_in_a_circle_are_refused_and_the_place_is_named():
    # gpu0 runs d before a, gpu1 b before c; but b needs a, and d needs c.
    graph = support.graph({"a": [], "b": ["a"], "c": [], "d": ["c"]}, 1)
    graph["operators"] = [op for op in graph["operators"] if op["phase"] == "F"]
    plan = support.plan(graph, {"a": 0, "b": 1, "c": 1, "d": 0}, 2)
    for task in plan["tasks"]:
        task["start_ns"] = task["end_ns"] = {"d.F": 0, "b.F": 0, "a.F": 1, "c.F": 1}[task["operator"]]
    refused(plan, graph, "the order cannot run, devices wait for each other: gpu0 at d.F#0, gpu1 at b.F#0")


def test_phases_of_a_segment_out_of_order_are_refused():
    graph, plan = case(1)
    for task in plan["tasks"]:
        if task["operator"] == "s1.F":
            task["start_ns"] = task["end_ns"] = 10**6
    refused(plan, graph, 'segment "s1", microbatch 0: I comes before F on gpu1, expected after it')


def test_programs_of_random_plans_pass_the_independent_check():
    rng = random.Random(1)
    for seed in range(30):
        graph = support.graph(support.BRANCHES, 4)
        names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
        program = compile_plan(support.plan(graph, {n: rng.randrange(5) for n in names}, 5, seed), graph)
        check_program(program)  # compile_plan did it, too; here for the spoiled copies below
        assert sum(1 for _ in program.actions()) == 3 * len(names) * 4


def spoiled(change):
    graph, plan = case()
    program = compile_plan(plan, graph)
    ranks = copy.deepcopy(program.ranks)
    change(ranks)
    with pytest.raises(ProgramError) as error:
        check_program(dataclasses.replace(program, ranks=ranks))
    return str(error.value)


def first_with(steps, what):
    return next(step for step in steps if getattr(step, what))


def test_the_check_finds_missing_late_crossed_and_unmatched_messages():
    assert "do not post the same messages" in spoiled(lambda ranks: first_with(ranks[0], "send").send.clear())
    assert "do not post the same messages" in spoiled(lambda ranks: first_with(ranks[1], "post").post.clear())
    assert "needs s0:0, which is not there" in spoiled(lambda ranks: first_with(ranks[1], "receive").receive.clear())

    def crossed(ranks):
        posts = [step for step in ranks[1] if step.post]
        posts[0].post, posts[1].post = posts[1].post, posts[0].post

    assert "same order" in spoiled(crossed)

    def early_backward(ranks):
        forward, backward = ranks[2][0], first_with(ranks[2], "send")
        assert (forward.action.phase, backward.action.phase) == ("F", "I")
        forward.action, backward.action = backward.action, forward.action

    assert "comes before its forward" in spoiled(early_backward)


def test_the_check_names_the_circle_in_which_messages_wait_though_every_pair_of_ranks_agrees():
    # a sends to b and c, b to c: rank 0 names c first, rank 1 takes from a first, rank 2 from b first.
    graph = support.graph({"a": [], "b": ["a"], "c": ["a", "b"]}, 1)
    program = compile_plan(support.plan(graph, {"a": 0, "b": 1, "c": 2}, 3), graph)
    ranks = copy.deepcopy(program.ranks)
    assert [str(m) for m in ranks[2][0].post] == ["a:0, microbatch 0", "b:0, microbatch 0"]
    ranks[0][0].send.reverse()
    ranks[2][0].post.reverse()
    with pytest.raises(ProgramError) as error:
        check_program(dataclasses.replace(program, ranks=ranks))
    assert str(error.value) == (
        "messages wait in a circle where a send ends with its receive: rank 0 at a:0, microbatch 0, "
        "rank 2 at b:0, microbatch 0, rank 1 at a:0, microbatch 0"
    )


def test_runnable_graphs_keep_segments_together_and_their_phases_in_order():
    graph = support.chain(3, 1)
    for op in graph["operators"]:
        del op["colocation"], op["parameters"]
        op["after"] = []
    graph["operators"][0]["colocation"] = "pair"  # s0.F with s1.F, so that both segments go together
    graph["operators"][1]["colocation"] = "pair"
    operators = {op["name"]: op for op in runnable_graph(graph).to_dict()["operators"]}
    labels = {name: op["colocation"] for name, op in operators.items()}
    assert len({labels[f"s{i}.{phase}"] for i in (0, 1) for phase in "FIW"}) == 1
    assert len({labels[f"s2.{phase}"] for phase in "FIW"} - {labels["s0.F"]}) == 1
    # The last stage's I takes no tensor of its F, or of anything else.
    assert operators["s2.I"]["after"] == ["s2.F"]
    assert operators["s2.W"]["after"] == ["s2.F", "s2.I"]


def test_plans_of_runnable_graphs_can_be_compiled_where_plans_of_others_cannot():
    # Nothing needs the result of the loss, so that its backward may come first; W of a linear layer needs no I.
    content = {
        "name": "loose",
        "training": {"microbatches": 2},
        "tensors": [{"name": name, "bytes": 4} for name in ("y", "dy")],
        "operators": [
            {"name": "layer.F", "phase": "F", "duration_ns": 10, "outputs": ["y"]},
            {"name": "loss.F", "phase": "F", "duration_ns": 50, "inputs": ["y"]},
            {"name": "loss.I", "phase": "I", "duration_ns": 10, "inputs": ["y"], "outputs": ["dy"]},
            {"name": "layer.I", "phase": "I", "duration_ns": 50, "inputs": ["dy"]},
            {"name": "layer.W", "phase": "W", "duration_ns": 10, "inputs": ["dy"]},
        ],
    }
    graph, cluster = opweave.Graph.from_dict(content), opweave.Cluster.uniform(2)
    plan = opweave.plan(runnable_graph(graph), cluster, work_limit=50, threads=1, progress=False)
    assert sum(1 for _ in compile_plan(plan).actions()) == 5 * 2
    loose = opweave.plan(graph, cluster, work_limit=50, threads=1, progress=False)
    with pytest.raises(ProgramError) as error:
        compile_plan(loose)
    assert "hint: plan runnable_graph(graph)" in str(error.value)


def test_no_send_is_released_before_its_receiver_has_run():
    # Happens-before by search over program order and messages, unlike the vector clocks of the compiler.
    graph = support.graph(support.BRANCHES, 3)
    names = [op["name"][:-2] for op in graph["operators"] if op["phase"] == "F"]
    released = 0
    for seed in range(5):
        rng = random.Random(seed)
        program = compile_plan(support.plan(graph, {n: rng.randrange(3) for n in names}, 3, seed), graph)
        before = {}  # every step: the step before it on its rank, and those whose messages it has received
        sender = {m: (rank, i) for rank, steps in enumerate(program.ranks) for i, s in enumerate(steps) for m in s.send}
        receiver = {
            m: (rank, i) for rank, steps in enumerate(program.ranks) for i, s in enumerate(steps) for m in s.receive
        }
        for rank, steps in enumerate(program.ranks):
            for i, step in enumerate(steps):
                before[rank, i] = ([(rank, i - 1)] if i else []) + [sender[m] for m in step.receive]
        for rank, steps in enumerate(program.ranks):
            for i, step in enumerate(steps):
                past, todo = set(), [(rank, i)]
                while todo:
                    place = todo.pop()
                    if place not in past:
                        past.add(place)
                        todo += before[place]
                for message in step.release:
                    assert receiver[message] in past
                    assert sender[message] in past
                    released += 1
    assert released > 100
