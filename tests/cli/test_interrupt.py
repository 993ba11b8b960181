"""Limits and signals. OPWEAVE_INTERRUPTS=100 tries that many random moments of each signal instead of a few."""

import json
import os
import random
import signal
import subprocess
import time

import pytest
from conftest import OPWEAVE, succeeds

SANITIZED = "default" not in OPWEAVE.parts
# Time to the first plan, and from the signal to the end; sanitizers slow everything down.
FIRST_PLAN_SECONDS = 20 if SANITIZED else 2
END_SECONDS = 10 if SANITIZED else 1
ATTEMPTS = 3  # at a promise in seconds: another program may take the core once, the planner would miss it every time
MOMENTS = int(os.environ.get("OPWEAVE_INTERRUPTS", "3"))


def start(case, *options):
    return subprocess.Popen(
        [OPWEAVE, "plan", *case.inputs, "-o", case.plan, "--time-limit", "600", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process, kind):
    """Sends the signal; returns the seconds until the end and what was said."""
    begin = time.monotonic()
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    return time.monotonic() - begin, errors


def in_time(attempt, limit):
    """Whether one of a few attempts takes at most `limit` seconds; `attempt` returns how many it took."""
    seconds = []
    while not seconds or (min(seconds) > limit and len(seconds) < ATTEMPTS):
        seconds.append(attempt())
    assert min(seconds) <= limit, seconds


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_during_planning_writes_a_valid_plan_and_exits_with_130(large, kind):
    def seconds_to_the_end():
        process = start(large)
        time.sleep(FIRST_PLAN_SECONDS)
        assert process.poll() is None, process.communicate()
        seconds, errors = interrupt(process, kind)
        assert process.returncode == 130, errors
        assert errors.startswith("warning: interrupted: makespan ")
        assert "valid" in succeeds("check", *large.inputs, large.plan)
        return seconds

    in_time(seconds_to_the_end, END_SECONDS)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_at_any_moment_leaves_a_valid_plan_or_says_that_there_is_none(large, kind):
    dice = random.Random(int(kind))

    def seconds_to_the_end(threads, moment):
        large.plan.unlink(missing_ok=True)
        process = start(large, "--threads", threads)
        time.sleep(moment)
        seconds, errors = interrupt(process, kind)
        assert process.returncode == 130, errors
        if errors.startswith(("error: no plan found (interrupted)", "error: interrupted")):
            assert not large.plan.exists()
        else:
            assert "valid" in succeeds("check", *large.inputs, large.plan)
        return seconds

    for _ in range(MOMENTS):
        threads, moment = dice.choice(["1", "2"]), dice.uniform(0.1, FIRST_PLAN_SECONDS)
        in_time(lambda: seconds_to_the_end(threads, moment), END_SECONDS)  # noqa: B023 (called at once)


@pytest.mark.parametrize("method", ["mip", "mip-time-indexed", "cp"])
def test_solver_alone_is_interrupted_as_well(small, method):
    def seconds_to_the_end():
        process = start(small, "--method", method, "--microbatches", "2", "--threads", "1")
        time.sleep(1.5)
        seconds = interrupt(process, signal.SIGINT)[0] if process.poll() is None else 0
        assert process.returncode in (0, 3, 130)
        if process.returncode in (0, 130) and small.plan.exists():
            assert "valid" in succeeds("check", *small.inputs, small.plan)
        return seconds

    in_time(seconds_to_the_end, END_SECONDS)


def test_interrupt_before_the_first_plan_says_so(large):
    process = start(large)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Either the signal came before the handler was there, or while files were read, or no plan was found, or one was just
    # in time.
    assert process.returncode in (130, -signal.SIGINT)
    if process.returncode == 130:
        assert errors.startswith(
            ("error: interrupted", "error: no plan found (interrupted)", "warning: interrupted: ")
        ), errors


def test_limit_reached_with_a_plan_in_hand_is_success(large):
    process = subprocess.run(
        [OPWEAVE, "plan", *large.inputs, "--time-limit", str(FIRST_PLAN_SECONDS), "-o", large.plan],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0
    assert process.stderr.startswith(f"warning: time limit {FIRST_PLAN_SECONDS} s reached: makespan ")
    assert f"(plan written to {large.plan})" in process.stderr
    assert json.loads(large.plan.read_text())["status"] == "feasible"


@pytest.mark.parametrize("limit", [0, 1])
def test_limit_counts_from_the_start_of_the_program_and_always_leaves_a_plan(large, limit):
    def seconds_taken():
        begin = time.monotonic()
        succeeds("plan", *large.inputs, "--time-limit", limit, "-o", large.plan)
        seconds = time.monotonic() - begin
        assert "valid" in succeeds("check", *large.inputs, large.plan)
        return seconds

    in_time(seconds_taken, limit * 1.05 + 0.5 + (10 if SANITIZED else 0))
