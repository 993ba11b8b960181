"""opweave.parallelize and opweave.calibrate: what the command does, from Python values."""

import json
import pathlib

import opweave
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples/strategies/llama3-70b.json"
RUN = {"nodes": 8, "global_batch": 512, "sequence": 8192}


@pytest.fixture(scope="module")
def found():
    return opweave.parallelize(CONFIG, "h100", **RUN, target="megatron")


def test_strategies_are_ranked_and_sum_up(found):
    steps = [one.step_ns for one in found]
    assert steps == sorted(steps) and len(found) == 10
    assert found.best is found[0] and found.is_whole_space
    for one in found:
        assert one.fits and sum(one.time_ns.values()) == one.step_ns
        kinds = {kind: bytes_ for kind, bytes_ in one.memory_bytes.items() if kind not in ("total", "stage", "host")}
        assert sum(kinds.values()) == one.memory_bytes["total"]
        degrees = [one.strategy[key] for key in ("tensor", "context", "data", "pipeline")]
        assert degrees[0] * degrees[1] * degrees[2] * degrees[3] == 64
    lost = found.losses(3)
    assert sum(lost.values()) == found[3].step_ns - found.best.step_ns
    assert list(lost.values()) == sorted(lost.values(), reverse=True)


def test_a_model_may_be_a_path_a_dictionary_or_a_model():
    config = json.loads(CONFIG.read_text())
    model = opweave.Model.from_transformers(config)
    held = {"tp": 8, "pp": 4, "schedule": "1F1B"}
    first = opweave.parallelize(CONFIG, "h100", **RUN, fix=held)
    machines = {"device": "H100", "nodes": 8}
    for form in (config, model, model.to_dict()):
        again = opweave.parallelize(form, machines, **{**RUN, "nodes": None}, fix=held)
        assert list(again) == list(first)


def test_a_strategy_is_valued_as_it_was_found(found, tmp_path):
    found.best.save(tmp_path / "best.json")
    for form in (found.best, found.best.strategy, tmp_path / "best.json"):
        assert opweave.parallelize(CONFIG, "h100", **RUN, evaluate=form).best == found.best
    with pytest.raises(opweave.InputError, match=r"evaluate: .*= 1 devices, the cluster has 64"):
        opweave.parallelize(CONFIG, "h100", **RUN, evaluate={"tensor": 1})


def test_decisions_are_held():
    held = opweave.parallelize(CONFIG, "h100", **RUN, fix={"tp": 8, "pp": 4, "schedule": "1F1B"})
    assert {(one.strategy["tensor"], one.strategy["pipeline"], one.strategy["schedule"]) for one in held} == {
        (8, 4, "1F1B")
    }


def test_a_component_may_have_a_mesh_of_its_own(tmp_path):
    config = ROOT / "examples/strategies/llava-1.5-13b.json"
    run = {"global_batch": 128, "sequence": 2048}
    found = opweave.parallelize(config, "h100", **run, fix={"vision.tp": 1, "vision.mesh": "own", "tp": 2}, top=3)
    for one in found:
        (mesh,) = one.strategy["components"]
        assert (mesh["name"], mesh["tensor"], one.strategy["version"]) == ("vision", 1, 2)
        assert "vision(" in one.label
    assert found.records()[0]["vision.tp"] == 1
    found.best.save(tmp_path / "best.json")
    assert opweave.parallelize(config, "h100", **run, evaluate=tmp_path / "best.json").best == found.best
    explained = opweave.explain(found.best)
    choices = {choice for choice, _, _ in explained.other_choices}
    assert "vision on the shared mesh" in choices
    shared = opweave.parallelize(config, "h100", **run, fix={"vision.mesh": "shared"}, top=1)
    decisions = {name for name, _, _ in opweave.diff(found.best, shared.best).decisions}
    assert "components" in decisions


def test_the_table_is_text_html_records_and_pandas(found, tmp_path):
    text = str(found)
    assert "70.55 billion parameters on 8 x 8 H100" in text and found.best.label in text
    assert found._repr_html_().count("<tr>") == len(found) + 1
    assert found.best.label in repr(found)
    records = found.records()
    assert records[0]["tp"] == found.best.strategy["tensor"] and records[0]["step_s"] == found.best.step_ns / 1e9
    pandas = pytest.importorskip("pandas")
    table = found.to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == len(found)
    parts = [name for name in table if name.startswith("time_")]
    assert table[parts].sum(axis=1).tolist() == pytest.approx(table["step_s"].tolist())
    found.report(tmp_path / "report.html")
    assert "opweave strategy" in (tmp_path / "report.html").read_text()


