"""Helpers for tests of the command line: they run the program as a user does."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()

# Two operators per layer on two streams, unequal times, so that overlap and order matter.
LAYERS = {
    "format": "opweave.pipeline",
    "version": 1,
    "name": "small",
    "training": {"microbatches": 8, "gradient_bytes_per_weight_byte": 1},
    "layers": [
        {
            "name": "block",
            "repeat": 8,
            "weights_bytes": 1000,
            "activation_bytes": 100,
            "operators": [
                {"name": "mix", "forward_ns": 400, "input_gradient_ns": 900, "weight_gradient_ns": 200},
                {"name": "send", "streams": ["comm"], "forward_ns": 300, "input_gradient_ns": 500},
            ],
        }
    ],
}

# Two jobs of two operations on two machines; the first operation of each may run on either.
JOB_SHOP = "2 2 1.5\n2 2 1 3 2 4 1 2 2\n2 2 1 2 2 5 1 1 3\n"


def opweave(*arguments, **options):
    """Runs opweave to its end; both outputs are captured as text."""
    options.setdefault("timeout", 120)
    options.setdefault("capture_output", True)
    return subprocess.run([OPWEAVE, *map(str, arguments)], text=True, **options)


def succeeds(*arguments, **options):
    """Runs opweave, expects exit code 0, returns what it printed."""
    done = opweave(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(code, *arguments, **options):
    """Runs opweave, expects this exit code and a one-line error (perhaps a hint); returns the error line."""
    done = opweave(*arguments, **options)
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: "), done.stderr
    assert not lines[0].endswith("."), done.stderr
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), done.stderr
    return lines[0]


class Case:
    """A graph, its cluster and the folder they are in."""

    def __init__(self, folder):
        self.folder = folder
        self.graph = folder / "graph.json"
        self.cluster = folder / "cluster.json"
        self.plan = folder / "plan.json"

    @property
    def inputs(self):
        return (self.graph, self.cluster)


def pipeline(folder, layers, *options):
    case = Case(folder)
    spec = folder / "layers.json"
    spec.write_text(json.dumps(layers))
    succeeds("convert", "pipeline", spec, *options, "-o", case.graph, "--cluster", case.cluster)
    return case


def copied(case, folder):
    """The same files in a folder that a test may spoil."""
    shutil.copytree(case.folder, folder, dirs_exist_ok=True)
    return Case(folder)


@pytest.fixture(scope="session")
def small_files(tmp_path_factory):
    """A V pipeline over 2 devices: 8 layers in 4 stages, 8 microbatches, memory for 3 activations."""
    return pipeline(tmp_path_factory.mktemp("small"), LAYERS, "--shape", "V", "--devices", 2, "--activations", 3)


@pytest.fixture(scope="session")
def planned_files(small_files, tmp_path_factory):
    """The same with a plan."""
    case = copied(small_files, tmp_path_factory.mktemp("planned"))
    succeeds("plan", *case.inputs, "--work-limit", 200, "-o", case.plan)
    return case


@pytest.fixture
def small(small_files, tmp_path):
    """small_files for one test alone."""
    return copied(small_files, tmp_path)


@pytest.fixture
def planned(planned_files, tmp_path):
    """planned_files for one test alone."""
    return copied(planned_files, tmp_path)


@pytest.fixture
def large(tmp_path):
    """The example of the README, far too large to be solved to the end: 6,400 tasks, V."""
    folder = tmp_path / "large"
    folder.mkdir()
    case = Case(folder)
    spec = ROOT / "examples/deepseek-v3/pipeline.json"
    succeeds(
        "convert",
        "pipeline",
        spec,
        "--shape",
        "V",
        "--devices",
        8,
        "--activations",
        8.5,
        "-o",
        case.graph,
        "--cluster",
        case.cluster,
    )
    return case
