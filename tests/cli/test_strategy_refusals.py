"""What `opweave parallelize` and its kin refuse or explain by name, where an answer would mislead."""

import csv
import io
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
SMALL = ROOT / "examples/strategies/llama3-8b.json"
LARGE = ROOT / "examples/strategies/llama3-70b.json"
MIXTURE = ROOT / "examples/strategies/mixtral-8x22b.json"
STEP = ("--global-batch", "128", "--sequence", "4096")


def opweave(*arguments, code=0):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def machines(folder, name="own.json", **facts):
    path = folder / name
    path.write_text(json.dumps({"format": "opweave.machines", "version": 1, "device": "A100"} | facts))
    return path


def test_no_host_memory_is_none_and_no_device_memory_is_refused(tmp_path):
    found = {}
    for host in (0, 10**12):
        cluster = machines(tmp_path, memory_bytes=40 * 10**9, host_memory_bytes=host)
        done = opweave("parallelize", SMALL, "--cluster", cluster, *STEP, "--json", "-o", tmp_path / f"{host}.json")
        found[host] = json.loads(done.stdout)["strategies"]
        assert json.loads((tmp_path / f"{host}.json").read_text())["for"]["machines"]["host_memory_bytes"] == host
    assert all(one["memory_bytes"]["host"] == 0 for one in found[0])
    assert any(one["memory_bytes"]["host"] > 0 for one in found[10**12])
    done = opweave("parallelize", SMALL, "--cluster", machines(tmp_path, memory_bytes=0), *STEP, code=2)
    assert "/memory_bytes: value is 0, expected an integer of 1 to" in done.stderr


def test_too_little_host_memory_is_named_with_figures(tmp_path):
    cluster = machines(tmp_path, memory_bytes=40 * 10**9, host_memory_bytes=10**9)
    done = opweave("parallelize", SMALL, "--cluster", cluster, *STEP, "--fix", "tp=2,pp=1,optimizer_offload=1", code=3)
    error, hint = done.stderr.splitlines()
    assert "no strategy fits: the least memory is" in error
    assert " of its host (tp 2, pp 1," in error and error.endswith("a device has 37.3 GiB and 953.7 MiB of its host")
    assert hint.startswith("hint: ")


def test_the_host_of_a_strategy_goes_with_its_file_and_its_error_is_said_to_be_unknown(tmp_path):
    cluster = machines(tmp_path, memory_bytes=40 * 10**9, host_memory_bytes=10**12, host_bandwidth_bytes_per_s=1e12)
    best = tmp_path / "best.json"
    fix = ("--fix", "optimizer_offload=1")
    text = opweave("parallelize", SMALL, "--cluster", cluster, *STEP, *fix, "--top", 1, "-o", best).stdout
    assert "stepped there is uncalibrated" in text
    step = next(line for line in text.splitlines() if " ms " in line).split(" ms")[0].split()[-1]
    explained = opweave("explain", best).stdout
    assert step in explained and "stepped there is uncalibrated" in explained
    plain = opweave(
        "parallelize", SMALL, "--cluster", "h100", "--nodes", 4, *STEP, "--fix", "offload=0,optimizer_offload=0"
    )
    assert "uncalibrated" not in plain.stdout


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"recompute": "full", "recomputed_layers": 33}, "recomputed layers is 33, but no stage has more than 32"),
        (
            {"pipeline": 2, "data": 4, "recompute": "full", "recomputed_per_stage": [17, 0]},
            "recomputed layers of stage 0 is 17, but it has 16 layers",
        ),
        ({"recomputed_layers": 2}, "a number of layers to make again is set, but recompute is none"),
        ({"recompute": "selective", "recomputed_modules": ["moe_act"]}, "module moe_act is made again, but the model"),
        ({"recompute": "selective", "recomputed_modules": ["mla_up_proj"]}, "the model has no latent attention"),
        ({"recompute": "full", "recomputed_modules": ["mlp"]}, "recompute is full and makes all layers again whole"),
    ],
)
def test_a_strategy_that_contradicts_itself_or_the_model_is_refused(strategy, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": "opweave.strategy", "version": 1, "data": 8} | strategy))
    done = opweave("parallelize", SMALL, "--cluster", "h100", *STEP, "--evaluate", path, code=2)
    assert message in done.stderr


def test_a_strategy_that_the_target_cannot_say_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    strategy = {"pipeline": 2, "data": 4, "schedule": "ZB1P"}
    path.write_text(json.dumps({"format": "opweave.strategy", "version": 1} | strategy))
    asked = ("parallelize", SMALL, "--cluster", "h100", *STEP, "--evaluate", path)
    opweave(*asked)
    assert "schedule is ZB1P, Megatron-LM has 1F1B" in opweave(*asked, "--target", "megatron", code=2).stderr


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ("tp=5", "tensor 5 x context 1 x pipeline 1 does not make 16 devices"),
        ("schedule=DualPipe", "schedule DualPipe is valued (--evaluate), but not searched"),
        ("schedule=ZB1P,vpp=2", "vpp 2 does not go with schedule ZB1P, expected 1"),
        ("pp=1,vpp=2", "vpp 2 does not go with pp 1"),
        ("pp=1,schedule=ZB1P", "pp 1 does not go with schedule ZB1P"),
        ("modules=moe_act", "module moe_act is made again, but the model has no experts"),
        ("pp=2,vpp=20", "pipeline 2 x vpp 20 are more stages than the 32 layers"),
    ],
)
def test_what_is_held_in_vain_is_named(fix, message):
    done = opweave("parallelize", SMALL, "--cluster", "h100", "--nodes", 2, *STEP, "--fix", fix, code=2)
    assert message in done.stderr.splitlines()[0]


