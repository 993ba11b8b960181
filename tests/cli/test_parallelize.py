"""`opweave parallelize` and `calibrate` as their users see them."""

import json
import math
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPWEAVE = pathlib.Path(os.environ.get("OPWEAVE_BIN", ROOT / "build/default/opweave")).resolve()
LARGE = ROOT / "examples/strategies/llama3-70b.json"  # a search takes a second of the processor
SMALL = ROOT / "examples/strategies/llama3-8b.json"  # a hundredth of it
RUN = ("--cluster", "h100", "--nodes", "8", "--global-batch", "512", "--sequence", "8192")


def opweave(*arguments, code=0):
    done = subprocess.run([OPWEAVE, *map(str, arguments)], text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_best_strategy_is_valued_as_it_was_found(tmp_path):
    found = json.loads(opweave("parallelize", LARGE, *RUN, "--json", "-o", tmp_path / "best.json").stdout)
    assert found["is_whole_space"]
    steps = [strategy["step_ns"] for strategy in found["strategies"]]
    assert steps == sorted(steps)
    best = found["strategies"][0]
    assert sum(best["time_ns"].values()) == best["step_ns"]
    again = json.loads(opweave("parallelize", LARGE, *RUN, "--evaluate", tmp_path / "best.json", "--json").stdout)
    assert again["strategies"][0] == best | {"alike": 0}


def test_what_a_strategy_of_the_user_leaves_out_or_contradicts_is_refused(tmp_path):
    mine = tmp_path / "mine.json"
    opweave("parallelize", SMALL, *RUN, "--fix", "dp=64,tp=1,mbs=1", "-o", mine)
    other = ("--cluster", "h100", "--nodes", "8", "--global-batch", "511", "--sequence", "8192")
    done = opweave("parallelize", SMALL, *other, "--evaluate", mine, code=2)
    assert "a batch of 511 is no multiple of data 64 x microbatch 1" in done.stderr
    assert "--fix" in opweave("parallelize", SMALL, *RUN, "--evaluate", mine, "--fix", "tp=2", code=2).stderr
    done = opweave("what-if", mine, "--memory", "2", code=2)
    assert "--memory: the changes of a strategy are fixed" in done.stderr


def test_of_strategies_with_equal_figures_one_is_listed():
    options = (*RUN[:2], "--nodes", "2", *RUN[4:], "--top", "10")
    found = json.loads(opweave("parallelize", SMALL, *options, "--json").stdout)["strategies"]
    assert len({(one["step_ns"], one["memory_bytes"]["total"], one["time_ns"]["bubble"]) for one in found}) == len(
        found
    )
    text = opweave("parallelize", SMALL, *options).stdout
    rows = [line for line in text.splitlines() if " more" in line]
    assert [int(row.split()[-2]) for row in rows] == [one["alike"] for one in found if one["alike"] > 0]
    assert rows
    assert len(found) == 10


def test_the_report_holds_what_was_found(tmp_path):
    page, best = tmp_path / "report.html", tmp_path / "best.json"
    found = json.loads(opweave("parallelize", SMALL, *RUN, "--json", "--top", "3", "--report", page, "-o", best).stdout)
    text = page.read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert [{k: v for k, v in one.items() if k != "stages"} for one in data["strategies"]] == found["strategies"]
    assert data["model"]["parameters"] == 8_030_261_248
    assert "http" not in text
    done = opweave("parallelize", SMALL, *RUN, "--report", best, "-o", best, code=2)
    assert "--report" in done.stderr


@pytest.mark.parametrize("name", ["run", "run/", "above/run.1/", "there.is"])
def test_a_folder_as_output_gets_the_strategy_and_its_page(name, tmp_path):
    (tmp_path / "there.is").mkdir()
    opweave("parallelize", SMALL, *RUN, "--top", 1, "-o", f"{tmp_path}/{name}")
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["report.html", "strategy.json"]
    again = opweave("parallelize", SMALL, *RUN, "--evaluate", tmp_path / name / "strategy.json", "--json").stdout
    assert json.loads(again)["strategies"]


def test_a_folder_that_cannot_be_made_is_said_before_the_search(tmp_path):
    (tmp_path / "file").touch()
    for option in ("-o", "--schedule"):
        done = opweave("parallelize", LARGE, *RUN, option, f"{tmp_path}/file/run", code=2)
        assert f"error: {tmp_path}/file/run: cannot be made: Not a directory" in done.stderr
        assert not done.stdout
    opweave("parallelize", SMALL, *RUN, "--top", 1, "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text().startswith("{")


def test_a_fixed_degree_and_a_target_are_kept():
    text = opweave("parallelize", SMALL, *RUN, "--fix", "tp=8,pp=4", "--target", "megatron", "--json").stdout
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
    done = opweave("parallelize", SMALL, *(word for pair in options.items() for word in pair), code=2)
    assert message in done.stderr
    assert done.stderr.splitlines()[0].startswith("error: ")


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"data": 3}, "= 3 devices, the cluster has 64", "hint: dp=64 would do"),
        ({"tensor": 64}, "32 heads cannot be split by tensor 64", "hint: tp="),
        ({"pipeline": 2, "data": 32, "layers_per_stage": [3, 4]}, "sum up to 7, expected 32", "layers_per_stage ["),
        ({"data": 64, "recompute": "selective"}, "recomputed modules are not set", "recompute none"),
        ({"pipeline": 64, "tensor": 3}, "= 192 devices, the cluster has 64", "hint: tp="),
    ],
)
def test_an_impossible_strategy_is_told_what_would_work(change, message, hint, tmp_path):
    strategy = {"format": "opweave.strategy", "version": 1} | change
    (tmp_path / "wrong.json").write_text(json.dumps(strategy))
    done = opweave("parallelize", SMALL, *RUN, "--evaluate", tmp_path / "wrong.json", code=2)
    assert message in done.stderr
    assert hint in done.stderr.splitlines()[1]


