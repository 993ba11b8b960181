"""Profiles of one's own: `calibrate -o`, `--profile` of `parallelize` and `sweep run`, strategies that keep one."""

import csv
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
MODEL = ROOT / "examples/strategies/llama3-8b.json"
RUN = ("--cluster", "h100", "--nodes", "4", "--global-batch", "128", "--sequence", "8192")
KERNELS = {
    "fused_attention": True, "attention_forward": 0.5, "attention_backward": 0.42, "fused_norms": True,
    "split_loss": True, "launches_ns": 210000, "gathers_again": True, "keeps_fp8": True,
    "keeps_expert_outputs": False, "gradient_bytes": 4, "logit_bytes": 10, "reserve_bytes": 2684354560,
    "pads_vocabulary": True, "balances_context": True,
}  # fmt: skip
TRUTH = {
    "format": "opweave.profile", "version": 1, "name": "truth", "device": "H100", "precision": "bf16",
    "experts": False, "recurrences": False, "matrix": 0.41, "traffic": 2.5, "communication": 3.25,
    "residuals": {"steps": 9, "peaks": 0, "median_error": 0.031, "ninetieth_error": 0.082}, "kernels": KERNELS,
}  # fmt: skip


def opweave(*arguments, code=0):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def bare(record):
    return {key: value for key, value in record.items() if key not in ("format", "version", "for")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Steps that were "measured" on software with the constants of TRUTH, and the profile fitted to them."""
    place = tmp_path_factory.mktemp("profiles")
    truth = write(place / "truth.json", TRUTH)
    own_model = json.loads(opweave("convert", "hf", MODEL, "-o", "/dev/stdout").stdout)
    steps = []
    for fix in ("tp=8,pp=1,mbs=1", "tp=4,pp=2,mbs=1", "tp=2,pp=4,mbs=1", "tp=8,pp=4,mbs=2", "tp=4,pp=4,mbs=1"):
        found = json.loads(opweave("parallelize", MODEL, *RUN, "--fix", fix, "--profile", truth, "--json").stdout)
        one = found["strategies"][0]
        steps.append({"id": fix, "profile": "mine", "model": bare(own_model),
                      "machines": {"device": "H100", "nodes": 4},
                      "run": {"global_batch": 128, "sequence": 8192}, "strategy": bare(one["strategy"]),
                      "measured_ns": one["step_ns"]})  # fmt: skip
    write(place / "steps.json", {"format": "opweave.measured-steps", "version": 1, "steps": steps})
    done = opweave("calibrate", place / "steps.json", "-o", place / "profile.json")
    assert f'profile "mine" (H100, bf16) is in {place}/profile.json' in done.stderr
    return place


def test_measured_steps_are_predicted_with_the_fitted_error_and_explained_with_the_same_step(folder, tmp_path):
    steps = json.loads((folder / "steps.json").read_text())["steps"]
    profile = json.loads((folder / "profile.json").read_text())
    assert (profile["name"], profile["device"], profile["precision"]) == ("mine", "H100", "bf16")
    assert profile["residuals"]["steps"] == len(steps)
    lines = [
        json.loads(line) for line in opweave("calibrate", folder / "steps.json", "--json-lines").stdout.splitlines()
    ]
    errors = []
    for step, line in zip(steps, lines, strict=True):
        strategy = {"format": "opweave.strategy", "version": 1, **step["strategy"]}
        asked = ("--evaluate", write(tmp_path / "one.json", strategy), "--profile", folder / "profile.json")
        answer = opweave("parallelize", MODEL, *RUN, *asked, "--json", "-o", tmp_path / "best.json").stdout
        step_ns = json.loads(answer)["strategies"][0]["step_ns"]
        assert step_ns == round(line["predicted_s"] * 1e9)  # what the fit predicts
        errors.append(abs(step_ns / step["measured_ns"] - 1))
        explained = json.loads(opweave("explain", tmp_path / "best.json", "--json").stdout)
        assert explained["explained"]["step_ns"] == step_ns  # of the file alone
        assert explained["for"]["profile"] == "mine"
    errors.sort()
    assert errors[len(errors) // 2] == pytest.approx(profile["residuals"]["median_error"], abs=1e-9)
    assert errors[len(errors) * 9 // 10] == pytest.approx(profile["residuals"]["ninetieth_error"], abs=1e-9)
    assert errors[len(errors) // 2] < 0.02  # a weak pull to usual values keeps the constants a little off
    built_in = json.loads(opweave("parallelize", MODEL, *RUN, "--evaluate", tmp_path / "one.json", "--json").stdout)
    assert abs(built_in["strategies"][0]["step_ns"] / steps[-1]["measured_ns"] - 1) > 0.1


def test_a_profile_predicts_steps_that_it_was_not_fitted_on(folder, tmp_path):
    steps = folder / "steps.json"
    fitted = [json.loads(line) for line in opweave("calibrate", steps, "--json-lines").stdout.splitlines()]
    done = opweave("calibrate", steps, "--with", folder / "profile.json", "--json-lines").stdout
    lines = [json.loads(line) for line in done.splitlines()]
    assert [line["predicted_s"] for line in lines] == [line["predicted_s"] for line in fitted]
    assert [line["left_out_s"] for line in lines] == [line["predicted_s"] for line in lines]
    slow = json.loads((folder / "profile.json").read_text())
    slow["matrix"] /= 2
    text = opweave("calibrate", steps, "--with", write(tmp_path / "slow.json", slow)).stdout
    worst = max(line["predicted_s"] / line["measured_s"] - 1 for line in lines)
    assert text.startswith("5 measured steps: error median ") and float(text.split()[-1].rstrip("%")) > 100 * worst + 20
    other = write(tmp_path / "a100.json", slow | {"device": "A100"})
    error = opweave("calibrate", steps, "--with", other, code=2).stderr
    assert f'{other}: /device: value is "A100", expected "H100"' in error
    out = tmp_path / "out.json"
    assert "expected one of the two" in opweave("calibrate", steps, "--with", other, "-o", out, code=2).stderr


def test_the_profile_is_named_with_its_own_errors(folder):
    text = opweave("parallelize", MODEL, *RUN, "--top", 1, "--profile", folder / "truth.json").stdout
    assert "profile: truth (median error 3.1% on 9 measured steps, 90th percentile 8.2%)\n" in text
    answer = json.loads(opweave("parallelize", MODEL, *RUN, "--profile", folder / "truth.json", "--json").stdout)
    named = {key: answer[key] for key in ("profile", "median_error", "ninetieth_error", "published_steps",
                                          "measured_steps")}  # fmt: skip
    assert named == {"profile": "truth", "median_error": 0.031, "ninetieth_error": 0.082, "published_steps": 0,
                     "measured_steps": 9}  # fmt: skip


def test_a_strategy_keeps_its_profile(folder, tmp_path):
    best = tmp_path / "best.json"
    found = json.loads(
        opweave("parallelize", MODEL, *RUN, "--profile", folder / "truth.json", "--json", "-o", best).stdout
    )["strategies"][0]
    record = json.loads(best.read_text())
    assert record["version"] == 2
    assert record["for"]["profile"] == TRUTH
    again = json.loads(
        opweave("parallelize", MODEL, *RUN, "--evaluate", best, "--json", "-o", tmp_path / "b.json").stdout
    )
    assert (again["profile"], again["strategies"][0]["step_ns"]) == ("truth", found["step_ns"])
    assert json.loads((tmp_path / "b.json").read_text()) == record
    changes = json.loads(opweave("what-if", best, "--json").stdout)["changes"]
    assert changes[0]["step_ns"] == found["step_ns"]
    difference = json.loads(opweave("diff", best, tmp_path / "b.json", "--json").stdout)
    assert difference["first"]["step_ns"] == difference["second"]["step_ns"] == found["step_ns"]
    for command in (("explain", best), ("what-if", best), ("diff", best, best)):
        assert "profile: truth (median error 3.1% on 9 measured steps" in opweave(*command).stdout
    opweave("parallelize", MODEL, *RUN, "-o", tmp_path / "usual.json")
    assert json.loads((tmp_path / "usual.json").read_text())["version"] == 1
    # The other question is named, and no profile is left out silently.
    error = opweave("parallelize", MODEL, *RUN, "--precision", "fp8", "--evaluate", best, code=2).stderr
    assert f'{best}: /for/profile/precision: value is "bf16", expected "fp8", the precision of the question' in error


def test_workers_predict_with_the_profile(folder):
    asked = ("parallelize", MODEL, *RUN, "--profile", folder / "truth.json", "--json")
    alone = json.loads(opweave(*asked).stdout)
    shared = json.loads(opweave(*asked, "--on", "processes", "--workers", 2).stdout)
    assert shared["strategies"] == alone["strategies"]
    assert shared["profile"] == "truth"
    assert alone["bound_ns"] == shared["bound_ns"]


@pytest.mark.parametrize("place", ["threads", "processes"])
def test_a_sweep_takes_a_profile_per_device_type(folder, tmp_path, place):
    sweep = ("sweep", "run", MODEL, "--cluster", "h100,a100", "--nodes", 4, "--global-batch", 128, "--sequence", 8192)
    asked = (*sweep, "--on", place, "--profile", folder / "truth.json", "--csv", tmp_path / "s.csv")
    opweave(*asked, "--journal", tmp_path / "j.jsonl")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [row["profile"] for row in rows] == ["truth", "megatron-2023/A100/bf16"]
    best = json.loads(opweave("parallelize", MODEL, *RUN, "--profile", folder / "truth.json", "--json").stdout)
    first = json.loads((tmp_path / "j.jsonl").read_text().splitlines()[1])
    points = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()[1:]]
    first = next(point for point in points if point["device"] == "H100")
    assert first["step_ns"] == best["strategies"][0]["step_ns"]
    assert "belongs to another question" in opweave(*sweep, "--journal", tmp_path / "j.jsonl", code=2).stderr


@pytest.mark.parametrize(
    ("command", "changed", "message"),
    [
        (
            "parallelize",
            {"device": "A100"},
            '/device: value is "A100", expected "H100", the device type of the question',
        ),
        (
            "parallelize",
            {"precision": "fp8"},
            '/precision: value is "fp8", expected "bf16", the precision of the question',
        ),
        ("parallelize", {"matrix": 1.5}, "/matrix: value is 1.5, expected a number of 0.01 to 1"),
        ("parallelize", {"format": "opweave.plan"}, '/format: value is "opweave.plan", expected "opweave.profile"'),
        ("parallelize", {"kernels": {}}, '/kernels: key "fused_attention" is missing'),
        ("sweep", {"device": "A100"}, '/device: value is "A100", expected a device type of the sweep'),
        ("sweep", {"precision": "fp8"}, '/precision: value is "fp8", expected "bf16", the precision of the question'),
    ],
)
def test_a_profile_that_is_wrong_here_is_refused_in_one_line(tmp_path, command, changed, message):
    path = write(tmp_path / "wrong.json", TRUTH | changed)
    words = ("sweep", "run") if command == "sweep" else (command,)
    error = opweave(*words, MODEL, *RUN, "--profile", path, code=2).stderr
    assert f"{path}: {message}" in error.splitlines()[0]


def test_calibrate_writes_one_profile_of_one_device_type(folder, tmp_path):
    content = json.loads((folder / "steps.json").read_text())
    two = json.loads(json.dumps(content))
    two["steps"][0]["profile"] = "other"
    steps = write(tmp_path / "two.json", two)
    out = tmp_path / "profile.json"
    assert (
        '--profile: missing, expected one of "mine", "other"' in opweave("calibrate", steps, "-o", out, code=2).stderr
    )
    assert not out.exists()
    opweave("calibrate", steps, "-o", out, "--profile", "other")
    assert json.loads(out.read_text())["name"] == "other"
    assert "expected --output beside it" in opweave("calibrate", steps, "--profile", "other", code=2).stderr
    mixed = json.loads(json.dumps(content))
    mixed["steps"][1]["machines"]["device"] = "A100"
    error = opweave("calibrate", write(tmp_path / "mixed.json", mixed), "-o", out, code=2).stderr
    assert "has device type H100 and step" in error.splitlines()[0]


def test_the_schema_says_what_the_reader_does(folder):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/schemas/profile.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json.loads((folder / "profile.json").read_text()))
    validator.validate(TRUTH)
    for changed in ({"matrix": 1.5}, {"kernels": {}}, {"precision": "int4"}, {"device": "H7"}, {"more": 1}):
        assert not validator.is_valid(TRUTH | changed)
