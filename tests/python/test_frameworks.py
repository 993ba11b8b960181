"""Exports, loaded by the packages that they are for."""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys

import pytest
import run_support as support
from conftest import ROOT
from opweave.export import megatron_layout, pytorch_csv, torchtitan_modules, torchtitan_settings
from opweave.run import compile_plan

FOLDER = pathlib.Path(os.environ.get("OPWEAVE_PACKAGES", ROOT / ".venv/frameworks"))
pytest.importorskip("torch")
if not (FOLDER / "requirements-frameworks.txt").exists():
    pytest.skip(f"no packages of others in {FOLDER}: scripts/frameworks unpacks them", allow_module_level=True)


class Frameworks:
    """One process with the packages, which takes seconds to start."""

    def __init__(self):
        command = [sys.executable, ROOT / "tests/python/framework_probe.py", FOLDER]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, what, **question):
        self.process.stdin.write(json.dumps({"ask": what, **question}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def frameworks():
    made = Frameworks()
    yield made
    made.process.stdin.close()
    made.process.wait(timeout=60)


def test_the_versions_are_those_whose_parsers_were_read(frameworks):
    # Another version here: read its parsers again, change exports and documents with it, then this line.
    versions = {"megatron-core": "0.19.2", "megatron-bridge": "0.6.2", "torchtitan": "0.3.0"}
    assert frameworks.ask("versions", names=list(versions)) == versions
    for name, version in versions.items():
        assert f"{name}=={version}\n" in (ROOT / "requirements-frameworks.txt").read_text()


def program(placement, devices=2, microbatches=4, seed=0):
    graph = support.chain(len(placement), microbatches)
    return compile_plan(support.plan(graph, placement, devices, seed), graph)


KINDS = {"E": "embedding", "t": "decoder", "m": "mtp", "L": "loss"}


def test_megatron_builds_the_stages_of_random_layouts(frameworks):
    rng = random.Random(7)
    for _ in range(60):
        size, chunks = rng.choice([2, 3, 4]), rng.choice([1, 2, 3])
        stages = [
            ["layers." + str(10 * s + i) for i in range(rng.choice([0, 0, 1, 2, 5]))] for s in range(size * chunks)
        ]
        stages[0] = ["embed_tokens", "layers.0", *stages[0][1:]]
        predictions = [f"mtp.{i}" for i in range(rng.choice([0, 0, 1, 2]))]
        last = rng.randrange(size * (chunks - 1), size * chunks)
        if predictions:
            for stage in stages[last + 1 :]:
                del stage[:]
        stages[last] += predictions
        stages[-1] += rng.choice([["norm", "lm_head", "loss"], ["lm_head"]])
        made = megatron_layout(program({f"s{i}": i % size for i in range(size * chunks)}, size), stages)
        there = frameworks.ask(
            "megatron_stages", layout=made.layout, size=size, layers=made.layers, predictions=made.predictions
        )
        letters = {"embed_tokens": "E", "lm_head": "L"}
        expected = [
            [KINDS[letters.get(name, name[0].replace("l", "t"))] for name in stage if name not in ("norm", "loss")]
            for stage in stages
        ]
        assert there == {"stages": expected}, made


def test_megatron_refuses_what_we_refuse(frameworks):
    """Layouts that `megatron_layout` does not write, for the reason that it gives."""
    for layout, size, text in [
        ("E|m|t|L", 2, "decoder layers must be placed before MTP layers"),
        ("Et|m||L", 2, "Currently we restrict that the MTP should be always in the last"),
        ("E|t|m|mL", 2, "All of the MTP layers must be in the same one virtual pipeline stage"),
        ("Et|LL", 2, "Loss must be specified exactly once"),
    ]:
        question = {"layout": layout, "size": size, "layers": 1, "predictions": layout.count("m")}
        assert text in frameworks.ask("megatron_stages", **question)["error"]
    accepted = frameworks.ask("megatron_stages", layout="E|t|m|L", size=2, layers=1, predictions=1)
    assert accepted == {"stages": [["embedding"], ["decoder"], ["mtp"], ["loss"]]}  # m on rank 0, its last stage


MODEL = ("--hidden-size 64 --num-attention-heads 4 --seq-length 128 --max-position-embeddings 128 --bf16"
         " --tokenizer-type NullTokenizer --vocab-size 1000 --micro-batch-size 1 --global-batch-size 8").split()  # fmt: skip


def test_megatron_takes_our_arguments(frameworks):
    stages = [["wte", "wpe", "h.0"], ["h.1"], [], ["h.2", "h.3", "ln_f", "lm_head", "loss"]]
    made = megatron_layout(program({f"s{i}": i % 2 for i in range(4)}), stages)
    there = frameworks.ask("megatron_arguments", arguments=[*MODEL, *made.arguments()], world=2)
    assert there["stages"] == [1, 1, 0, 2]
    # Four layers of this layout, not five: Megatron-LM compares.
    wrong = [*MODEL, "--num-layers", "5", *made.arguments()[2:]]
    assert "must match num_layers 5" in frameworks.ask("megatron_arguments", arguments=wrong, world=2)["error"]


@pytest.mark.parametrize(
    ("ranks", "size"), [([0, 1, 1, 0], 2), ([0, 1, 0, 1], 2), ([0, 1, 2, 3], 4)], ids=["V", "loop", "line"]
)
def test_torchtitan_splits_and_orders_as_planned(frameworks, ranks, size, tmp_path):
    made = program({f"s{i}": rank for i, rank in enumerate(ranks)}, size)
    # The debug model of Llama has six layers. Names as Hugging Face has them, the loss beside the head.
    layers = [["model.embed_tokens", "model.layers.0"], ["model.layers.1", "model.layers.2"]]
    layers += [["model.layers.3"], ["model.layers.4", "model.layers.5", "model.norm", "lm_head", "loss"]]
    modules = torchtitan_modules(layers)
    settings = torchtitan_settings(made, modules, base="llama3.llama3_debugmodel")
    settings.save(tmp_path)
    there = frameworks.ask("torchtitan_stages", folder=str(tmp_path), function="llama3_debugmodel", arguments=[])
    assert not there["cuda_graphs"]
    rows = [[cell for cell in row.split(",") if cell] for row in pytorch_csv(made).splitlines()]
    for rank, on_rank in enumerate(there["ranks"]):
        assert on_rank["stages"] == {str(s): modules[s] for s, at in enumerate(ranks) if at == rank}
        assert on_rank["map"] == {str(stage): at for stage, at in enumerate(ranks)}
        assert on_rank["actions"] == rows[rank]


def test_the_configuration_of_torchtitan_says_which_modules_of_its_model_are_missing(frameworks, tmp_path):
    modules = torchtitan_modules([["embed", "layers.0"], ["layers.1", "lm_head"]])
    settings = torchtitan_settings(program({"s0": 0, "s1": 1}), modules, base="llama3.llama3_debugmodel")
    settings.save(tmp_path)
    there = frameworks.ask("torchtitan_stages", folder=str(tmp_path), function="llama3_debugmodel", arguments=[])
    assert "the plan leaves out ['layers.2', 'layers.3', 'layers.4', 'layers.5'] of the model" in there["error"]
