"""Published architectures in tiny sizes: captured, planned, run on 2 and 4 processes, exported where they are a chain."""

from __future__ import annotations

import functools
import itertools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import opweave  # noqa: E402
from opweave.capture.step import graph_of, read_step  # noqa: E402
from opweave.export import layers_by_stage, megatron_layout, pytorch_csv, torchtitan_settings  # noqa: E402
from opweave.run import compile_placement, compile_plan, verify  # noqa: E402
from torch import nn  # noqa: E402
from torch_loading import loaded_by_torch  # noqa: E402
from verify_support import spread, used_devices  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "head_dim": 8, "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}


def words(batch, length=8):
    return torch.randint(4, 60, (batch, length), generator=torch.Generator().manual_seed(1))


def own_loss(output):
    """That which a Hugging Face model computes from its labels."""
    return output.loss


def texts(batch):
    return {"input_ids": words(batch), "labels": words(batch)}


def masked(batch):
    """Texts of which the first are padded on the left."""
    mask = torch.ones(batch, 8, dtype=torch.long)
    mask[::2, :3] = 0
    return {**texts(batch), "attention_mask": mask}


def with_pictures(batch):
    return {
        "input_ids": words(batch),
        "pixel_values": torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(2)),
        "return_loss": True,
    }


def hugging_face(kind, head="AutoModelForCausalLM", **sizes):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (requirements-torch.txt)")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    auto = getattr(transformers, head)
    return (auto.from_config(config) if hasattr(auto, "from_config") else auto(config)).train()


class UNet(nn.Module):
    """Down and up again: each level hands its picture over to the way back."""

    def __init__(self, widths=(3, 8, 16, 16)):
        super().__init__()
        torch.manual_seed(0)
        levels = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.GroupNorm(4, o), nn.SiLU()) for i, o in levels
        )
        self.middle = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * o, i, 2, stride=2), nn.SiLU()) for i, o in reversed(levels)
        )

    def forward(self, pictures):
        x, skips = pictures, []
        for level in self.down:
            x = level(x)
            skips.append(x)
        x = self.middle(x)
        for level in self.up:
            x = level(torch.cat([x, skips.pop()], 1))
        return x


MODELS = {
    "gpt2": (
        lambda: hugging_face(
            "gpt2", vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32, tie_word_embeddings=False
        ),
        texts,
        own_loss,
    ),
    "llama": (lambda: hugging_face("llama", **GROUPED), masked, own_loss),
    "qwen3-moe": (
        lambda: hugging_face("qwen3_moe", **EXPERTS),
        texts,
        own_loss,
    ),
    "t5": (
        lambda: hugging_face(
            "t5",
            "AutoModelForSeq2SeqLM",
            **{"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
            decoder_start_token_id=0,
        ),
        texts,
        own_loss,
    ),
    "clip": (
        lambda: hugging_face(
            "clip",
            "CLIPModel",
            text_config={**SIZES, "eos_token_id": 63},
            vision_config={**SIZES, "image_size": 16, "patch_size": 8},
            projection_dim=16,
        ),
        with_pictures,
        own_loss,
    ),
    "u-net": (
        UNet,
        lambda batch: {"pictures": with_pictures(batch)["pixel_values"]},
        lambda made: (made * torch.linspace(-1, 1, 16)).square().mean(),
    ),
}


@functools.cache
def traced(name):
    """The model and its step."""
    build, inputs, loss = MODELS[name]
    model = build()
    return model, read_step(model, inputs(2), loss=loss)


@functools.cache
def captured(name):
    return graph_of(traced(name)[1], granularity="block", microbatches=2, loss=MODELS[name][2])


# In training mode: GPT-2 and T5 have dropout.
@pytest.mark.parametrize("name", MODELS)
def test_gradients_on_2_and_4_processes_are_those_of_the_model(name, monkeypatch):
    inputs = MODELS[name][1]
    (model, step), graph = traced(name), captured(name)
    # The trace of the graph serves its runs; that another one is the same is tested with smaller models.
    monkeypatch.setattr("opweave.run.traced.read_step", lambda *_, **__: step)
    assert {given for given, kind in graph.inputs.items() if kind == "input"} <= set(inputs(2))
    for devices in (2, 4):
        plan = spread(graph, devices)
        assert len(used_devices(plan)) == devices
        found = verify(model, plan, inputs(4))
        assert found.largest < 1e-5
        assert len(found.losses) == 2


# Embedding, 2 blocks, last norm, head, loss: stages of whole blocks, whatever passes between blocks beside activations
# is made in each of them.
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3-moe"])
def test_chains_are_exported(name):
    graph = captured(name).with_training(microbatches=4)
    cluster = opweave.Cluster.preset("h100", devices_per_node=2)
    for stages, shape, schedule in ((2, "linear", "1F1B"), (4, "loop", "Interleaved1F1B"), (4, "V", "ZBVZeroBubble")):
        plan = opweave.plan(
            graph.staged(stages, shape, devices=cluster),
            cluster,
            work_limit=5,
            threads=1,
            blocks="stage",
            progress=False,
        )
        program = compile_plan(plan, segments="stage")
        assert [len(segment.outputs) for segment in program.segments.values()] == [1] * (stages - 1) + [0]
        layers = layers_by_stage(program, plan.graph)
        assert layers[-1][-2:] == ["lm_head", "loss"]
        csv = pytorch_csv(program)
        assert csv.count("F") == 4 * stages
        assert loaded_by_torch(program, csv) == [[cell for cell in row.split(",") if cell] for row in csv.splitlines()]
        assert torchtitan_settings(program, layers).parallelism["pipeline_parallel_schedule"] == schedule
        if shape != "V":
            placement = compile_placement(plan)
            layout = megatron_layout(placement, layers_by_stage(placement, plan.graph)).layout
            assert layout == {"linear": "Et|tL", "loop": "E|(t|)*2L"}[shape]
