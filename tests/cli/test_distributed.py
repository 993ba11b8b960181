"""`--on processes`: the answers of one process, whatever happens to its workers; what is wrong gets one line."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import OPWEAVE

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/strategies/llama3-8b.json"
WAITING = ROOT / "benchmarks/waiting_worker"
# 16 points, some of them without a strategy.
SWEEP = ("sweep", "run", MODEL, "--cluster", "h100,a100", "--nodes", "1,2", "--global-batch", "3,64", "--sequence",
         "4096,65536")  # fmt: skip
STRATEGIES = ("parallelize", MODEL, "--cluster", "h100", "--nodes", 4, "--global-batch", 128, "--sequence", 8192,
              "--json")  # fmt: skip


def opweave(*arguments, code=0, **environment):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=120, check=False,
                          env=os.environ | environment)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def with_worker(**settings):
    """Environment in which workers are those of benchmarks/waiting_worker."""
    names = {f"OPWEAVE_{name.upper()}": str(value) for name, value in settings.items()}
    return {"OPWEAVE_WORKER": str(WAITING), "OPWEAVE_PROGRAM": str(OPWEAVE), **names}


def children(pid):
    """Processes whose parent is `pid`."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(scope="module")
def table():
    """The sweep by threads of one process, as CSV."""
    return opweave(*SWEEP, "--on", "threads", "--csv", "/dev/stdout").stdout


def csv_of(*arguments, **environment):
    return opweave(*SWEEP, "--csv", "/dev/stdout", *arguments, **environment).stdout


def test_processes_answer_as_threads_do(table):
    assert csv_of("--workers", 1) == csv_of("--on", "processes", "--workers", 3) == table


def test_a_worker_that_is_killed_costs_nothing_but_time(table, tmp_path):
    command = [OPWEAVE, *map(str, SWEEP), "--workers", "2", "--journal", tmp_path / "j.jsonl", "--csv", "/dev/stdout"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | with_worker(wait=0.05))
    killed = 0
    while process.poll() is None and killed < 3:
        time.sleep(0.15)
        for worker in children(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and killed > 0 and output == table
    assert (tmp_path / "j.jsonl").read_text().count("\n") == 1 + 16


def test_a_point_that_ends_its_workers_is_a_row_with_the_reason(table):
    output = csv_of("--workers", 2, **with_worker(poison=5))
    # The table for people comes before the rows for programs.
    poisoned, healthy = ([line for line in text.splitlines() if line[0].isdigit()] for text in (output, table))
    assert poisoned[5] == "5,H100,2,16,3,65536,,,,,,,nemo-2504/H100/bf16,,its worker was lost 5 times: exit code 1"
    assert poisoned[:5] + poisoned[6:] == healthy[:5] + healthy[6:]


def test_workers_end_with_their_driver(tmp_path):
    command = [OPWEAVE, *map(str, SWEEP), "--workers", "2", "--journal", tmp_path / "j.jsonl"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | with_worker(wait=0.2))
    while not (workers := children(process.pid)) or not (tmp_path / "j.jsonl").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers)


def test_two_sweeps_do_not_write_one_journal(tmp_path):
    journal = tmp_path / "j.jsonl"
    command = [OPWEAVE, *map(str, SWEEP), "--workers", "1", "--journal", journal]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | with_worker(wait=0.5))
    while not journal.exists() or not journal.read_text():
        time.sleep(0.01)
    assert "another sweep is writing it" in opweave(*SWEEP, "--journal", journal, code=2).stderr
    process.kill()
    process.wait()


def test_strategies_are_those_of_one_process():
    alone = json.loads(opweave(*STRATEGIES).stdout)
    for workers in (1, 3):
        shared = json.loads(opweave(*STRATEGIES, "--on", "processes", "--workers", workers).stdout)
        assert shared.pop("valued") >= 10
        assert shared == {key: value for key, value in alone.items() if key != "valued"}


def test_a_shared_incumbent_excludes_meshes():
    on_four = (*STRATEGIES, "--top", 1, "--on", "processes", "--workers", 4)
    # One strategy is wanted: workers that hear of each other's need not look for a first one of their own.
    shared, deaf = (json.loads(opweave(*on_four, **with_worker(deaf=deaf)).stdout) for deaf in (0, 1))
    assert shared["strategies"] == deaf["strategies"]
    assert shared["valued"] <= deaf["valued"]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((*SWEEP, "--on", "moon"), {}, '--on: value is "moon", expected processes, ray or ray://HOST:PORT'),
        (SWEEP, {"OPWEAVE_WORKER": "/bin/false"}, "no worker starts"),
        (SWEEP, {"OPWEAVE_WORKER": "/no/such/program"}, "/no/such/program: cannot be started"),
        ((*STRATEGIES, "--fix", "tp=7", "--on", "processes"), {}, "no strategy is possible on 32 devices"),
        ((*SWEEP, "--on", "ray"), {"OPWEAVE_PYTHON": "/no/python"}, "/no/python: cannot be started"),
    ],
)
def test_what_is_wrong_gets_one_line(arguments, environment, message):
    done = opweave(*arguments, code=2, **environment)
    assert message in done.stderr.splitlines()[0]