def test_heads_that_do_not_divide_are_told_those_that_do(tmp_path):
    config = json.loads(SMALL.read_text()) | {"num_attention_heads": 33, "num_key_value_heads": 8, "head_dim": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = opweave("parallelize", tmp_path / "config.json", *RUN, code=2)
    error, hint = done.stderr.splitlines()
    assert error.endswith("kv_heads is 8, expected a divisor of the 33 heads")
    assert hint == "hint: kv_heads 3 or 11 would do"


def test_where_nothing_fits_the_least_memory_is_told():
    options = ("--cluster", "h100", "--nodes", "1", "--global-batch", "8", "--sequence", "8192")
    options += ("--fix", "offload=0,optimizer_offload=0")  # with the host's memory it would fit
    done = opweave("parallelize", LARGE, *options, code=3)
    assert "no strategy fits: the least memory is" in done.stderr
    assert "a device has 74.5 GiB" in done.stderr  # 80e9 bytes


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "ernie", "hidden_size": 8}')
    done = opweave("parallelize", tmp_path / "config.json", *RUN, code=2)
    assert 'model_type "ernie" is not known yet, expected one of' in done.stderr


def test_a_configuration_becomes_a_model_that_is_planned_alike(tmp_path):
    opweave("convert", "hf", SMALL, "-o", tmp_path / "model.json")
    plans = [opweave("parallelize", model, *RUN, "--json").stdout for model in (SMALL, tmp_path / "model.json")]
    assert plans[0] == plans[1]