def test_configurations_and_modules_of_transformers_are_taken():
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    sizes = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 16}
    config = transformers.LlamaConfig(**sizes)
    with torch.device("meta"):
        module = transformers.LlamaForCausalLM(config)
    run = {"nodes": 1, "global_batch": 64, "sequence": 2048}
    plans = [opweave.parallelize(form, "a100", **run) for form in (config, module, config.to_dict())]
    assert list(plans[0]) == list(plans[1]) == list(plans[2])
    assert plans[0].model.parameters == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster": "tpu9"}, 'device type "tpu9" is unknown'),
        ({"cluster": 3}, "cluster: value is a int, expected a device type"),
        ({"cluster": {"nodes": 2}}, 'cluster: key "device" is missing'),
        ({"model": {"model_type": "ernie"}}, 'model_type "ernie" is not known yet'),
        ({"fix": {"tp": 7}}, "no strategy is possible on 64 devices"),
        ({"fix": {"tp": 0}}, 'fix: tp is "0", expected a whole number from 1'),
        ({"fix": {"tp": "two"}}, 'fix: tp is "two", expected a whole number from 1'),
        ({"fix": {"xp": 2}}, 'fix: "xp" is unknown, expected tp, cp'),
        ({"fix": {"recompute": "some"}}, 'fix: recompute is "some", expected none, selective or full'),
        ({"precision": "int4"}, 'precision: value is "int4", expected bf16 or fp8'),
        ({"target": "jax"}, 'target: value is "jax", expected any, megatron or torchtitan'),
        ({"global_batch": 0}, "global_batch: value is 0, expected a whole number from 1"),
        ({"top": 0}, "top: value is 0, expected an integer from 1"),
        ({"time_limit": -1}, "time_limit: value is -1, expected a number from 0"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments, message):
    with pytest.raises(opweave.InputError) as refusal:
        opweave.parallelize(**({"model": CONFIG, "cluster": "h100", **RUN} | arguments))
    assert message in str(refusal.value).splitlines()[0]


def test_where_nothing_fits_the_least_memory_is_told():
    with pytest.raises(opweave.NoPlanError, match=r"no strategy fits: the least memory is .* a device has 74.5 GiB"):
        opweave.parallelize(CONFIG.with_name("llama3-405b.json"), "h100", nodes=1, global_batch=8, sequence=8192)


def steps_as_predicted(model):
    """Steps as the built-in profile predicts them."""
    steps = []
    for tp, pp in ((8, 2), (8, 4), (4, 4), (2, 8)):
        one = opweave.parallelize(model, "h100", **RUN, target="megatron", fix={"tp": tp, "pp": pp, "mbs": 1}).best
        strategy = {key: value for key, value in one.strategy.items() if key not in ("format", "version")}
        step = {"id": f"{tp}x{pp}", "profile": "mine", "machines": {"device": "H100", "nodes": 8}, "strategy": strategy}
        run = {"global_batch": 512, "sequence": 8192}
        steps.append(step | {"model": json.loads(CONFIG.read_text()), "run": run, "measured_ns": one.step_ns})
    return steps


def test_a_fitted_profile_predicts_its_steps_and_stays_with_the_strategy(tmp_path):
    model = opweave.Model.from_transformers(CONFIG)
    # Software that is a third slower than published: the built-in profile is far off.
    steps = [step | {"measured_ns": step["measured_ns"] * 4 // 3} for step in steps_as_predicted(model)]
    calibration = opweave.calibrate(steps)
    profile = calibration.profile()
    assert profile == calibration.profile("mine")
    assert (profile["format"], profile["device"], profile["precision"]) == ("opweave.profile", "H100", "bf16")
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile))
    for given in (profile, path, str(path)):
        for step, prediction in zip(steps, calibration.predictions, strict=True):
            valued = opweave.parallelize(model, "h100", **RUN, evaluate=step["strategy"], profile=given)
            assert valued.best.step_ns == prediction["predicted_ns"]
            assert valued.best.step_ns == pytest.approx(step["measured_ns"], rel=0.03)
    assert (valued.profile, valued.measured_steps, valued.published_steps) == ("mine", 4, 0)
    assert valued.median_error == calibration.profiles[0]["median_error"]
    assert valued.ninetieth_error == calibration.profiles[0]["ninetieth_error"]
    assert "mine, median error" in valued.summary() and "on 4 measured steps" in valued.summary()
    found = opweave.parallelize(model, "h100", **RUN, profile=path)
    explained = json.loads(found.best.to_json())
    assert explained["for"]["profile"] == profile
    again = opweave.parallelize(model, "h100", **RUN, evaluate=found.best)
    assert (again.profile, again.best.step_ns) == ("mine", found.best.step_ns)
    built_in = opweave.parallelize(model, "h100", **RUN, evaluate=found.best.strategy)
    assert built_in.published_steps and not built_in.measured_steps
    assert built_in.best.step_ns < 0.9 * found.best.step_ns
    points = opweave.sweep(model, ["h100", "a100"], nodes=8, global_batch=512, sequence=8192, profile=profile)
    assert [point.profile for point in points] == ["mine", "megatron-2023/A100/bf16"]
    assert points[0].step_ns == found.best.step_ns


