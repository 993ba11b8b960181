"""Processes that fail, die or hang end the run with one clear error, and none is left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import run_modules as blocks  # noqa: E402, I001
import run_support as support  # noqa: E402

from opweave.run import Executor, LaunchError, compile_plan, launch, launcher  # noqa: E402


def chain_plan():
    graph = support.chain(4, 3)
    return graph, support.plan(graph, {f"s{i}": i for i in range(4)}, 4)


def steps(rank, graph, plan, dies, how):
    x, target = blocks.batch(3)
    executor = Executor(compile_plan(plan, graph), blocks.modules(graph))
    for number in range(1000):
        if rank == dies and number == 2:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "raise":
                raise ValueError("no such token: 17")
            time.sleep(3600)
        executor.step(x, target, blocks.mse)


def failure(how, timeout_s, tmp_path):
    began = time.monotonic()
    with pytest.raises(LaunchError) as error:
        launch(steps, 4, (*chain_plan(), 2, how), timeout_s=timeout_s, start_method="fork", log_dir=tmp_path)
    assert not multiprocessing.active_children()
    return str(error.value), time.monotonic() - began


def test_a_killed_process_ends_the_run_and_is_named(tmp_path):
    message, seconds = failure("kill", 180, tmp_path)
    assert message.startswith("rank 2 ended with signal 9 (SIGKILL); the other ranks (0, 1, 3) were ended")
    assert seconds < 150  # not the time limit ended it
    assert re.search(r"PeerError: rank 1: communication.* failed", (tmp_path / "rank1.log").read_text())


def step_with_a_narrow_module(rank, graph, plan):
    modules = blocks.modules(graph)
    modules["s1"] = torch.nn.Linear(1, 1)
    x, target = blocks.batch(3)
    Executor(compile_plan(plan, graph), modules).step(x, target, blocks.mse)


def test_a_module_that_does_not_take_its_inputs_is_named():
    graph = support.chain(2, 3)
    plan = support.plan(graph, {"s0": 0, "s1": 1}, 2)
    with pytest.raises(LaunchError, match=r'ProgramError: segment "s1": its module does not take what the graph hands'):
        launch(step_with_a_narrow_module, 2, (graph, plan), timeout_s=180, start_method="fork")


def test_an_exception_names_the_rank_that_raised_it_and_not_its_victims(tmp_path):
    message, _ = failure("raise", 180, tmp_path)
    assert message.startswith("rank 2 ended with exit code 1: ValueError: no such token: 17; the other ranks")
    assert str(tmp_path / "rank2.log") in message


def test_a_hanging_process_ends_the_run_in_time_and_its_log_says_where(tmp_path):
    message, seconds = failure("hang", 15, tmp_path)
    assert "did not end within 15 s" in message
    assert seconds < 60
    assert "in steps" in (tmp_path / "rank2.log").read_text()


def rank_and_argument(rank, argument):
    print("said by", rank)
    return rank, argument


def test_results_come_back_by_rank_and_output_goes_to_the_logs(tmp_path):
    results = launch(rank_and_argument, 3, ("x",), timeout_s=180, start_method="fork", log_dir=tmp_path)
    assert results == [(0, "x"), (1, "x"), (2, "x")]
    assert "said by 1" in (tmp_path / "rank1.log").read_text()


def leave_early(rank):
    if rank == 1:
        os._exit(0)
    return rank


def test_a_process_that_leaves_without_a_result_is_named(tmp_path):
    with pytest.raises(LaunchError, match="rank 1 ended before its function returned"):
        launch(leave_early, 2, timeout_s=180, start_method="fork", log_dir=tmp_path)


def die_when_the_others_have_a_result(rank, folder):
    if rank == 1:
        while not (folder / "rank0.result").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return rank


def test_a_process_that_dies_last_is_named_and_not_those_that_wait_for_it(tmp_path):
    with pytest.raises(LaunchError, match=r"^rank 1 ended with signal 9"):
        launch(die_when_the_others_have_a_result, 2, (tmp_path,), timeout_s=180, start_method="fork", log_dir=tmp_path)


def test_spawned_processes_work_as_forked_ones(tmp_path):
    assert launch(max, 2, (5,), timeout_s=180, log_dir=tmp_path) == [5, 5]


def size_of(rank, content):
    return len(content)


# A pipe takes 64 KiB before its reader, who imports torch first, has taken them.
def test_large_arguments_lie_in_a_file_while_processes_start(tmp_path):
    content = bytes(1 << 20)
    call = launcher._call_of(tmp_path, size_of, (content,))
    assert call.stat().st_size > len(content)
    lock = multiprocessing.get_context("spawn").Lock()
    assert launcher._call_of(tmp_path, size_of, (lock,)) == (size_of, (lock,))
    assert launch(size_of, 2, (content,), timeout_s=180, log_dir=tmp_path) == [len(content)] * 2
    assert not (tmp_path / "call.pickle").exists()


def test_logs_in_the_temporary_folder_stay_after_a_failure_only(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    launch(rank_and_argument, 1, ("x",), timeout_s=180, start_method="fork")
    assert not list(tmp_path.iterdir())
    with pytest.raises(LaunchError) as error:
        launch(rank_and_argument, 1, (), timeout_s=180, start_method="fork")
    log = str(error.value).split("log: ")[1]
    assert "missing 1 required positional argument" in open(log).read()


def cores_of(rank):
    return sorted(os.sched_getaffinity(0))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be bound to cores here")
def test_bound_processes_have_a_core_each_in_turn():
    allowed = sorted(os.sched_getaffinity(0))
    ranks = len(allowed) + 1
    bound = launch(cores_of, ranks, timeout_s=180, start_method="fork", bound=True)
    assert bound == [[allowed[rank % len(allowed)]] for rank in range(ranks)]
    assert launch(cores_of, 1, timeout_s=180, start_method="fork") == [allowed]