def test_the_pipeline_of_the_best_strategy_is_planned_and_its_files_are_read_by_others(tmp_path):
    model = {"format": "opweave.model", "version": 1, "hidden": 4096, "vocabulary": 32000}
    model["layers"] = [{"count": 10, "attention": {"heads": 32, "head_dim": 128}, "mlp": {"width": 14336}}]
    (tmp_path / "model.json").write_text(json.dumps(model))
    done = opweave(
        "parallelize",
        tmp_path / "model.json",
        "--cluster",
        "h100",
        "--global-batch",
        16,
        "--sequence",
        4096,
        "--target",
        "megatron",
        "--fix",
        "pp=4,vpp=1",
        "--schedule",
        tmp_path / "run",
        "--time-limit",
        6,
        "--json",
    )
    answer = json.loads(done.stdout)
    planned = answer["planned"]
    assert planned["bound_ns"] <= planned["step_ns"]
    steps = {(row["name"], row["stages"]): row["step_ns"] for row in planned["schedules"] if row["fits"]}
    # The formulas and the simulation of 1F1B differ by little; ours is no worse than any published one that fits.
    assert abs(steps["1F1B", "linear"] / planned["formulas_ns"] - 1) < 0.05
    assert planned["step_ns"] == min(steps.values())
    files = [tmp_path / "run" / name for name in ("graph.json", "cluster.json", "plan.json")]
    opweave("check", *files)


@pytest.mark.parametrize("fix", ["vpp=1,schedule=1F1B", "vpp=3,schedule=Interleaved-1F1B"])
def test_a_schedule_that_fits_by_the_formulas_alone_is_explained(fix, tmp_path):
    machines = {"format": "opweave.machines", "version": 1, "device": "H100"}
    layers = [{"count": 12, "attention": {"heads": 32, "head_dim": 128}, "mlp": {"width": 14336}}]
    model = {"format": "opweave.model", "version": 1, "hidden": 4096, "vocabulary": 32000, "layers": layers}
    (tmp_path / "model.json").write_text(json.dumps(model))

    def answer(memory, *options):
        (tmp_path / "machines.json").write_text(json.dumps(machines | memory))
        cluster = ("--cluster", tmp_path / "machines.json", "--global-batch", 16, "--sequence", 4096)
        held = ("--fix", f"pp=4,tp=1,dp=2,mbs=1,{fix}")
        return opweave("parallelize", tmp_path / "model.json", *cluster, *held, *options).stdout

    by_formulas = json.loads(answer({}, "--json"))["strategies"][0]["memory_bytes"]["total"]
    schedule = ("--schedule", tmp_path / "run", "--time-limit", 3)
    text = answer({"memory_bytes": by_formulas}, *schedule)
    name = fix.split("=")[-1]
    (note,) = (line for line in text.splitlines() if "does not fit operator by operator" in line)
    assert re.fullmatch(rf"{name} of the strategy .* holds up to [\d.]+ GiB, [\d.]+ [KM]iB more than .* use\.", note)
    assert "operator by operator:" not in answer({"memory_bytes": by_formulas * 2}, *schedule).replace(
        "planned operator by operator:", ""
    )


def test_a_strategy_without_a_pipeline_has_no_schedule(tmp_path):
    done = opweave("parallelize", SMALL, *RUN, "--fix", "pp=1,tp=8", "--schedule", tmp_path / "run", code=2)
    assert "there is nothing to order" in done.stderr


