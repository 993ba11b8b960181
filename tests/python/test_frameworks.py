"""Exports, loaded by the packages that they are for."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import random
import subprocess
import sys

import opweave
import pytest
import run_support as support
from conftest import ROOT
from opweave.export import layers_by_stage, megatron_layout, pytorch_csv, torchtitan_modules, torchtitan_settings
from opweave.export.names import role_of
from opweave.run import ProgramError, compile_placement, compile_plan

FOLDER = pathlib.Path(os.environ.get("OPWEAVE_PACKAGES", ROOT / ".venv/frameworks"))
pytest.importorskip("torch")
if not (FOLDER / "requirements-frameworks.txt").exists():
    pytest.skip(f"no packages of others in {FOLDER}: scripts/frameworks unpacks them", allow_module_level=True)

import test_run_published as published  # noqa: E402


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
    versions = {"megatron-core": "0.19.2", "megatron-bridge": "0.6.2", "torchtitan": "0.3.0", "deepspeed": "0.18.2"}
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
    there = frameworks.ask("torchtitan_stages", folder=str(tmp_path), function="llama3_debugmodel")
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
    there = frameworks.ask("torchtitan_stages", folder=str(tmp_path), function="llama3_debugmodel")
    assert "the plan leaves out ['layers.2', 'layers.3', 'layers.4', 'layers.5'] of the model" in there["error"]


OPWEAVE = os.environ.get("OPWEAVE_BIN", str(ROOT / "build/default/opweave"))
LLAMA, DEEPSEEK = (ROOT / "examples/strategies" / name for name in ("llama3-70b.json", "deepseek-v3.json"))


def strategies(model, target, cluster, nodes, batch, sequence, step, *more):
    """Every `step`-th of the best strategies of a search for a target."""
    command = [OPWEAVE, "parallelize", model, "--cluster", cluster, "--nodes", nodes, "--target", target, "--json"]
    command += ["--global-batch", batch, "--sequence", sequence, "--top", 24, *more]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    return [entry["strategy"] for entry in json.loads(done.stdout)["strategies"]][::step]


def converted(strategy, model, batch, sequence, target, path, *more):
    given = path.with_name("strategy.json")
    given.write_text(json.dumps(strategy))
    command = [OPWEAVE, "convert", "strategy", given, model, "--global-batch", batch, "--sequence", sequence]
    command += ["--to", target, "-o", path, *more]
    subprocess.run([str(word) for word in command], check=True)
    return path


def layers_of_stages(strategy, layers):
    """The layers of every stage, the earlier having the more, but those of embedding and head the fewer (export.md)."""

    def parts(whole, count):
        return [whole // count + (index < whole % count) for index in range(count)]

    size, chunks = strategy["pipeline"], strategy["chunks"]
    if "layers_per_stage" in strategy:
        of_rank = [parts(own, chunks) for own in strategy["layers_per_stage"]]
        if strategy["layers_per_stage"][0] < chunks:
            of_rank[0].reverse()
        return [of_rank[s % size][s // size] for s in range(size * chunks)]
    even = parts(layers, size * chunks)
    return [even[-1], *even[:-2], even[-1]] if even.count(even[-1]) == 2 < len(even) and even[0] > even[-1] else even


def devices(strategy):
    return strategy["tensor"] * strategy["context"] * strategy["data"] * strategy["pipeline"]


SEARCHES = [(LLAMA, "h100", 8, 512, 8192), (LLAMA, "h100", 3, 96, 8192), (DEEPSEEK, "h100", 128, 4096, 4096)]


@pytest.mark.parametrize("search", SEARCHES, ids=["llama", "three nodes", "deepseek"])
def test_megatron_validates_the_arguments_of_searched_strategies(frameworks, search, tmp_path):
    model, cluster, nodes, batch, sequence = search
    found = strategies(model, "megatron", cluster, nodes, batch, sequence, step=8)
    assert len(found) >= 2
    layers = 80 if model == LLAMA else 61
    for strategy in found:
        path = converted(strategy, model, batch, sequence, "megatron", tmp_path / "arguments.sh")
        script = f'source {path}; printf "%s\\n" "${{MEGATRON_ARGS[@]}}"'
        words = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()
        there = frameworks.ask(
            "megatron_arguments", arguments=[*words, "--tokenizer-type", "NullTokenizer"], world=devices(strategy)
        )
        assert "error" not in there, (there, strategy)
        assert there["tensor_model_parallel_size"] == strategy["tensor"]
        assert there["context_parallel_size"] == strategy["context"]
        assert there["expert_model_parallel_size"] == strategy["expert"]
        assert there["data_parallel_size"] == strategy["data"]
        assert there["sequence_parallel"] == strategy["sequence_parallel"]
        on_host = strategy.get("optimizer_offload", 0)
        assert there["use_distributed_optimizer"] == (strategy["sharding"] != "none" or on_host > 0)
        granularity = None if strategy["recompute"] == "none" else strategy["recompute"]
        assert there["recompute_granularity"] == granularity
        if "recomputed_layers" in strategy:
            assert there["recompute_num_layers"] * strategy["chunks"] == strategy["recomputed_layers"]
        if strategy["pipeline"] > 1:
            assert there["stages"] == layers_of_stages(strategy, layers)


def test_megatron_validates_sharded_weights_and_other_modes(frameworks, tmp_path):
    for changed in (
        {"sharding": "weights"},
        {"sharding": "gradients"},
        {"recompute": "selective", "recomputed_modules": ["core_attn", "mlp"]},
        {"optimizer_offload": 0.5, "sharding": "optimizer"},
        {"sharding": "none"},
    ):
        strategy = {"format": "opweave.strategy", "version": 1, "data": 8, "tensor": 1, "context": 1, "pipeline": 1}
        path = converted(strategy | changed, LLAMA, 64, 4096, "megatron", tmp_path / "arguments.sh")
        script = f'source {path}; printf "%s\\n" "${{MEGATRON_ARGS[@]}}" $CUDA_DEVICE_MAX_CONNECTIONS'
        words = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()
        connections = words.pop() if words[-1] == "1" else None
        assert (connections is None) == (changed.get("sharding") in ("weights", "gradients"))
        there = frameworks.ask(
            "megatron_arguments",
            arguments=[*words, "--tokenizer-type", "NullTokenizer"],
            world=8,
            connections=connections,
        )
        assert "error" not in there, (there, changed)


def test_megatron_bridge_validates_the_recipes_of_searched_strategies(frameworks, tmp_path):
    shape = {"num_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_query_groups": 8}
    shape |= {"ffn_hidden_size": 28672, "seq_length": 4096}
    for strategy in strategies(LLAMA, "megatron", "h100", 8, 512, 8192, step=6):
        path = converted(strategy, LLAMA, 512, 8192, "bridge", tmp_path / "recipe.py")
        there = frameworks.ask("bridge_recipe", path=str(path), world=64, model=shape)
        assert there.get("data_parallel_size") == strategy["data"], (there, strategy)
        assert there["stages"] == (layers_of_stages(strategy, 80) if strategy["pipeline"] > 1 else None)
    wrong = frameworks.ask("bridge_recipe", path=str(path), world=64, model=shape | {"num_layers": 40})
    assert "the recipe has 40 layers, the strategy is for 80" in wrong["error"]


def test_torchtitan_takes_the_configurations_of_searched_strategies(frameworks, tmp_path):
    found = strategies(LLAMA, "torchtitan", "h100", 8, 512, 8192, step=5)
    found += strategies(LLAMA, "torchtitan", "h100", 8, 512, 8192, 12, "--fix", "schedule=1F1B")
    assert {"ZB1P", "1F1B"} <= {strategy["schedule"] for strategy in found}
    for number, strategy in enumerate(found):
        folder = tmp_path / str(number)
        folder.mkdir()
        base = ("--base", "llama3.llama3_70b")
        converted(strategy, LLAMA, 512, 8192, "torchtitan", folder / "opweave_config.py", *base)
        there = frameworks.ask("torchtitan_configuration", folder=str(folder), function="llama3_70b")
        assert "error" not in there, (there, strategy)
        parallelism, training = there["parallelism"], there["training"]
        degrees = [parallelism[f"{axis}_parallel_degree"] for axis in ("tensor", "context", "pipeline")]
        assert degrees == [strategy["tensor"], strategy["context"], strategy["pipeline"]]
        sharded = strategy["sharding"] != "none"
        assert parallelism["data_parallel_shard_degree"] == (strategy["data"] if sharded else 1)
        assert parallelism["data_parallel_replicate_degree"] == (1 if sharded else strategy["data"])
        assert training["global_batch_size"] == 512
        assert there["activation_checkpoint"] == {"full": "FullAC.Config", "selective": "SelectiveAC.Config"}.get(
            strategy["recompute"]
        )
        if strategy["pipeline"] > 1:
            assert training["local_batch_size"] * strategy["data"] == 512
            assert training["disable_cuda_graphs"]


def test_torchtitan_runs_searched_strategies_on_the_stages_they_say(frameworks, tmp_path):
    """The debug model, six layers: what its splitter builds and the order that it loads."""
    model = {"format": "opweave.model", "version": 1, "hidden": 256, "vocabulary": 2048}
    model["layers"] = [{"count": 6, "attention": {"heads": 16, "head_dim": 16}, "mlp": {"width": 768}}]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model))
    for schedule, pipeline, chunks in (("1F1B", 4, 1), ("Interleaved-1F1B", 2, 2), ("ZB1P", 2, 1), ("ZB-2P", 3, 1)):
        strategy = {"format": "opweave.strategy", "version": 1, "pipeline": pipeline, "chunks": chunks}
        strategy |= {"schedule": schedule, "sharding": "weights"}
        folder = tmp_path / schedule
        folder.mkdir()
        base = ("--base", "llama3.llama3_debugmodel")
        converted(strategy, path, 8, 256, "torchtitan", folder / "opweave_config.py", *base)
        there = frameworks.ask("torchtitan_stages", folder=str(folder), function="llama3_debugmodel")
        stages = pipeline * chunks
        sizes = layers_of_stages(strategy, 6)
        for rank, on_rank in enumerate(there["ranks"]):
            assert {int(stage) % pipeline for stage in on_rank["stages"]} == {rank}
            for stage, modules in on_rank["stages"].items():
                assert sum(module.startswith("layers.") for module in modules) == sizes[int(stage)]
            assert on_rank["map"] == {str(stage): stage % pipeline for stage in range(stages)}
            forwards = [action for action in on_rank["actions"] if "F" in action]
            assert len(forwards) == 8 * chunks
            assert any("W" in action for action in on_rank["actions"]) == schedule.startswith("ZB")


RECIPES = pathlib.Path(os.environ.get("OPWEAVE_DATA", "")) / "recipes/recipes.json"


@pytest.mark.skipif(not RECIPES.is_file(), reason="OPWEAVE_DATA names no folder with recipes/recipes.json")
def test_recipes_say_what_the_functions_of_megatron_bridge_set(frameworks):
    """Every third recipe that runs without its model at hand, by what is not stated to be open."""
    command = [OPWEAVE, "convert", "recipe", str(RECIPES), "--json"]
    ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    files = {recipe["recipe"]: recipe["file"] for recipe in json.loads(RECIPES.read_text())}
    compared = 0
    for recipe in ours[::3]:
        if any(line.startswith(("tp, pp", "ep: ", "data: ")) for line in recipe["unstated"]):
            continue
        module = files[recipe["recipe"]].removesuffix(".py").replace("/", ".")
        there = frameworks.ask("bridge_settings", module=module, recipe=recipe["recipe"])
        if "error" in there:  # asks for the model itself
            continue
        compared += 1
        here = recipe["strategy"] | recipe["run"]
        if any(line.startswith("global_batch") for line in recipe["unstated"]):
            del there["global_batch"]
        assert {key: here[key] for key in there} == there, recipe["recipe"]
    assert compared > 60


# From nn.Module to what the packages build, with as many layers as the debug models of torchtitan have.
CHAINS = {
    "gpt2": (
        lambda: published.hugging_face(
            "gpt2", vocab_size=64, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=False
        ),
        2,
        None,
    ),
    "llama": (
        lambda: published.hugging_face("llama", **{**published.GROUPED, "num_hidden_layers": 6}),
        6,
        "llama3.llama3_debugmodel",
    ),
    "qwen3-moe": (
        lambda: published.hugging_face("qwen3_moe", **{**published.EXPERTS, "num_hidden_layers": 8}),
        8,
        "qwen3.qwen3_moe_debug",
    ),
}


@functools.cache
def captured(name):
    return opweave.capture(
        CHAINS[name][0](),
        published.texts(2),
        loss=published.own_loss,
        granularity="block",
        microbatches=4,
        progress=False,
    )


@pytest.mark.parametrize("shape", ["linear", "loop"])
@pytest.mark.parametrize("name", CHAINS)
def test_a_captured_model_is_built_by_megatron_and_torchtitan_as_planned(frameworks, name, shape, tmp_path):
    _, count, base = CHAINS[name]
    stages = {"linear": 2, "loop": 4}[shape]
    cluster = opweave.Cluster.preset("h100", devices_per_node=2)
    staged = captured(name).staged(stages, shape, devices=cluster)
    plan = opweave.plan(staged, cluster, work_limit=5, threads=1, blocks="stage", progress=False)
    placement = compile_placement(plan)
    layers = layers_by_stage(placement, plan.graph)
    made = megatron_layout(placement, layers)
    there = frameworks.ask("megatron_stages", layout=made.layout, size=2, layers=count, predictions=0)
    assert [len([kind for kind in stage if kind == "decoder"]) for stage in there["stages"]] == [
        len({layer for layer in stage if role_of(layer) == "decoder"}) for stage in layers
    ]
    compiled = compile_plan(plan, segments="stage")
    if base is None:  # torchtitan has no model with learned positions
        with pytest.raises(ProgramError, match=r"wpe\" is no module of torchtitan's decoders"):
            torchtitan_modules(layers_by_stage(compiled, plan.graph))
        return
    modules = torchtitan_modules(layers_by_stage(compiled, plan.graph))
    torchtitan_settings(compiled, modules, base=base).save(tmp_path)
    built = frameworks.ask("torchtitan_stages", folder=str(tmp_path), function=base.split(".")[1])
    for rank, on_rank in enumerate(built["ranks"]):
        assert on_rank["stages"] == {str(s): modules[s] for s in range(stages) if s % 2 == rank}
        assert on_rank["actions"] == [c for c in pytorch_csv(compiled).splitlines()[rank].split(",") if c]
