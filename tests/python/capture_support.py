"""Models of the tests of capture, traced once for all of them."""

import functools

import models
import pytest
from opweave.capture.step import graph_of, read_step

# Model, inputs, loss.
FAMILIES = {
    "language": (models.Gpt, lambda: (models.ids(),), models.next_token_loss),
    "tied": (lambda: models.Gpt(tied=True), lambda: (models.ids(),), models.next_token_loss),
    "experts": (lambda: models.Gpt(experts=4), lambda: (models.ids(),), models.next_token_loss),
    "two towers": (models.TwoTower, lambda: (models.pictures(), models.ids()), None),
    "convolutions": (models.Convolutions, lambda: (models.pictures(),), None),
    "vision and language": (models.VisionLanguage, lambda: (models.pictures(), models.ids()), models.next_token_loss),
}


@functools.cache
def step(family):
    model, inputs, loss = FAMILIES[family]
    return read_step(model, inputs(), loss=loss)


@functools.cache
def captured(family, granularity="operator"):
    """As opweave.capture gives it, traced once for all granularities."""
    return graph_of(step(family), granularity=granularity)


def by_phase(graph, key="flops"):
    sums = dict.fromkeys("FIWBO", 0)
    for op in graph.operators:
        sums[op["phase"]] += op.get(key, 0)
    return sums


def real_model(family):
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        return mode, FAMILIES[family][0]()


def makers_of(graph):
    return {tensor: op["name"] for op in graph.operators for tensor in op.get("outputs", ())}


def hugging_face(name):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (requirements-torch.txt)")
    small = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    if name == "llama":
        config = transformers.LlamaConfig(**small, num_key_value_heads=1)
        return lambda: transformers.LlamaForCausalLM(config), {"input_ids": models.ids(), "labels": models.ids()}
    if name == "mixtral":
        config = transformers.MixtralConfig(**small, num_key_value_heads=1, num_local_experts=4)
        return lambda: transformers.MixtralForCausalLM(config), {"input_ids": models.ids(), "labels": models.ids()}
    text = {**small, "max_position_embeddings": 16, "bos_token_id": 62, "eos_token_id": 63}
    vision = {**small, "image_size": 16, "patch_size": 4}
    del vision["vocab_size"]
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    inputs = {"input_ids": models.ids(), "pixel_values": models.pictures(), "return_loss": True}
    return lambda: transformers.CLIPModel(config), inputs