def test_published_recipes_are_predicted_and_found_or_beaten_in_seconds():
    compare = ROOT / "examples/strategies/compare"
    done = subprocess.run(
        [compare, "--json", "--opweave", OPWEAVE], text=True, capture_output=True, timeout=120, check=True
    )
    rows = {row["model"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == {"llama3-8b", "llama3-70b", "llama3-405b", "deepseek-v3", "mixtral-8x22b", "llava-1.5-13b"}
    for name, row in rows.items():
        assert row["source"]
        # What the profiles are known to miss (docs/strategies.md): mixtures of experts 20 %, 16,384 devices 10 %, others
        # 5 %. LLaVA is predicted for sequences of the greatest length, so above what was measured, and below twice it.
        error = row["recipe_s"] / row["measured_s"] - 1
        missed = {"mixtral-8x22b": 0.2, "llama3-405b": 0.1}.get(name, 0.05)
        assert 0 < error < 1 if name == "llava-1.5-13b" else abs(error) < missed
        # Recipes that fit are in the space that was searched.
        if row["recipe_fits"]:
            assert row["found_s"] <= row["recipe_s"]
    assert rows["deepseek-v3"]["seconds"] < 60 and rows["llama3-405b"]["seconds"] < 120
    assert rows["llama3-70b"]["seconds"] < 10


@pytest.fixture(scope="module")
def strategies(tmp_path_factory):
    """The best strategy, and the best with a tensor degree of 8."""
    folder = tmp_path_factory.mktemp("strategies")
    opweave("parallelize", SMALL, *RUN, "-o", folder / "best.json")
    opweave("parallelize", SMALL, *RUN, "--fix", "tp=8", "-o", folder / "mine.json")
    return folder


def test_explain_of_a_strategy_has_parts_and_other_choices(strategies):
    best = json.loads(opweave("parallelize", SMALL, *RUN, "--evaluate", strategies / "best.json", "--json").stdout)
    text = opweave("explain", strategies / "best.json").stdout
    assert f"{best['strategies'][0]['step_ns'] / 1e6:.2f} ms" in text
    assert "matrix products" in text and "activations" in text
    choices = text.partition("other choice")[2]
    # Nothing is better than the best.
    assert "+" in choices and not re.search(r" -\d", choices)


def test_diff_of_strategies_names_decisions_and_parts(strategies):
    text = opweave("diff", strategies / "mine.json", strategies / "best.json").stdout
    assert any(line.split()[:2] == ["tensor", "8"] for line in text.splitlines())
    assert any(line.startswith("step") and line.rstrip().endswith("%") for line in text.splitlines())
    same = opweave("diff", strategies / "best.json", strategies / "best.json").stdout
    assert "the same decisions" in same


def test_what_if_of_a_strategy_searches_anew(strategies):
    text = opweave("what-if", strategies / "best.json", "--time-limit", 5).stdout
    for change in ("as it is", "twice the nodes", "fabric twice as fast", "sequences twice as long", "twice the batch"):
        assert change in text


def test_what_if_never_finds_less_than_the_strategy_at_hand(strategies):
    changes = json.loads(opweave("what-if", strategies / "best.json", "--time-limit", 0, "--json").stdout)["changes"]
    kept = [change for change in changes if change["fits"]]
    assert kept
    for change in kept:
        assert change["best"]["step_ns"] <= change["step_ns"], change


def test_a_folder_where_a_strategy_is_expected_is_told_its_file(tmp_path):
    opweave("parallelize", SMALL, *RUN, "--top", 1, "-o", tmp_path / "run")
    for command in (["explain"], ["what-if"], ["diff", tmp_path / "run"]):
        done = opweave(*command, tmp_path / "run", code=2)
        expected = (
            f"error: {tmp_path}/run: is a folder, expected a file\nhint: its strategy is {tmp_path}/run/strategy.json\n"
        )
        assert done.stderr == expected


def test_a_strategy_that_is_for_nothing_is_refused(tmp_path):
    (tmp_path / "bare.json").write_text('{"format": "opweave.strategy", "version": 1}')
    assert 'key "for" is missing' in opweave("explain", tmp_path / "bare.json", code=2).stderr
    assert "CLUSTER is required" in opweave("explain", SMALL, code=2).stderr


STEP = ("--global-batch", "512", "--sequence", "8192")


def test_a_strategy_is_converted_for_what_it_was_found_for(tmp_path):
    best = tmp_path / "best.json"
    opweave("parallelize", SMALL, *RUN, "--target", "megatron", "--bf16-gradients", "--top", 1, "-o", best)
    convert = ("convert", "strategy", best, SMALL, "--to", "megatron")
    given = opweave(*convert, "--global-batch", 512, "--sequence", 8192, "--bf16-gradients").stdout
    assert "--global-batch-size 512" in given and opweave(*convert).stdout == given
    assert "--global-batch-size 1024" in opweave(*convert, "--global-batch", 1024, "--sequence", 8192).stdout
    assert "--sequence is required" in opweave(*convert, "--global-batch", 512, code=2).stderr
    assert "--global-batch is required" in opweave(*convert, "--bf16-gradients", code=2).stderr
    best.write_text(json.dumps({key: value for key, value in json.loads(best.read_text()).items() if key != "for"}))
    done = opweave(*convert, code=2)
    assert 'key "for" is missing' in done.stderr and "hint: --global-batch and --sequence" in done.stderr


def test_the_best_strategy_for_a_target_becomes_its_file(tmp_path):
    best = tmp_path / "best.json"
    for target, formats in (("megatron", ("megatron", "bridge")), ("torchtitan", ("torchtitan",))):
        opweave("parallelize", SMALL, *RUN, "--target", target, "--top", 1, "-o", best)
        strategy = json.loads(best.read_text())
        for form in formats:
            text = opweave("convert", "strategy", best, SMALL, *STEP, "--to", form, "-o", tmp_path / "file.py")
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
        ("megatron", {"tensor": 3}, "32 heads cannot be split by tensor 3"),
        ("torchtitan", {"data": 2, "sharding": "optimizer"}, "torchtitan shares out weights and gradients"),
        ("torchtitan", {"pipeline": 2, "schedule": "ZB1P"}, "--output is missing, expected a place for the schedule"),
        ("deepspeed", {"tensor": 2}, "tensor is 2, which DeepSpeed takes from the program"),
        ("deepspeed", {"recompute": "full"}, "recompute is full, which DeepSpeed takes from the program"),
    ],
)
def test_what_a_target_cannot_say_is_refused_with_the_reason(target, strategy, message, tmp_path):
    path = tmp_path / "strategy.json"
    path.write_text(json.dumps({"format": "opweave.strategy", "version": 1, **strategy}))
    assert message in opweave("convert", "strategy", path, SMALL, *STEP, "--to", target, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            [
                *("--cluster", "h100", "--global-batch", 512, "--sequence", 8192),
                "--fix",
                "offload=0,optimizer_offload=0",
            ],
            3,
            "hint: without --fix, tp=",
        ),
        ([*RUN, "--fix", "tp=3"], 2, "hint: tp=2 would do"),
        ([*RUN, "--fix", "tp=8,pp=4,dp=4"], 2, "hint: tp="),
        ([*RUN, "--fix", "mbs=3"], 2, "hint: mbs="),
        ([*RUN, "--fix", "pp=100"], 2, "hint: pp=1 would do"),
        ([*RUN, "--fix", "ep=8"], 2, "hint: ep=1 would do"),
        ([*RUN, "--fix", "pp=8,schedule=ZB1P", "--target", "megatron"], 2, "hint: schedule=1F1B would do"),
    ],
)
def test_what_cannot_be_comes_with_what_would_work(arguments, code, says):
    assert says in opweave("parallelize", LARGE, *arguments, code=code).stderr