def test_without_ray_one_line_says_how_to_install_it():
    package = os.environ.get("OPWEAVE_PACKAGE", str(ROOT / "build/default/python"))
    probe = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, check=False)
    if probe.returncode == 0:
        pytest.skip("Ray is installed here")
    if not list(pathlib.Path(package).glob("opweave/_core*.so")):
        pytest.skip("the Python package is not built")
    done = opweave(*SWEEP, "--on", "ray", code=2, OPWEAVE_PYTHON=sys.executable, PYTHONPATH=package)
    assert done.stderr == 'error: --on: Ray is not installed: pip install "opweave[ray]"\n'


@pytest.mark.parametrize("folder", ["bin", "lib/python3.11/site-packages/opweave.scripts"])
def test_the_interpreter_of_an_installed_program_speaks_to_ray(folder, tmp_path):
    program, python = tmp_path / folder / "opweave", tmp_path / "bin/python3"
    for path in (program, python):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(OPWEAVE, program)
    python.write_text("#!/bin/sh\necho '!this is the one'\n")
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "OPWEAVE_PYTHON"}
    done = subprocess.run(
        [program, *map(str, SWEEP), "--on", "ray"],
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "error: --on: this is the one\n"


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """Eight jobs of five operations on three machines: no method proves the best plan at once."""
    folder = tmp_path_factory.mktemp("plan")
    number = random.Random(5).randint
    jobs = [[[(machine, number(2, 20)) for machine in (1, 2, 3)] for _ in range(5)] for _ in range(8)]
    lines = ["8 3 3"]
    for job in jobs:
        words = [str(len(job))]
        for modes in job:
            words += [str(len(modes)), *(f"{machine} {time}" for machine, time in modes)]
        lines.append(" ".join(words))
    (folder / "jobs.fjs").write_text("\n".join(lines) + "\n")
    opweave("convert", "fjs", folder / "jobs.fjs", "-o", folder / "graph.json", "--cluster", folder / "cluster.json")
    return folder / "graph.json", folder / "cluster.json"


def test_a_portfolio_under_a_work_limit_is_the_best_of_its_seeds_whatever_the_workers(problem, tmp_path):
    limits = ("--work-limit", 300, "--seed", 7)
    for workers in (1, 3):
        opweave("plan", *problem, *limits, "--searches", 3, "--on", "processes", "--workers", workers, "-o",
                tmp_path / f"{workers}.json")  # fmt: skip
    text = (tmp_path / "1.json").read_text()
    assert text == (tmp_path / "3.json").read_text()
    alone = []
    for seed, method in ((7, "auto"), (8, "heuristic"), (9, "auto")):
        plan = opweave("plan", *problem, "--work-limit", 300, "--seed", seed, "--method", method).stdout
        alone.append(json.loads(plan))
    best = min(alone, key=lambda plan: plan["makespan_ns"])
    found = json.loads(text)
    assert found["tasks"] == best["tasks"] and found["provenance"]["seed"] == best["provenance"]["seed"]
    assert max(bound["value_ns"] for bound in found["bounds"]) == max(
        bound["value_ns"] for plan in alone for bound in plan["bounds"]
    )
    opweave("check", *problem, tmp_path / "1.json")


def test_by_the_clock_workers_share_plan_and_bound(problem, tmp_path):
    began = time.monotonic()
    opweave("plan", *problem, "--time-limit", 4, "--on", "processes", "--workers", 2, "-o", tmp_path / "plan.json")
    assert time.monotonic() - began < 7
    opweave("check", *problem, tmp_path / "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["provenance"]["limit"] == "time 4 s" and plan["provenance"]["command"].endswith("--on processes")
    warm = opweave("plan", *problem, "--time-limit", 1, "--on", "processes", "--workers", 2, "--warm-start",
                   tmp_path / "plan.json").stdout  # fmt: skip
    assert json.loads(warm)["makespan_ns"] <= plan["makespan_ns"]


def test_other_objectives_are_refused(problem):
    for words in (("--objective", "devices"), ("--deadline", "5s"), ("--write-model", "m.mps")):
        assert "the makespan alone" in opweave("plan", *problem, *words, "--on", "processes", code=2).stderr
