"""`on=`: what workers find is what this process finds. The workers are those of the program of the same build."""

import importlib.util
import pathlib

import opweave
import pytest

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "examples/strategies/llama3-8b.json"
STEP = {"global_batch": 64, "sequence": 4096}


def test_a_sweep_on_processes_is_that_of_threads():
    question = (CONFIG, ["h100", "a100"])
    lists = {"nodes": [1, 2], "global_batch": [3, 64], "sequence": 4096}
    alone = opweave.sweep(*question, **lists)
    shared = opweave.sweep(*question, **lists, on="processes", workers=2)
    assert len(alone) == 8 and shared == alone and shared.journal == alone.journal


def test_strategies_of_processes_are_those_of_one_process():
    alone = opweave.parallelize(CONFIG, "h100", nodes=2, **STEP)
    shared = opweave.parallelize(CONFIG, "h100", nodes=2, **STEP, on="processes", workers=2)
    assert list(shared) == list(alone) and len(alone) == 10
    assert shared.bound_ns == alone.bound_ns and shared.is_whole_space


def test_a_plan_under_a_work_limit_is_the_best_of_its_seeds_whatever_the_workers(small):
    # Two of the four turns: every method, then searches without a solver.
    alone = [opweave.plan(*small, work_limit=100, seed=seed, threads=1, method=method)
             for seed, method in ((7, "auto"), (8, "heuristic"))]  # fmt: skip
    for workers in (1, 2):
        shared = opweave.plan(*small, work_limit=100, seed=7, on="processes", workers=workers, searches=2)
        assert shared.makespan_ns == min(plan.makespan_ns for plan in alone) and shared.check() == []


def test_progress_of_workers_is_seen_and_what_it_raises_ends_them(large):
    class EnoughError(Exception):
        pass

    def look(state):
        if state.makespan_ns is not None:
            raise EnoughError

    with pytest.raises(EnoughError):
        opweave.plan(*large, time_limit=60, on="processes", workers=1, on_progress=look)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "moon"}, 'on: value is "moon", expected processes, ray or ray://HOST:PORT'),
        ({"on": 2}, "on: value is 2, expected a text"),
        ({"on": "processes", "workers": 0}, "workers: value is 0, expected an integer from 1"),
        ({"on": "processes", "workers": 100_001}, "workers: value is 100001, expected an integer from 1 to 100000"),
    ],
)
def test_a_wrong_place_gets_one_line(small, arguments, message):
    calls = (
        lambda: opweave.plan(*small, **arguments),
        lambda: opweave.parallelize(CONFIG, "h100", **STEP, **arguments),
        lambda: opweave.sweep(CONFIG, "h100", **STEP, **arguments),
    )
    for call in calls:
        with pytest.raises(opweave.InputError) as error:
            call()
        assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_what_workers_do_not_share_is_refused(small):
    for arguments in ({"objectives": "devices"}, {"deadline_ns": 10**9}):
        with pytest.raises(opweave.InputError, match="on: workers share the makespan alone"):
            opweave.plan(*small, on="processes", **arguments)
    graph = small[0].to_dict()
    made_forward = {name for one in graph["operators"] if one["phase"] == "F" for name in one.get("outputs", [])}
    next(one for one in graph["tensors"] if one["name"] in made_forward)["memory_modes"] = ["drop"]
    with pytest.raises(opweave.InputError, match="memory modes: workers know none"):
        opweave.plan(opweave.Graph.from_dict(graph), small[1], on="processes")


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/program"])
def test_workers_that_do_not_start_are_an_input_error(monkeypatch, program):
    monkeypatch.setenv("OPWEAVE_WORKER", program)
    with pytest.raises(opweave.InputError, match=r"no worker starts|cannot be started"):
        opweave.sweep(CONFIG, "h100", **STEP, on="processes", workers=1)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    if importlib.util.find_spec("ray"):
        pytest.skip("Ray is installed here")
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(opweave.__file__).parents[1]))
    with pytest.raises(opweave.InputError) as error:
        opweave.sweep(CONFIG, "h100", **STEP, on="ray")
    assert str(error.value) == 'on: Ray is not installed: pip install "opweave[ray]"'
