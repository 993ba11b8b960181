"""Recipes of Megatron-Bridge become strategies, and nothing of them is dropped without a line."""

import json
import os
import pathlib

import pytest
from conftest import fails, succeeds

DATA = pathlib.Path(os.environ.get("OPWEAVE_DATA", "")) / "recipes/recipes.json"
BASE = {"recipe": "llama3_70b_pretrain_64gpu_h100_fp8cs_config", "base_recipe": "llama3_70b_pretrain_config"}


def stated(tmp_path, *recipes):
    path = tmp_path / "recipes.json"
    path.write_text(json.dumps(recipes if len(recipes) > 1 else recipes[0]))
    return json.loads(succeeds("convert", "recipe", path, "--json"))


def test_degrees_batch_and_devices_become_a_strategy(tmp_path):
    (recipe,) = stated(tmp_path, BASE | {"tp": 4, "pp": 4, "vpp": 5, "cp": 1, "sequence_parallel": True, "micro_batch": 1,
                                         "global_batch": 256, "sequence": 8192, "recompute_granularity": "full",
                                         "recompute_method": "block", "recompute_layers": 2,
                                         "comm_overlap": "CommOverlapConfig(tp_comm_overlap=True)"})  # fmt: skip
    assert (recipe["model"], recipe["task"], recipe["device"], recipe["devices"]) == (
        "llama3_70b",
        "pretrain",
        "h100",
        64,
    )
    assert recipe["run"] == {"global_batch": 256, "sequence": 8192, "precision": "fp8", "bf16_gradients": True,
                             "bf16_moments": False, "fused_loss": True}  # fmt: skip
    strategy = recipe["strategy"]
    assert [strategy[key] for key in ("tensor", "pipeline", "chunks", "context", "data")] == [4, 4, 5, 1, 4]  # 64 / 16
    assert strategy["schedule"] == "Interleaved-1F1B" and strategy["sharding"] == "optimizer"
    assert strategy["recomputed_layers"] == 10  # two of each of five chunks
    assert strategy["overlaps_tensor"] and strategy["sequence_parallel"]
    assert recipe["unstated"] == []


def test_what_is_not_set_is_the_base_recipes_and_what_is_no_number_is_said(tmp_path):
    (recipe,) = stated(tmp_path, BASE | {"tp": 8, "pp": 1, "ep": "expert_model_parallel_size", "global_batch": "size"})
    strategy = recipe["strategy"]
    # The base has context 2 and sequences of 8192 tokens in batches of 512; its 4 x 5 stages go with its pipeline.
    assert [strategy[key] for key in ("tensor", "pipeline", "chunks", "context", "data")] == [8, 1, 1, 2, 4]
    assert recipe["run"]["sequence"] == 8192 and recipe["run"]["global_batch"] == 512
    assert recipe["unstated"] == [
        'ep: "expert_model_parallel_size" is an expression of the recipe',
        'global_batch: "size" is an expression of the recipe',
    ]


@pytest.mark.parametrize(
    ("layout", "chunks", "layers", "lines"),
    [
        ("Et*19|t*20|(t*20|)*1t*21L", 1, [19, 20, 20, 21], 0),
        ("Et*9|(t*10|)*6t*11L", 2, [19, 20, 20, 21], 1),  # 9 + 10 layers, where ours are 10 + 9
        ("E,t*10|(t*10|)*6t*10,L", 2, [20, 20, 20, 20], 0),
        ("E||t*40|t*40L", 1, [0, 0, 40, 40], 0),
        ("Et*20|t*20|t*20|t*20mL", 1, [20, 20, 20, 20], 1),  # multi-token prediction
        ("Et*40|t*40L", 1, None, 1),  # two stages for four ranks
        ("Ex|t|t|L", 1, None, 1),
        ("some_layout(4)", 1, None, 1),
    ],
)
def test_layouts_of_every_kind_are_read(tmp_path, layout, chunks, layers, lines):
    (recipe,) = stated(tmp_path, BASE | {"tp": 4, "pp": 4, "vpp": chunks, "cp": 1, "pipeline_layout": layout})
    assert recipe["strategy"].get("layers_per_stage") == layers
    assert len([line for line in recipe["unstated"] if line.startswith("pipeline_layout: ")]) == lines


