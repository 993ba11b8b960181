"""`opweave parallelize` and `calibrate` as their users see them."""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
LLAMA = ROOT / "examples/strategies/llama3-70b.json"
RUN = ("--cluster", "h100", "--nodes", "8", "--global-batch", "512", "--sequence", "8192")


def opweave(*arguments, code=0):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_best_strategy_is_valued_as_it_was_found(tmp_path):
    found = json.loads(opweave("parallelize", LLAMA, *RUN, "--json", "-o", tmp_path / "best.json").stdout)
    assert found["is_whole_space"]
    steps = [strategy["step_ns"] for strategy in found["strategies"]]
    assert steps == sorted(steps)
    best = found["strategies"][0]
    assert sum(best["time_ns"].values()) == best["step_ns"]
    again = json.loads(opweave("parallelize", LLAMA, *RUN, "--evaluate", tmp_path / "best.json", "--json").stdout)
    assert again["strategies"][0] == best


def test_a_fixed_degree_and_a_target_are_kept():
    text = opweave("parallelize", LLAMA, *RUN, "--fix", "tp=8,pp=4", "--target", "megatron", "--json").stdout
    for found in json.loads(text)["strategies"]:
        strategy = found["strategy"]
        assert (strategy["tensor"], strategy["pipeline"]) == (8, 4)
        assert strategy["schedule"] in ("1F1B", "Interleaved-1F1B") and strategy["sharding"] != "weights"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cluster", "tpu9"), 'device type "tpu9" is unknown, expected one of A100'),
        (("--fix", "tp=7"), "no strategy is possible on 64 devices"),
        (("--fix", "xp=2"), '--fix: "xp" is unknown'),
        (("--fix", "tp=two"), '--fix: tp is "two", expected a whole number'),
        (("--global-batch", "1", "--fix", "dp=8"), "a batch of 1 is no multiple of data 8"),
        (("--target", "jax"), '--target: value is "jax", expected any, megatron or torchtitan'),
        (("--precision", "int4"), '--precision: value is "int4", expected bf16 or fp8'),
    ],
)
def test_a_wrong_configuration_gets_one_line(arguments, message):
    options = dict(zip(RUN[::2], RUN[1::2], strict=True)) | dict(zip(arguments[::2], arguments[1::2], strict=True))
    done = opweave("parallelize", LLAMA, *(word for pair in options.items() for word in pair), code=2)
    assert message in done.stderr
    assert done.stderr.splitlines()[0].startswith("error: ")


def test_where_nothing_fits_the_least_memory_is_told():
    options = ("--cluster", "h100", "--nodes", "1", "--global-batch", "8", "--sequence", "8192")
    done = opweave("parallelize", LLAMA, *options, code=3)
    assert "no strategy fits: the least memory is" in done.stderr
    assert "a device has 74.5 GiB" in done.stderr  # 80e9 bytes


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "ernie", "hidden_size": 8}')
    done = opweave("parallelize", tmp_path / "config.json", *RUN, code=2)
    assert 'model_type "ernie" is not known yet, expected one of' in done.stderr


def test_a_configuration_becomes_a_model_that_is_planned_alike(tmp_path):
    opweave("convert", "hf", LLAMA, "-o", tmp_path / "model.json")
    plans = [opweave("parallelize", model, *RUN, "--json").stdout for model in (LLAMA, tmp_path / "model.json")]
    assert plans[0] == plans[1]


STEP = ("--global-batch", "512", "--sequence", "8192")


def test_the_best_strategy_for_a_target_becomes_its_file(tmp_path):
    best = tmp_path / "best.json"
    for target, formats in (("megatron", ("megatron", "bridge")), ("torchtitan", ("torchtitan",))):
        opweave("parallelize", LLAMA, *RUN, "--target", target, "--top", 1, "-o", best)
        strategy = json.loads(best.read_text())
        for form in formats:
            text = opweave("convert", "strategy", best, LLAMA, *STEP, "--to", form, "-o", tmp_path / "file.py")
            assert text.stdout == ""
            text = (tmp_path / "file.py").read_text()
            assert f'tensor_parallel_degree": {strategy["tensor"]},' in text or (
                f"tensor{'-' if form == 'megatron' else '_'}model" in text
            )


@pytest.mark.parametrize(
    ("target", "strategy", "message"),
    [
        ("jax", {}, '--to: value is "jax", expected megatron, bridge, torchtitan or deepspeed'),
        ("megatron", {"pipeline": 2, "schedule": "ZB1P"}, "schedule is ZB1P, Megatron-LM has 1F1B"),
        ("bridge", {"data": 3}, "a batch of 512 is no multiple of data 3 x microbatch 1"),
        ("megatron", {"tensor": 3}, "64 heads cannot be split by tensor 3"),
        ("torchtitan", {"data": 2, "sharding": "optimizer"}, "torchtitan shares out weights and gradients"),
        ("torchtitan", {"pipeline": 2, "schedule": "ZB1P"}, "--output is missing, expected a place for the schedule"),
        ("deepspeed", {"tensor": 2}, "tensor is 2, which DeepSpeed takes from the program"),
        ("deepspeed", {"recompute": "full"}, "recompute is full, which DeepSpeed takes from the program"),
    ],
)
def test_what_a_target_cannot_say_is_refused_with_the_reason(target, strategy, message, tmp_path):
    path = tmp_path / "strategy.json"
    path.write_text(json.dumps({"format": "opweave.strategy", "version": 1, **strategy}))
    assert message in opweave("convert", "strategy", path, LLAMA, *STEP, "--to", target, code=2).stderr