def test_a_profile_that_is_wrong_here_gets_one_line():
    model = opweave.Model.from_transformers(CONFIG)
    steps = steps_as_predicted(model)
    profile = opweave.calibrate(steps[:1]).profile()
    for changed, message in (
        ({"device": "A100"}, '^profile: /device: value is "A100", expected "H100", the device type of the question'),
        ({"precision": "fp8"}, '^profile: /precision: value is "fp8", expected "bf16"'),
        ({"traffic": "much"}, "^profile: /traffic: "),
    ):
        with pytest.raises(opweave.InputError, match=message):
            opweave.parallelize(model, "h100", **RUN, profile=profile | changed)
    with pytest.raises(opweave.InputError, match="profile: value is a int, expected a path or the content"):
        opweave.parallelize(model, "h100", **RUN, profile=3)
    two = opweave.calibrate([steps[0], steps[1] | {"profile": "other"}])
    with pytest.raises(opweave.InputError, match="name: missing, expected mine, other"):
        two.profile()
    assert two.profile("other")["name"] == "other"
    mixed = opweave.calibrate([steps[0], steps[1] | {"machines": {"device": "A100", "nodes": 8}}])
    with pytest.raises(opweave.InputError, match="device type H100 and step"):
        mixed.profile()


def test_calibration_finds_the_profile_of_its_steps(tmp_path):
    # Constants fitted to steps as the built-in profile predicts them predict them again.
    model = opweave.Model.from_transformers(CONFIG)
    steps = steps_as_predicted(model)
    calibration = opweave.calibrate(steps)
    assert [profile["name"] for profile in calibration.profiles] == ["mine"]
    # A weak pull to usual values keeps the constants a little off.
    assert calibration.profiles[0]["median_error"] < 0.02
    assert [row["id"] for row in calibration.predictions] == ["8x2", "8x4", "4x4", "2x8"]
    assert "mine" in calibration._repr_html_()
    path = tmp_path / "steps.json"
    own = [
        step | {"model": {k: v for k, v in model.to_dict().items() if k not in ("format", "version")}} for step in steps
    ]
    path.write_text(json.dumps({"format": "opweave.measured-steps", "version": 1, "steps": own}))
    assert opweave.calibrate(path) == calibration
    with pytest.raises(opweave.InputError, match="no steps, expected at least 1"):
        opweave.calibrate([])


def test_measured_parts_of_one_step_tell_how_slow_its_collectives_are():
    # Parts as the built-in profile predicts them, but collectives of the tensor axis that take twice as long.
    model = opweave.Model.from_transformers(CONFIG)
    found = opweave.parallelize(model, "h100", **RUN, target="megatron", fix={"tp": 8, "pp": 2, "mbs": 1})
    one = found.best
    time = one.time_ns
    compute = sum(time[part] for part in ("matrix", "attention", "traffic", "recompute"))
    step = {
        "id": "one",
        "profile": "mine",
        "machines": {"device": "H100", "nodes": 8},
        "strategy": {key: value for key, value in one.strategy.items() if key not in ("format", "version")},
        "model": model,
        "run": {"global_batch": 512, "sequence": 8192},
        "measured_ns": one.step_ns + time["tensor"],
    }
    parts = {"compute": compute, "tensor": 2 * time["tensor"]}
    told = opweave.calibrate([{**step, "parts_ns": parts}])
    assert told.profiles[0]["communication"] == pytest.approx(2.1, rel=0.1)  # twice the 1.05 of the built-in profile
    assert told.predictions[0]["parts_ns"]["tensor"] == pytest.approx(parts["tensor"], rel=0.1)
    assert told.predictions[0]["parts_ns"]["compute"] == pytest.approx(compute, rel=0.1)
    untold = opweave.calibrate([step])
    assert abs(untold.predictions[0]["parts_ns"]["tensor"] / parts["tensor"] - 1) > 0.1