def test_settings_without_a_word_get_a_line_each(tmp_path):
    settings = {"tp": 4, "pp": 4, "vpp": 1, "offload": 20, "delay_wgrad": True, "overlap_moe_expert_parallel": True}
    settings |= {"recompute_granularity": "selective", "recompute_modules": ["core_attn", "mhc", "mlp"]}
    settings |= {"first_stage_layers": 10, "last_stage_layers": 22, "moe_flex": "deepep", "cuda_graphs": [1, 2]}
    (recipe,) = stated(tmp_path, BASE | settings)
    assert recipe["strategy"]["recompute"] == "selective"
    assert recipe["strategy"]["recomputed_modules"] == ["core_attn", "mlp"]
    assert recipe["strategy"]["activation_offload"] == 1  # 20 layers of 80 on each of four ranks
    assert recipe["strategy"]["layers_per_stage"] == [10, 24, 24, 22]  # 80 - 10 - 22 on two ranks
    assert [line.split(":")[0] for line in recipe["unstated"]] == [
        *("recompute_modules", "delay_wgrad", "overlap_moe_expert_parallel", "cuda_graphs", "moe_flex")
    ]


def test_a_recipe_without_degrees_takes_those_of_the_one_that_it_is_made_from(tmp_path):
    first = {"recipe": "llama3_8b_pretrain_8gpu_h100_bf16_config", "base_recipe": "llama3_8b_pretrain_config"}
    first |= {"file": "h100.py", "tp": 2, "pp": 1, "cp": 1, "micro_batch": 2, "global_batch": 128}
    other = first | {"recipe": "llama3_8b_pretrain_16gpu_h100_bf16_dev_config", "tp": 8}
    larger = {"recipe": "llama3_8b_pretrain_64gpu_h100_bf16_config", "file": "h100.py", "global_batch": "batch"}
    recipe = stated(tmp_path, other, first, larger)[2]
    assert (recipe["strategy"]["tensor"], recipe["strategy"]["data"], recipe["strategy"]["micro_batch"]) == (2, 32, 2)
    assert recipe["run"]["global_batch"] == 1024  # eight times the devices
    assert recipe["unstated"][0] == (
        "tp, pp: not set, taken from llama3_8b_pretrain_8gpu_h100_bf16_config, the batch growing with the devices"
    )
    alone = stated(tmp_path, larger)[0]["unstated"]
    assert any("sets no degrees and has no base" in line for line in alone)


def test_a_strategy_per_recipe_is_written_and_valued(tmp_path):
    path = tmp_path / "recipes.json"
    path.write_text(json.dumps([BASE | {"tp": 4, "pp": 4, "vpp": 5, "cp": 2, "global_batch": 512, "sequence": 8192}]))
    text = succeeds("convert", "recipe", path, "-o", tmp_path / "strategies")
    assert "1 recipe stated, 1 of them completely" in text
    model = pathlib.Path(__file__).resolve().parents[2] / "examples/strategies/llama3-70b.json"
    valued = succeeds("parallelize", model, "--cluster", "h100", "--nodes", 8, "--global-batch", 512, "--sequence", 8192,
                      "--precision", "fp8", "--evaluate", tmp_path / f"strategies/{BASE['recipe']}.json")  # fmt: skip
    assert "4x5" in valued


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"tp": 1}, 'key "recipe" is missing'),
        ({"recipe": "../outside"}, 'recipe is "../outside", expected letters'),
        (BASE | {"tp": -1}, "/tp: value is -1"),
        (BASE | {"tp": {"of": 1}}, "/tp: value is an object"),
        (7, "value is 7, expected"),
    ],
)
def test_what_is_no_recipe_is_refused_with_place_and_value(tmp_path, recipe, message):
    path = tmp_path / "recipes.json"
    path.write_text(json.dumps(recipe))
    assert message in fails(2, "convert", "recipe", path)


@pytest.mark.skipif(not DATA.is_file(), reason="OPWEAVE_DATA names no folder with recipes/recipes.json")
def test_every_published_recipe_is_stated(tmp_path):
    recipes = json.loads(succeeds("convert", "recipe", DATA, "-o", tmp_path, "--json"))
    assert len(recipes) == len(list(tmp_path.glob("*.json"))) == len(json.loads(DATA.read_text())) == 331
    for recipe, given in zip(recipes, json.loads(DATA.read_text()), strict=True):
        strategy = recipe["strategy"]
        for key, name in (("tp", "tensor"), ("pp", "pipeline"), ("cp", "context"), ("micro_batch", "micro_batch")):
            assert given.get(key, strategy[name]) == strategy[name]
        if recipe["devices"]:
            ranks = strategy["tensor"] * strategy["pipeline"] * strategy["context"] * strategy["data"]
            assert ranks == recipe["devices"] or any(line.startswith("data: ") for line in recipe["unstated"])
        for key in ("offload", "pipeline_layout"):
            if given.get(key) == "_get_kimi_k2_pipeline_layout(16, 1)":
                assert strategy["layers_per_stage"] == [4] * 15 + [1]
            elif key == "offload" and key in given:
                assert any(line.startswith("offload: ") for line in recipe["unstated"])
