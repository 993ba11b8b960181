"""`--on ray`: the answers of one process, on one machine and on several nodes, whatever is lost.

Needs an interpreter with Ray (scripts/ray makes one and runs this); without it all of it skips.
"""

import json
import os
import pathlib
import subprocess
import tempfile
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
PACKAGE = os.environ.get("OPWEAVE_PACKAGE", str(ROOT / "build/default/python"))
PYTHON = pathlib.Path(os.environ.get("OPWEAVE_RAY_PYTHON", ROOT / "build/ray/bin/python")).absolute()
MODEL = ROOT / "examples/strategies/llama3-8b.json"
SWEEP = ("sweep", "run", MODEL, "--cluster", "h100,a100", "--nodes", "1,2", "--global-batch", "3,64", "--sequence",
         "4096,65536", "--csv", "/dev/stdout")  # fmt: skip

if not PYTHON.exists():
    pytest.skip(f"no Ray: {PYTHON} is missing (scripts/ray)", allow_module_level=True)


def opweave(*arguments, **environment):
    done = subprocess.run(
        [OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=240, check=False,
        env=os.environ | {"OPWEAVE_PYTHON": str(PYTHON), "PYTHONPATH": PACKAGE} | environment
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def table():
    return opweave(*SWEEP, "--on", "threads")


@pytest.fixture(scope="module")
def folder():
    """Sockets of Ray lie in it, whose names must be short."""
    with tempfile.TemporaryDirectory(prefix="ray") as name:
        yield name


@pytest.fixture(scope="module")
def cluster(folder):
    """Three nodes as processes of this machine; lines to their keeper kill and add one."""
    script = textwrap.dedent("""
        import os, sys
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False,
                          "object_store_memory": 80_000_000})
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
        print(cluster.address, flush=True)
        for line in sys.stdin:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            print("removed", flush=True)
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=80_000_000))
            print("added", flush=True)
        cluster.shutdown()
    """)
    environment = os.environ | {"RAY_TMPDIR": folder, "OPWEAVE_WAIT": "0.3",
                                "OPWEAVE_PROGRAM": str(OPWEAVE)}  # fmt: skip
    keeper = subprocess.Popen([PYTHON, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, env=environment)  # fmt: skip
    yield keeper, keeper.stdout.readline().strip()
    keeper.stdin.close()
    keeper.wait(60)


def test_two_workers_of_one_machine_answer_as_threads_do(table, folder):
    assert opweave(*SWEEP, "--on", "ray", "--workers", 2, RAY_TMPDIR=folder) == table


def test_a_cluster_that_is_reached_through_its_client_port_answers_as_threads_do(table, folder):
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    ray = [PYTHON, PYTHON.with_name("ray")]
    head = ("--head", "--port", "6391", "--ray-client-server-port", "10001", "--num-cpus", "2", "--temp-dir", folder,
            "--include-dashboard", "false", "--object-store-memory", "80000000", "--disable-usage-stats")  # fmt: skip
    subprocess.run([*ray, "start", *head], check=True, capture_output=True, env=environment, timeout=60)
    try:
        assert opweave(*SWEEP, "--on", "ray://127.0.0.1:10001", "--workers", 2, RAY_AUTH_MODE="disabled") == table
    finally:
        subprocess.run([*ray, "stop", "--force"], check=True, capture_output=True, env=environment, timeout=60)


def test_several_nodes_answer_as_threads_do_though_one_is_lost(table, cluster, tmp_path):
    keeper, address = cluster
    journal = tmp_path / "j.jsonl"
    process = subprocess.Popen(
        [OPWEAVE, *map(str, SWEEP), "--on", "ray", "--journal", journal], text=True, stdout=subprocess.PIPE,
        env=os.environ | {"OPWEAVE_PYTHON": str(PYTHON), "PYTHONPATH": PACKAGE, "RAY_ADDRESS": address,
                          "OPWEAVE_WORKER": str(ROOT / "benchmarks/waiting_worker")}
    )  # fmt: skip
    while process.poll() is None and (not journal.exists() or journal.read_text().count("\n") < 4):
        pass
    assert process.poll() is None
    print("kill", file=keeper.stdin, flush=True)
    assert keeper.stdout.readline() == "removed\n"
    output, _ = process.communicate(timeout=120)
    assert keeper.stdout.readline() == "added\n"
    assert output == table and journal.read_text().count("\n") == 1 + 16


def test_strategies_and_plans_are_those_of_processes(cluster, tmp_path):
    _, address = cluster
    question = ("parallelize", MODEL, "--cluster", "h100", "--nodes", 2, "--global-batch", 128, "--sequence", 8192,
                "--json")  # fmt: skip
    on_ray = ("--on", "ray", "--workers", 2)
    found = [json.loads(opweave(*question, *where, RAY_ADDRESS=address)) for where in ((), on_ray)]
    assert found[0]["strategies"] == found[1]["strategies"] and found[0]["bound_ns"] == found[1]["bound_ns"]
    (tmp_path / "jobs.fjs").write_text("2 2 1.5\n2 2 1 3 2 4 1 2 2\n2 2 1 2 2 5 1 1 3\n")
    opweave(
        "convert", "fjs", tmp_path / "jobs.fjs", "-o", tmp_path / "graph.json", "--cluster", tmp_path / "cluster.json"
    )
    plan = ("plan", tmp_path / "graph.json", tmp_path / "cluster.json", "--work-limit", 100, "--searches", 2)
    places = (("--on", "processes"), on_ray)
    plans = [opweave(*plan, *where, RAY_ADDRESS=address) for where in places]
    assert plans[0] == plans[1]


def test_python_asks_ray_as_the_command_does(table, cluster):
    _, address = cluster
    script = textwrap.dedent("""
        import sys, opweave
        lists = {"nodes": [1, 2], "global_batch": [3, 64], "sequence": [4096, 65536]}
        found = opweave.sweep(sys.argv[1], ["h100", "a100"], **lists, on="ray", workers=2)
        assert found == opweave.sweep(sys.argv[1], ["h100", "a100"], **lists)
        print(len(found))
    """)
    environment = os.environ | {"PYTHONPATH": PACKAGE, "RAY_ADDRESS": address}
    done = subprocess.run(
        [PYTHON, "-c", script, MODEL], env=environment, text=True, capture_output=True, timeout=240, check=False
    )
    assert done.stdout == "16\n", done.stderr