TOWER = ROOT / "examples/strategies/internvl2-76b.json"  # 25 heads in the tower, 64 in the other layers
SHORT = ("--cluster", "h100", "--nodes", "16", "--global-batch", "32", "--sequence", "2048")


def test_a_tower_may_have_a_mesh_of_its_own_from_the_search_to_the_plan(tmp_path):
    best, shared, page = (tmp_path / name for name in ("best.json", "shared.json", "report.html"))
    done = opweave("parallelize", TOWER, *SHORT, "--top", 2, "-o", best, "--report", page)
    strategy = json.loads(best.read_text())
    (own,) = strategy["components"]
    axes = ("tensor", "context", "data", "pipeline")
    devices = [math.prod(mesh[axis] for axis in axes) for mesh in (own, strategy)]
    assert strategy["version"] == 2 and sum(devices) == 128
    assert f"its layers before the others on {devices[0]} devices of its own" in done.stdout
    assert "tower" not in done.stdout and done.stdout.splitlines()[6].startswith("vision ")
    assert len(strategy["layers_per_stage"]) == own["pipeline"] + strategy["pipeline"]
    assert sum(strategy["layers_per_stage"][: own["pipeline"]]) == 45
    assert '"components"' in page.read_text()
    # Valued as it was found, alone and beside the shared mesh, which is slower here.
    found = json.loads(opweave("parallelize", TOWER, *SHORT, "--top", 1, "--json").stdout)["strategies"][0]
    again = json.loads(opweave("parallelize", TOWER, *SHORT, "--evaluate", best, "--json").stdout)["strategies"][0]
    assert again == found
    opweave("parallelize", TOWER, *SHORT, "--fix", "vision.mesh=shared", "-o", shared)
    assert "components" not in json.loads(shared.read_text())
    changed = opweave("diff", shared, best).stdout
    assert "components" in changed
    text = opweave("explain", best).stdout
    choice = next(line for line in text.splitlines() if line.startswith("vision on the shared mesh"))
    assert "+" in choice
    text = opweave("explain", shared).stdout
    assert "%" in next(line for line in text.splitlines() if line.startswith("vision on a mesh of its own"))
    assert "(vision: tp" in opweave("what-if", best, "--time-limit", 5).stdout
    for target in ("megatron", "bridge", "torchtitan", "deepspeed"):
        batch = ("--global-batch", 32, "--sequence", 2048)
        done = opweave("convert", "strategy", best, TOWER, *batch, "--to", target, "-o", tmp_path / "file", code=2)
        assert 'component "vision" has a mesh of its own' in done.stderr


