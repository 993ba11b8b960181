"""Exports for the frameworks of others, and what they refuse."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys

import opweave
import pytest
import run_support as support
from conftest import PACKAGE, ROOT
from opweave.export import layer_kind, megatron_layout, pytorch_csv, torchtitan_modules, torchtitan_settings
from opweave.export.__main__ import main
from opweave.run import compile_plan

sys.path.append(str(ROOT / "tests/report"))

OPWEAVE = os.environ.get("OPWEAVE_BIN", str(ROOT / "build/default/opweave"))
LOOP = {f"s{i}": i % 2 for i in range(4)}
V = {f"s{i}": min(i, 3 - i) for i in range(4)}


def program(placement, devices=2, microbatches=2, seed=0):
    graph = support.chain(len(placement), microbatches)
    return compile_plan(support.plan(graph, placement, devices, seed), graph)


def rows(csv):
    return [[cell for cell in line.split(",") if cell] for line in csv.splitlines()]


def test_csv_rows_are_the_planned_orders_with_stage_numbers():
    for seed in range(5):
        made = program(V, microbatches=3, seed=seed)
        # PyTorch numbers losses by order, so microbatches are numbered in the order of the last stage, on device 0.
        order = [b for phase, segment, b in made.order(0) if (phase, segment) == ("F", "s3")]
        for rank, row in enumerate(rows(pytorch_csv(made))):
            assert row == [f"{segment[1:]}{phase}{order.index(b)}" for phase, segment, b in made.order(rank)]


def test_backwards_without_the_other_half_are_whole_ones():
    graph = support.chain(3, 1)
    # The first stage has no gradient of inputs, the second no parameters.
    graph["operators"] = [op for op in graph["operators"] if op["name"] not in ("s0.I", "s1.W")]
    w = next(op for op in graph["operators"] if op["name"] == "s0.W")
    w["inputs"] = ["ds0:0>s1"]
    made = compile_plan(support.plan(graph, {"s0": 0, "s1": 1, "s2": 0}, 2), graph)
    assert [cell for row in rows(pytorch_csv(made)) for cell in row] == "0F0 2F0 2I0 2W0 0B0 1F0 1B0".split()


def test_csv_with_messages_has_a_receive_for_every_send_and_a_reduction_per_stage():
    cells = [cell for row in rows(pytorch_csv(program(LOOP), "compute_comms")) for cell in row]
    # Three boundaries between ranks, two microbatches, two directions, two ends.
    assert sum("SEND" in cell or "RECV" in cell for cell in cells) == 3 * 2 * 2 * 2
    assert sorted(cell for cell in cells if "REDUCE" in cell) == [f"{stage}REDUCE_GRAD" for stage in range(4)]


def test_csv_is_read_back_by_the_core_as_a_plan_with_the_same_order(tmp_path):
    for seed in range(12):  # the reader proves that no messages wait in a circle
        made = program((V, LOOP, {f"s{i}": i // 3 for i in range(6)})[seed % 3], microbatches=4, seed=seed)
        again = opweave._core.format_schedule(pytorch_csv(made, "compute_comms"), "compute_only")
        assert again == pytorch_csv(made)


def test_csv_with_messages_follows_the_times_of_the_plan():
    # s0.F#1 ends at 20, while s1 runs F#0 from 10 to 30: the receive comes before that ends, so before it.
    graph = support.chain(2, 2)
    times = {("s0.F", 0): (0, 10), ("s0.F", 1): (10, 20), ("s1.F", 0): (10, 30), ("s1.F", 1): (30, 50)}
    plan = support.plan(graph, {"s0": 0, "s1": 1}, 2)
    for task in plan["tasks"]:
        key = (task["operator"], task["microbatch"])
        rest = 100 * (1 + ["s1.I", "s1.W", "s0.I", "s0.W"].index(key[0]) + 4 * key[1]) if key not in times else 0
        task["start_ns"], task["end_ns"] = times.get(key, (rest, rest + 50))
    cells = pytorch_csv(compile_plan(plan, graph), "compute_comms").splitlines()[1].split(",")
    assert cells[:5] == ["1RECV_F0", "1RECV_F1", "1F0", "1F1", "1I0"]


def woven(hidden):
    """Two stages on one device with two streams: F of stage 0 for microbatch 1 in two operators, the second of which
    needs both streams, so that the plan runs the I of stage 1 for microbatch 0 between them, for `hidden` ns."""
    graph = support.chain(2, 2)
    first = next(op for op in graph["operators"] if op["name"] == "s0.F")
    graph["operators"].insert(0, {**first, "name": "s0.hidden", "outputs": ["half"]})
    first["inputs"] = ["half"]
    graph["tensors"].append({"name": "half", "bytes": 100})
    times = {("s0.hidden", 0): (0, 10), ("s0.F", 0): (10, 20), ("s1.F", 0): (20, 30)}
    times |= {("s0.hidden", 1): (50 - hidden, 60), ("s1.I", 0): (50, 60), ("s0.F", 1): (60, 70), ("s1.W", 0): (70, 80)}
    rest = ["s1.F 1", "s1.I 1", "s1.W 1", "s0.I 0", "s0.W 0", "s0.I 1", "s0.W 1"]
    times |= {(name[:-2], int(name[-1])): (100 + 10 * i, 110 + 10 * i) for i, name in enumerate(rest)}
    plan = support.plan(support.chain(2, 2), {"s0": 0, "s1": 0}, 1)
    plan["tasks"] = [
        {"operator": name, "microbatch": b, "devices": ["gpu0"], "start_ns": start, "end_ns": end}
        for (name, b), (start, end) in times.items()
    ]
    return plan, graph


def test_a_forward_beside_a_backward_is_a_pair():
    plan, graph = woven(hidden=10)
    refuses(lambda: compile_plan(plan, graph, "stage"), "do not follow each other")
    csv = pytorch_csv(compile_plan(plan, graph, "stage", pairs=True))
    # F of microbatch 1 starts at 40, I at 50: side by side, with the W that completes the backward.
    assert csv == "0F0,1F0,(0F1;1B0)OVERLAP_F_B,1F1,1I1,1W1,0I0,0W0,0I1,0W1\n"
    assert opweave._core.format_schedule(csv, "compute_only") == csv
    # With two backwards inside of it a forward is no pair of anything.
    plan["tasks"][4]["end_ns"] = 52
    for task in plan["tasks"]:
        if (task["operator"], task["microbatch"]) == ("s1.F", 1):
            task["start_ns"], task["end_ns"] = 53, 54
        if (task["operator"], task["microbatch"]) == ("s1.I", 1):
            task["start_ns"], task["end_ns"] = 54, 56
    refuses(lambda: compile_plan(plan, graph, "stage", pairs=True), "do not follow each other")


def test_pairs_of_a_schedule_come_back_from_its_plan(tmp_path):
    """DualPipeV with a measured pair, as a plan in which F hides behind B: the same pairs in PyTorch's form."""
    operator = {"name": "op", "forward_ns": 1000, "input_gradient_ns": 1200, "weight_gradient_ns": 300}
    layer = {"name": "stage", "repeat": 4, "overlapped_pair_ns": 1700, "operators": [operator]}
    spec = {"format": "opweave.pipeline", "version": 1, "training": {"microbatches": 8}, "layers": [layer]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    files = [tmp_path / name for name in ("schedule.csv", "graph.json", "cluster.json")]

    def convert(*words):
        subprocess.run([OPWEAVE, "convert", *map(str, words)], check=True, capture_output=True)

    convert("pipeline", tmp_path / "spec.json", "--shape", "V", "--devices", 2, "-o", files[1], "--cluster", files[2])
    convert("expert", "DualPipeV", "--devices", 2, "--microbatches", 8, "-o", files[0])
    there = [cell for cell in files[0].read_text().replace("\n", ",").split(",") if "OVERLAP" in cell]
    assert len(there) > 20
    for mode, expected in (("atomic", there), ("split", [])):
        plan = tmp_path / f"{mode}.json"
        convert("csv", *files, "--pairs", mode, "-o", plan)
        program = compile_plan(plan, files[1], "stage", pairs=True)
        cells = pytorch_csv(program).replace("\n", ",").split(",")
        assert [cell for cell in cells if "OVERLAP" in cell] == expected
        again = opweave._core.format_schedule(pytorch_csv(program, "compute_comms"), "compute_only")
        assert again == pytorch_csv(program)


def refuses(call, text):
    with pytest.raises(ValueError) as error:
        call()
    assert text in str(error.value)


def test_what_is_no_chain_of_stages_is_refused_with_the_reason():
    skip = support.graph({"s0": [], "s1": ["s0"], "s2": ["s1", "s0"]}, 2)
    made = compile_plan(support.plan(skip, {"s0": 0, "s1": 1, "s2": 0}, 2), skip)
    refuses(
        lambda: pytorch_csv(made),
        'segment "s2" takes "s0:0" from "s0"; torch.distributed.pipelining passes tensors only',
    )
    two_way = support.chain(2, 2)
    two_way["training"]["replicas"] = 2
    made = compile_plan(support.plan(two_way, {"s0": [0, 1], "s1": [1, 0]}, 2), two_way)
    refuses(
        lambda: pytorch_csv(made),
        'segment "s0" lives on gpu0, gpu1; torch.distributed.pipelining has one rank per stage',
    )
    refuses(lambda: pytorch_csv(program(LOOP, 3)), "device gpu2 runs nothing")
    late_input = support.chain(2, 2)
    next(op for op in late_input["operators"] if op["name"] == "s1.F")["inputs"].append("mask")
    made = compile_plan(support.plan(late_input, {"s0": 0, "s1": 1}, 2), late_input)
    # Keyword arguments of PyTorch's step() reach every stage.
    assert pytorch_csv(made).count("F") == 4
    forward_only = support.chain(2, 1)
    forward_only["operators"] = [op for op in forward_only["operators"] if op["phase"] == "F"]
    made = compile_plan(support.plan(forward_only, {"s0": 0, "s1": 1}, 2), forward_only)
    refuses(lambda: pytorch_csv(made), "0I0 is missing")
    refuses(lambda: pytorch_csv(program(LOOP), "fast"), 'dialect: value is "fast"')


MODULES = [["tok_embeddings", "layers.0"], ["layers.1"], ["layers.2"], ["norm", "lm_head"]]


def test_torchtitan_settings_name_the_map_the_modules_and_the_schedule(tmp_path):
    settings = torchtitan_settings(program(V), MODULES, microbatch_size=3)
    assert settings.parallelism == {
        "pipeline_parallel_degree": 2,
        "pipeline_parallel_schedule": "ZBVZeroBubble",
        "pipeline_parallel_schedule_csv": "schedule.csv",
        "pipeline_parallel_microbatch_size": 3,
        "module_fqns_per_model_part": MODULES,
    }
    # Two microbatches of three sequences.
    assert settings.training == {"local_batch_size": 6, "global_batch_size": -1, "disable_cuda_graphs": True}
    text = settings.save(tmp_path).read_text()
    assert f'"module_fqns_per_model_part": {MODULES!r}' in text
    assert (tmp_path / "schedule.csv").read_text() == pytorch_csv(program(V))
    assert torchtitan_settings(program(LOOP), MODULES).parallelism["pipeline_parallel_schedule"] == "Interleaved1F1B"
    line = {f"s{i}": i for i in range(4)}
    assert torchtitan_settings(program(line, 4), MODULES).parallelism["pipeline_parallel_schedule"] == "1F1B"


def test_torchtitan_refuses_other_maps_and_module_lists():
    consecutive = {"s0": 0, "s1": 0, "s2": 1, "s3": 1}
    refuses(
        lambda: torchtitan_settings(program(consecutive), MODULES), "stages lie on ranks [0, 0, 1, 1]; torchtitan knows"
    )
    refuses(
        lambda: torchtitan_settings(program(V), MODULES[:3]), "modules has 3 entries, expected one for each of 4 stages"
    )
    refuses(lambda: torchtitan_settings(program(V), [*MODULES[:3], []]), 'stage "s3" has no modules')
    refuses(lambda: torchtitan_settings(program(V), [*MODULES[:3], ["layers.0"]]), 'module "layers.0" is in two places')
    # torchtitan's splitter leaves out what no stage names, so "output", the head of older versions, means no head.
    refuses(
        lambda: torchtitan_settings(program(V), [*MODULES[:3], ["norm", "output"]]),
        "modules have output and lack lm_head",
    )
    refuses(lambda: torchtitan_settings(program(V), [*MODULES[:3], ["lm_head"]]), "lack norm")
    refuses(lambda: torchtitan_settings(program(V), MODULES, base="llama3"), 'base: value is "llama3", expected module')


@pytest.mark.parametrize(
    ("layers", "modules"),
    [
        # Llama and GPT-style names, modules within layers, a norm that nothing names, an older name of the head.
        (["model.embed_tokens model.rotary_emb model.layers.0", "model.layers.1 model.norm lm_head loss"], None),
        (["tok_embeddings layers.0.attention.wq layers.0.feed_forward.w1", "layers.1.mlp output"], None),
        (["embedding dense.0", "moe.0 head"], None),
        (["wte wpe h.0", "h.1 ln_f lm_head"], 'layer "wpe" is no module of torchtitan'),
        (["tokens blocks.0", "blocks.1 head"], 'layer "tokens" is no module of torchtitan'),
        (["embed layers.0", "layers.1 mtp.0 head"], 'layer "mtp.0" is no module of torchtitan'),
        (["embed layers.0.mamba", "layers.1 head"], 'layer "layers.0.mamba" is no attention layer'),
    ],
)
def test_layers_become_modules_of_torchtitan_or_are_refused(layers, modules):
    stages = [stage.split() for stage in layers]
    if modules is None:
        assert torchtitan_modules(stages) == [["tok_embeddings", "layers.0"], ["layers.1", "norm", "lm_head"]]
    else:
        refuses(lambda: torchtitan_modules(stages), modules)


def unrolled(layout):
    """What Megatron-LM makes of a layout: parentheses first, then letters (pipeline_parallel_layer_layout.py)."""
    layout = layout.replace(",", "")
    layout = re.sub(r"\(([^)]+)\)\*(\d+)", lambda found: found[1] * int(found[2]), layout)
    return re.sub(r"(.)\*(\d+)", lambda found: found[1] * int(found[2]), layout).split("|")


def test_megatron_layouts_are_compressed_and_unroll_to_the_stages():
    loop = {f"s{i}": i % 2 for i in range(8)}
    layers = [
        ["embedding", "l.0"],
        *[[f"l.{2 * i + 1}", f"l.{2 * i + 2}"] for i in range(5)],
        ["l.11"],
        ["mtp", "lm_head"],
    ]
    layout = megatron_layout(program(loop), layers)
    assert layout.layout == "Et|(t*2|)*5t|mL"
    # E and 12 decoder layers of which the first stage has one, five have two and the seventh one; the MTP layer.
    assert layout.arguments() == [
        "--num-layers",
        "12",
        "--mtp-num-layers",
        "1",
        "--pipeline-model-parallel-size",
        "2",
        "--pipeline-model-parallel-layout",
        layout.layout,
    ]
    assert layout.stages_per_rank == 4
    rng = random.Random(4)
    for _ in range(50):
        sizes = [rng.randrange(4) for _ in range(8)]
        letters = ["E" + "t" * sizes[0], *["t" * size for size in sizes[1:7]], "t" * sizes[7] + "L"]
        letters[1] += "t"
        layout = megatron_layout(program(loop), letters, kind=str)
        assert unrolled(layout.layout) == letters


def test_megatron_refuses_what_its_layout_cannot_say():
    loop = {f"s{i}": i % 2 for i in range(4)}

    def layout(*stages, placement=loop, devices=2):
        return lambda: megatron_layout(program(placement, devices), stages, kind=str)

    refuses(
        layout("E", "t", "t", "L", placement=V),
        "stages lie on ranks [0, 1, 1, 0]; Megatron-LM puts stage s on rank s mod 2",
    )
    refuses(layout("E", "t", "t"), "layers has 3 entries, expected one for each of 4 stages")
    refuses(layout("t", "E", "t", "L"), "exactly one E, first")
    refuses(layout("E", "t", "L", "L"), "L in stages [2, 3]; Megatron-LM needs exactly one L, last")
    refuses(layout("E", "", "", "L"), "layers are EL; Megatron-LM needs a t")
    refuses(layout("E", "t", "m", "tL"), "every m after all t")
    refuses(layout("E", "t", "m", "mL"), "m is in stages [2, 3]")
    # Stage 1 is the first of rank 1, whose last is stage 3; stage 2 is the last of rank 0.
    refuses(layout("Et", "m", "", "L"), "m is in stage 1, after which rank 1 has another")
    assert layout("E", "t", "m", "L")().layout == "E|t|m|L"
    refuses(layout("Et", "L", placement={"s0": 0, "s1": 0}, devices=1), "2 stages lie on one rank")
    refuses(layout("E", "x", "t", "L"), "layer kind is 'x'")


@pytest.mark.parametrize(
    ("letter", "names"),
    [
        ("E", "model.embed_tokens tok_embeddings transformer.wte embedding word_embeddings gpt_neox.embed_in"),
        ("t", "layers.3 model.layers.11 transformer.h.0 decoder.layers.7 layer3 block_12 layers.0.input_layernorm"),
        ("t", "block decoder moe member layers.2.moe_embedding_gate moe_embedding_gate remember.4 lossless"),
        ("m", "mtp.0 mtp.layers.0.embedding mtp"),
        ("L", "lm_head output output_layer loss score unembed model.unembedding embed_out classifier"),
        ("", "final_layernorm decoder.final_layernorm model.norm transformer.ln_f transformer.wpe model.rotary_emb"),
        ("", "model.embed_positions transformer.drop rotary_pos_emb"),
    ],
)
def test_layers_are_recognised_by_whole_names(letter, names):
    # Issue 12, point 10: letters within other words ("emb" in "unembed", "member") say nothing.
    assert {name: layer_kind(name) for name in names.split()} == dict.fromkeys(names.split(), letter)


def test_layers_without_a_letter_are_left_out_and_head_and_loss_are_one_letter():
    # GPT-2 as it is captured: E for wte alone, two t, L for head and loss together.
    layers = [["transformer.wte", "transformer.wpe", "transformer.drop", "transformer.h.0"], ["transformer.h.1"]]
    layers[1] += ["transformer.ln_f", "lm_head", "loss"]
    assert megatron_layout(program({"s0": 0, "s1": 1}), layers).layout == "Et|tL"
    refuses(
        lambda: megatron_layout(program(LOOP), [["wte"], ["h.0"], ["lm_head"], ["loss"]]),
        "layers are EtLL, L in stages [2, 3]; Megatron-LM needs exactly one L, last",
    )


def test_modules_of_a_layer_are_one_letter_and_what_holds_others_is_none():
    # As a model is captured by operator: parts of layers, the model itself, tables of positions, a prediction in parts.
    layers = [
        ["model.embed_tokens", "model", "model.rotary_emb", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp"],
        [
            "model.layers.1.input_layernorm",
            "model.layers.1",
            "model.final_layernorm",
            "mtp.norm",
            "mtp.layer",
            "lm_head",
        ],
    ]
    made = megatron_layout(program({"s0": 0, "s1": 1}), layers)
    assert (made.layout, made.layers, made.predictions) == ("Et|tmL", 2, 1)
    # BERT's embeddings are one E; nothing but a norm of it makes no stage a t, but an empty one.
    layers = [["embeddings.word_embeddings", "embeddings.token_type_embeddings", "embeddings.LayerNorm"], ["layer.0"]]
    made = megatron_layout(program(LOOP), [*layers, ["norm"], ["score"]])
    assert (made.layout, made.layers) == ("E|t||L", 1)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([["embed", "layers.0.mamba.in_proj"], ["layers.1", "head"]], "has no layout for hybrid models"),
        ([["embed", "backbone.layers.0.ssm"], ["head"]], 'layer "backbone.layers.0.ssm" is no attention layer'),
        ([["embed", "layers.0.attn"], ["layers.0.mlp", "head"]], 'layer "layers.0" is in stages 0 and 1'),
        ([["vision.layers.0", "embed", "text.layers.0"], ["head"]], 'layers of "vision.layers" and of "text.layers"'),
    ],
)
def test_models_that_a_layout_cannot_say_are_refused_by_name(layers, message):
    refuses(lambda: megatron_layout(program({"s0": 0, "s1": 1}), layers), message)


