import json
import signal
import subprocess
import time

import pytest

from conftest import OPWEAVE, succeeds

SANITIZED = "default" not in OPWEAVE.parts
# Time to the first plan, and from the signal to the end; sanitizers slow everything down.
FIRST_PLAN_SECONDS = 20 if SANITIZED else 4
END_SECONDS = 10 if SANITIZED else 1


def start(case, *options):
    return subprocess.Popen([OPWEAVE, "plan", *case.inputs, "-o", case.plan, "--time-limit", "600", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_during_planning_writes_a_valid_plan_and_exits_with_130(large, kind):
    process = start(large)
    time.sleep(FIRST_PLAN_SECONDS)
    assert process.poll() is None, process.communicate()
    begin = time.monotonic()
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    seconds = time.monotonic() - begin
    assert process.returncode == 130, errors
    assert seconds < END_SECONDS
    assert errors.startswith("warning: interrupted: makespan ")
    assert "valid" in succeeds("check", *large.inputs, large.plan)


def test_interrupt_before_the_first_plan_says_so(large):
    process = start(large)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Either the signal came before the handler was there, or no plan was found, or one was just in time.
    assert process.returncode in (130, -signal.SIGINT)
    if process.returncode == 130:
        assert errors.startswith(("error: no plan found (interrupted)", "warning: interrupted: ")), errors


def test_limit_reached_with_a_plan_in_hand_is_success(large):
    process = subprocess.run([OPWEAVE, "plan", *large.inputs, "--time-limit", str(FIRST_PLAN_SECONDS), "-o", large.plan],
                             capture_output=True, text=True, timeout=120)
    assert process.returncode == 0
    assert process.stderr.startswith(f"warning: time limit {FIRST_PLAN_SECONDS} s reached: makespan ")
    assert f"(plan written to {large.plan})" in process.stderr
    assert json.loads(large.plan.read_text())["status"] == "feasible"