def test_the_schedule_over_two_meshes_is_checked(tmp_path):
    folder = tmp_path / "run"
    options = ("--fix", "vision.pp=2,vision.tp=1,pp=7", "--schedule", folder, "--time-limit", 8, "--json")
    planned = json.loads(opweave("parallelize", TOWER, *SHORT, *options).stdout)["planned"]
    assert planned["bound_ns"] <= planned["step_ns"]
    assert {row["stages"] for row in planned["schedules"]} == {"linear"}
    # Nine stages and four microbatches: ZB-2P, whose formula leaves out how stages wait then, is not in the space.
    assert planned["schedule"] == "ZB1P"
    assert abs(planned["step_ns"] / planned["formulas_ns"] - 1) < 0.03
    opweave("check", *(folder / name for name in ("graph.json", "cluster.json", "plan.json")))
    assert len(json.loads((folder / "cluster.json").read_text())["devices"]) == 9


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ("vision.tp=2", "25 heads cannot be split by tensor 2"),
        ("vision.ep=2", '--fix: "vision.ep" is unknown, expected "vision".tp, .cp, .dp, .pp or .mesh'),
        ("vision.mesh=mine", '--fix: vision.mesh is "mine", expected own or shared'),
        ("vision.mesh=shared,vision.tp=1", "a component on the shared mesh has no degrees of its own"),
        ("ear.tp=1", 'component "ear" has no mesh of its own, expected "vision", whose layers are the first'),
        ("vision.mesh=own,schedule=Interleaved-1F1B", "expected 1F1B, ZB1P or ZB-2P where a component"),
    ],
)
def test_a_mesh_that_cannot_be_gets_one_line(fix, message):
    done = opweave("parallelize", TOWER, *SHORT, "--fix", fix, code=2)
    assert message in done.stderr
    assert done.stderr.splitlines()[0].startswith("error: ")
    if fix == "vision.tp=2":
        assert "hint: vision.tp=1,vision.cp=1,vision.pp=" in done.stderr
