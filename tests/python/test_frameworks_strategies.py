"""Thirty strategies, each in every form that can say it, loaded by the packages that the files are for."""

from __future__ import annotations

import collections
import itertools
import json
import os
import subprocess

import test_frameworks as shared
from test_frameworks import DEEPSEEK, LLAMA, OPWEAVE, devices, frameworks, layers_of_stages  # noqa: F401

LLAMA_8B = shared.ROOT / "examples/strategies/llama3-8b.json"
LAYERS = {LLAMA: 80, DEEPSEEK: 61, LLAMA_8B: 32}
SHAPES = {
    LLAMA: {"hidden_size": 8192, "num_attention_heads": 64, "num_query_groups": 8, "ffn_hidden_size": 28672},
    LLAMA_8B: {"hidden_size": 4096, "num_attention_heads": 32, "num_query_groups": 8, "ffn_hidden_size": 14336},
    DEEPSEEK: {"hidden_size": 7168, "num_attention_heads": 128, "num_moe_experts": 256, "multi_latent_attention": True},
}
# What is searched for: target, model, nodes of 8 H100, sequences, tokens, strategies.
SEARCHES = [
    ("megatron", LLAMA, 8, 512, 8192, 12),
    ("torchtitan", LLAMA, 8, 512, 8192, 8),
    ("megatron", DEEPSEEK, 128, 4096, 4096, 4),
]
EVERY = 1 if "OPWEAVE_ALL_STRATEGIES" in os.environ else 6  # thirty take a minute


def strategies():
    """Thirty or more: searched ones, and those of the data axis alone, which is all that DeepSpeed's file can say."""
    for target, model, nodes, batch, sequence, count in SEARCHES:
        for strategy in shared.strategies(model, target, "h100", nodes, batch, sequence, 1)[:count]:
            yield strategy, model, batch, sequence
    choices = itertools.product((8, 16), (1, 2), (("optimizer", 0), ("weights", 0.5)))
    for data, micro_batch, (sharding, offload) in choices:
        strategy = {"format": "opweave.strategy", "version": 1, "data": data, "micro_batch": micro_batch}
        axes = {"tensor": 1, "context": 1, "pipeline": 1, "expert": 1, "chunks": 1, "sequence_parallel": False}
        states = {"sharding": sharding, "optimizer_offload": offload, "recompute": "none"}
        yield strategy | axes | states, LLAMA_8B, 128, 8192


def file_of(strategy, model, batch, sequence, target, folder):
    """The file, or the reason why the target has no word for the strategy."""
    folder.mkdir(parents=True)
    names = {"megatron": "arguments.sh", "bridge": "recipe.py", "torchtitan": "opweave_config.py"}
    path = folder / names.get(target, "deepspeed.json")
    given = folder / "strategy.json"
    given.write_text(json.dumps(strategy))
    command = [OPWEAVE, "convert", "strategy", given, model, "--global-batch", batch, "--sequence", sequence]
    command += ["--to", target, "-o", path]
    if target == "torchtitan":
        bases = {LLAMA: "llama3.llama3_70b", LLAMA_8B: "llama3.llama3_8b", DEEPSEEK: "deepseek_v3.deepseek_v3_671b"}
        command += ["--base", bases[model]]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode == 0:
        return path, ""
    assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    return None, done.stderr.splitlines()[0].removeprefix(f"error: {given}: ")


def loaded(frameworks, target, path, strategy, model, sequence):  # noqa: F811
    """What the package makes of the file: its answer, and the layers of each stage where it builds them."""
    world = devices(strategy)
    if target == "megatron":
        script = f'source {path}; printf "%s\\n" "${{MEGATRON_ARGS[@]}}" "connections $CUDA_DEVICE_MAX_CONNECTIONS"'
        words = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()
        connections = words.pop().removeprefix("connections ") or None
        words += ["--tokenizer-type", "NullTokenizer"]
        there = frameworks.ask("megatron_arguments", arguments=words, world=world, connections=connections)
        return there, there.get("stages")
    if target == "bridge":
        shape = {"num_layers": LAYERS[model], "seq_length": sequence, **SHAPES[model]}
        # Overlap of the tensor axis asks for one queue, sharded weights for several.
        connections = None if strategy["sharding"] in ("gradients", "weights") else "1"
        there = frameworks.ask("bridge_recipe", path=str(path), world=world, model=shape, connections=connections)
        return there, there.get("stages")
    if target == "torchtitan":
        function = {LLAMA: "llama3_70b", LLAMA_8B: "llama3_8b", DEEPSEEK: "deepseek_v3_671b"}[model]
        there = frameworks.ask("torchtitan_configuration", folder=str(path.parent), function=function)
        parts = there.get("parallelism", {}).get("module_fqns_per_model_part")
        return there, parts and [sum(name.startswith("layers.") for name in part) for part in parts]
    return frameworks.ask("deepspeed_configuration", path=str(path), world=world), None


def test_every_file_of_thirty_strategies_is_accepted_with_the_planned_stages(frameworks, tmp_path):  # noqa: F811
    accepted, staged = collections.Counter(), collections.Counter()
    refused = collections.Counter()
    chosen = list(strategies())
    assert len(chosen) >= 30
    for number, (strategy, model, batch, sequence) in list(enumerate(chosen))[::EVERY]:
        expected = layers_of_stages(strategy, LAYERS[model]) if strategy["pipeline"] > 1 else None
        for target in ("megatron", "bridge", "torchtitan", "deepspeed"):
            path, reason = file_of(strategy, model, batch, sequence, target, tmp_path / f"{number}.{target}")
            if path is None:
                refused[f"{target}: {reason}"] += 1
                continue
            there, stages = loaded(frameworks, target, path, strategy, model, sequence)
            assert "error" not in there, (target, there, strategy)
            accepted[target] += 1
            if target == "deepspeed":
                assert there["stage"] == ["none", "optimizer", "gradients", "weights"].index(strategy["sharding"])
                assert there["micro_batch"] * there["accumulation"] * strategy["data"] == batch
            elif expected is not None:
                assert stages == expected, (target, strategy)
                staged[target] += 1
    print(f"accepted {dict(accepted)}, of which with the planned stages {dict(staged)}; refused:")
    print(*(f"{count} {reason}" for reason, count in refused.items()), sep="\n")
    assert set(accepted) == {"megatron", "bridge", "torchtitan", "deepspeed"}
    assert staged["megatron"] and staged["torchtitan"]