def test_what_is_held_beyond_the_space_is_said():
    asked = ("parallelize", SMALL, "--cluster", "h100", "--nodes", 2, *STEP, "--top", 1)
    text = opweave(*asked, "--fix", "tp=16").stdout
    assert "held beyond the space of the search: tp 16 is over nodes of 8 devices" in text
    assert "held beyond" not in opweave(*asked, "--fix", "tp=8").stdout


def test_held_degrees_that_do_not_fit_come_with_those_that_do():
    asked = ("parallelize", LARGE, "--cluster", "h100", "--nodes", 8, *STEP)
    done = opweave(*asked, "--fix", "tp=1,pp=1,offload=0,optimizer_offload=0,sharding=optimizer", code=3)
    assert done.stderr.splitlines()[1].startswith("hint: tp=")


def test_three_strategies_are_listed_where_three_are_not_alike():
    asked = ("parallelize", SMALL, "--cluster", "h100", "--nodes", 2, *STEP, "--json")
    few = json.loads(opweave(*asked, "--top", 3).stdout)
    many = json.loads(opweave(*asked, "--top", 10).stdout)
    assert (len(few["strategies"]), len(many["strategies"])) == (3, 10)
    steps = [one["step_ns"] for one in many["strategies"]]
    assert steps == sorted(steps)
    assert [one["step_ns"] for one in few["strategies"]] == steps[:3]
    assert few["bound_ns"] == many["bound_ns"]


def test_clusters_of_one_device_type_are_told_apart_by_what_differs(tmp_path):
    clusters = (machines(tmp_path, "40.json", memory_bytes=40 * 10**9), machines(tmp_path, "80.json"))
    out, page = tmp_path / "all.csv", tmp_path / "all.html"
    asked = ("sweep", "run", SMALL, "--cluster", ",".join(map(str, clusters)), "--nodes", "1,2", *STEP, "--workers", 1)
    text = opweave(*asked, "--csv", out, "--report", page).stdout
    names = [row["device"] for row in csv.DictReader(io.StringIO(out.read_text()))]
    assert names == ["A100 (memory 40 GB)"] * 2 + ["A100 (memory 80 GB)"] * 2
    assert all(name in text and name in page.read_text() for name in names)


def test_what_if_says_why_a_strategy_is_impossible(tmp_path):
    best = tmp_path / "best.json"
    run = ("--global-batch", "8", "--sequence", "4096")
    opweave("parallelize", SMALL, "--cluster", "h100", *run, "--fix", "dp=8", "-o", best)
    text = opweave("what-if", best, "--time-limit", 2).stdout
    assert "twice the nodes: this strategy is impossible: a batch of 8 is less than data 16 x microbatch 1" in text


def test_explain_of_a_strategy_tells_what_layers_and_recomputation_alone_would_gain(tmp_path):
    mine, record = tmp_path / "mine.json", tmp_path / "record.json"
    mine.write_text(json.dumps({"format": "opweave.strategy", "version": 1, "data": 8, "sharding": "optimizer",
                                "recompute": "full"}))  # fmt: skip
    opweave("parallelize", SMALL, "--cluster", "h200", *STEP, "--evaluate", mine, "-o", record)
    text = opweave("explain", record).stdout
    row = next(line for line in text.splitlines() if line.startswith("layers and recomputation anew"))
    assert "-" in row
    assert "recompute then" in text


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"model_max_length": 4096, "sliding_window": 1024, "sliding_window_size": 1024}, 0),
        ({"sliding_window": 1024, "sliding_window_size": 512}, 2),
        ({"sliding_window_size": 512}, 2),
    ],
)
def test_keys_of_configurations_that_say_nothing_or_the_same_are_no_obstacle(keys, code, tmp_path):
    config = {"model_type": "mistral", "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8}
    config |= {"num_key_value_heads": 8, "intermediate_size": 4096, "vocab_size": 32000} | keys
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = opweave("convert", "hf", tmp_path / "config.json", "-o", tmp_path / "model.json", code=code)
    assert code == 0 or 'key "sliding_window_size" is not known' in done.stderr
