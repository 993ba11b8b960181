import json
import os
import pty
import shutil
import subprocess

import pytest
from conftest import OPWEAVE, fails, opweave, succeeds


def test_plan_goes_to_standard_output_or_to_the_file_with_the_same_bytes(small):
    printed = succeeds("plan", *small.inputs, "--work-limit", 100)
    summary = succeeds("plan", *small.inputs, "--work-limit", 100, "-o", small.plan)
    assert small.plan.read_text() == printed
    assert json.loads(printed)["format"] == "opweave.plan"
    assert summary.count("\n") == 1 and "makespan" in summary


def test_same_input_seed_and_work_limit_give_the_same_bytes(small):
    results = {
        succeeds("plan", *small.inputs, "--work-limit", 500, "--seed", 3, "--threads", threads)
        for threads in (1, 2)
        for _ in range(3)
    }
    assert len(results) == 1


def test_same_bytes_on_the_example_too(large):
    results = {succeeds("plan", *large.inputs, "--work-limit", 300, "--threads", threads) for threads in (1, 2)}
    assert len(results) == 1


def test_plan_states_the_command_without_what_it_does_not_depend_on(small, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    inputs = [shutil.copy(path, elsewhere) for path in small.inputs]
    options = ["--work-limit=5", "--microbatches", 2, "--seed", 3, "--objective", "makespan,peak-memory"]
    first = succeeds("plan", *small.inputs, *options, "--threads", 2)
    assert first == succeeds("plan", *inputs, *options, "--threads", 1)
    succeeds("plan", *inputs, *options, "-o", small.plan, "--report", tmp_path / "report.html")
    assert first == small.plan.read_text()
    command = json.loads(first)["provenance"]["command"]
    assert (
        command
        == "opweave plan graph.json cluster.json --work-limit 5 --microbatches 2 --seed 3 --objective makespan,peak-memory"
    )
    assert f"made by: {command}\n" in succeeds("show", small.plan)
    # The command says all that is needed to make the plan again, where the files lie.
    again = subprocess.run(
        ["bash", "-c", f'opweave() {{ "{OPWEAVE}" "$@"; }}; {command}'],
        cwd=elsewhere,
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert again.stdout == first


def test_command_in_the_plan_names_threads_where_the_clock_ends_the_search_and_quotes_names(small, tmp_path):
    graph = shutil.copy(small.inputs[0], tmp_path / "it's a graph.json")
    plan = json.loads(succeeds("plan", graph, small.inputs[1], "--time-limit", 0.2, "--threads", 1))
    assert plan["provenance"]["command"] == (
        r"opweave plan 'it'\''s a graph.json' cluster.json --time-limit 0.2 --threads 1"
    )
    undecodable = os.fsencode(tmp_path) + b"/\xff.json"
    shutil.copy(graph, undecodable)
    plan = json.loads(succeeds("plan", os.fsdecode(undecodable), small.inputs[1], "--work-limit", 5))
    assert plan["provenance"]["command"].startswith("opweave plan '\ufffd.json' cluster.json")


def run_on_terminal(*arguments):
    """Runs opweave with standard error on a terminal; returns exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([OPWEAVE, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux reports the closed other end of a terminal as an error
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    return process.wait(), seen.decode()


def test_progress_is_shown_on_a_terminal_and_erased(large):
    code, seen = run_on_terminal("plan", *large.inputs, "--time-limit", 1.5, "-o", large.plan)
    assert code == 0
    assert "makespan" in seen and "bound" in seen and "gap" in seen
    # What is said in the end (that the limit was reached, if nothing ended the search before) stands on a clean line.
    progress, end, said = seen.rpartition("\r\x1b[K")
    assert end and "warning: " not in progress and "\x1b" not in said


@pytest.mark.parametrize("command", [["pareto", "--points", 2], ["what-if", "--replan", "--samples", 0]])
def test_searches_of_other_commands_show_progress_on_a_terminal_too(planned, command):
    plan = [planned.plan] if command[0] == "what-if" else []
    code, seen = run_on_terminal(command[0], *planned.inputs, *plan, *command[1:], "--time-limit", 0.3)
    assert code == 0
    assert "makespan" in seen and seen.endswith("\r\x1b[K")


def test_progress_is_silent_where_nobody_watches(large):
    done = opweave("plan", *large.inputs, "--time-limit", 1, "-o", large.plan)
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning: time limit")] == []


def test_full_disk_is_told(small):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [OPWEAVE, "plan", *small.inputs, "--work-limit", "10"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.lower().startswith("error: standard output: no space left on device")
    assert "no space left" in fails(2, "plan", *small.inputs, "--work-limit", 10, "-o", "/dev/full").lower()


def test_reader_that_goes_away_is_no_error(small):
    process = subprocess.Popen(
        [OPWEAVE, "plan", *small.inputs, "--work-limit", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read().startswith("warning: ")
    process.stderr.close()


def test_failed_write_keeps_the_old_file(small):
    target = small.folder / "kept" / "plan.json"
    fails(2, "plan", *small.inputs, "--work-limit", 10, "-o", target)
    target.parent.mkdir()
    target.write_text("old")
    fails(3, "plan", *small.inputs, "--work-limit", 10, "--memory-limit", "100", "-o", target)
    assert target.read_text() == "old"
    assert [entry.name for entry in target.parent.iterdir()] == ["plan.json"]