def command(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_line_writes_every_target_and_says_what_it_cannot(tmp_path, capsys):
    graph = support.chain(4, 2)
    names = ["tok_embeddings", "layers.0", "layers.1", "output"]
    for op in graph["operators"]:
        op["layer"] = names[op["stage"]]
    plan = support.plan(graph, LOOP, 2)
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    files = (tmp_path / "plan.json", tmp_path / "graph.json")
    program = compile_plan(plan, graph)
    assert command(capsys, "pytorch", *files) == (0, pytorch_csv(program), "")
    with_messages = command(capsys, "pytorch", *files, "--dialect", "compute_comms", "-o", tmp_path / "schedule.csv")
    assert with_messages == (0, "", "")
    assert (tmp_path / "schedule.csv").read_text() == pytorch_csv(program, "compute_comms")
    layout = '--num-layers 2 --pipeline-model-parallel-size 2 --pipeline-model-parallel-layout "E|(t|)*2L"\n'
    assert command(capsys, "megatron", *files) == (0, layout, "")
    assert command(capsys, "torchtitan", *files, "-o", tmp_path / "run")[0] == 0
    assert "['layers.1'], ['norm', 'lm_head']]" in (tmp_path / "run/opweave_config.py").read_text()
    missing = command(capsys, "pytorch", tmp_path / "none.json", files[1])
    assert missing == (2, "", f"error: {tmp_path}/none.json: No such file or directory\n")
    plan["tasks"][0]["devices"] = ["gpu0", "gpu1"]
    files[0].write_text(json.dumps(plan))
    code, _, said = command(capsys, "pytorch", *files)
    assert code == 2
    assert "runs on 2 devices, expected 1" in said


def test_exports_and_compiling_need_no_torch():
    code = "import sys; sys.modules['torch'] = None; import opweave.run, opweave.export; opweave.run.compile_plan"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
