"""Models of transformers: parameter counts are those of transformers itself, and what is not known is refused by name."""

import json
import pathlib
import random
import re
import warnings

import opweave
import pytest
from opweave.models import to_model

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

# Members that a random variation may change, by their names in the architectures; head counts odd ones among them.
SIZES = {
    "hidden_size": (96, 240, 480),
    "intermediate_size": (64, 136, 200),
    "vocab_size": (301, 1000),
    "num_hidden_layers": (1, 3, 6),
    "max_position_embeddings": (64, 130),
}
HEADS = ((6, 6, 16), (6, 3, 16), (12, 4, 8), (3, 1, 32), (4, 2, 24))
FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "qkv_bias", "use_qkv_bias", "use_qk_norm")
FLAGS += ("qk_layernorm", "attention_out_bias", "lm_head_bias", "use_sliding_window", "enable_bias", "bias")
FLAGS += (
    "multi_query",
    "parallel_attn",
    "new_decoder_architecture",
    "use_parallel_residual",
    "multimodal_projector_bias",
)
MIXTURE = {
    "num_experts": 6,
    "num_local_experts": 6,
    "n_routed_experts": 6,
    "moe_num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_shared_experts": (1, 2),
    "moe_num_shared_experts": (1, 2),
    "moe_intermediate_size": (24, 40),
    "shared_expert_intermediate_size": (32, 80),
    "first_k_dense_replace": (0, 1),
    "moe_layer_start_index": (0, 1),
    "moe_layer_interval": (1, 2),
    "decoder_sparse_step": (1, 2),
    "interleave_moe_layer_step": (1, 2),
    "intermediate_size_mlp": (72, 104),
    "n_group": 1,
    "topk_group": 1,
}
LATENT = {
    "q_lora_rank": (48, None),
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 24,
}

CAUSAL = """llama mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe gemma gemma2 gemma3_text phi phi3 phimoe deepseek_v2
deepseek_v3 gpt2 gpt_neo gpt_neox gptj gpt_bigcode codegen opt bloom falcon mpt starcoder2 olmo olmo2 olmo3 olmoe glm glm4
glm4_moe granite granitemoe cohere cohere2 gpt_oss minimax_m2 nemotron stablelm smollm3 ernie4_5 ernie4_5_moe dots1
hunyuan_v1_dense exaone4 seed_oss apertus arcee persimmon helium llama4_text""".split()
# One that masked tokens, an image or another sequence trains, and the class that counts.
OTHERS = {
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "xlm-roberta": "XLMRobertaForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "vit": "ViTForImageClassification",
    "t5": "T5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "whisper": "WhisperForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
    "gemma3": "Gemma3ForConditionalGeneration",
    "llama4": "Llama4ForConditionalGeneration",
}
# Mixers with a state of fixed size, beside attention or instead of it, and small sizes with what they may vary.
MAMBA = {"mamba_d_conv": 4, "mamba_expand": 2}
MAMBA2 = MAMBA | {"mamba_n_heads": 12, "mamba_d_head": "auto", "mamba_n_groups": (1, 3), "mamba_d_state": (16, 24)}
MAMBA_BIAS = {"mamba_conv_bias": (True, False), "mamba_proj_bias": (True, False)}
BIAS = {"attention_bias": (True, False), "mlp_bias": (True, False)}
SPARSE = {"num_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 72}
DELTA = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": (8, 16)}
DELTA |= {"linear_value_head_dim": (16, 24), "linear_conv_kernel_dim": (3, 4)}
KINDS = ["linear_attention", "moe", "full_attention", "mlp"]
NEMOTRON = {"layers_block_type": (["linear_attention", "mlp"] * 3, KINDS, KINDS[:1], KINDS[1:] * 2)}
NEMOTRON |= {"mamba_num_heads": 6, "mamba_head_dim": 8, "n_groups": 3, "ssm_state_size": 16, "n_routed_experts": 6}
NEMOTRON |= {"moe_intermediate_size": 24, "moe_shared_expert_intermediate_size": 40, "num_experts_per_tok": 2}
LAYERS = (["linear_attention", "full_attention", "linear_attention"], ["linear_attention"] * 3)
SCAN = {"state_size": (8, 16), "expand": 2, "time_step_rank": (5, "auto"), "conv_kernel": (3, 4)}
SCAN |= {"use_bias": (True, False), "use_conv_bias": (True, False)}
SHORT = {"conv_bias": (True, False), "conv_L_cache": (3, 4)}
RECURRENT = {
    "mamba2": {"num_heads": 12, "head_dim": 16, "n_groups": (1, 3), "state_size": (16, 24), "expand": 2,
               "conv_kernel": (3, 4), "use_bias": (True, False), "use_conv_bias": (True, False)},
    "bamba": MAMBA2 | MAMBA_BIAS | BIAS | {"attn_layer_indices": (None, [1], [0, 2]), "intermediate_size": 72},
    "falcon_h1": MAMBA2 | MAMBA_BIAS | BIAS | {"mamba_d_ssm": (None, 96), "mamba_rms_norm": (True, False),
                                               "projectors_bias": (True, False), "intermediate_size": 72},
    "jamba": MAMBA | SPARSE | MAMBA_BIAS | {"mamba_d_state": (8, 16), "mamba_dt_rank": (5, "auto"),
                                            "num_experts": (1, 6), "attn_layer_period": 2, "attn_layer_offset": 1},
    "nemotron_h": NEMOTRON | {"use_bias": (True, False), "use_conv_bias": (True, False), "mlp_bias": (True, False),
                              "intermediate_size": 72},
    "qwen3_next": DELTA | SPARSE | {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "head_dim": 16,
                                    "mlp_only_layers": ([], [0]), "decoder_sparse_step": (1, 2),
                                    "attention_bias": (True, False)},
    "qwen3_5_text": DELTA | {"intermediate_size": 72, "head_dim": 16, "attention_bias": (True, False)},
    "qwen3_5_moe_text": DELTA | SPARSE | {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40,
                                          "head_dim": 16, "attention_bias": (True, False)},
    "olmo_hybrid": DELTA | {"intermediate_size": 72, "attention_bias": (True, False), "pad_token_id": None},
    "granitemoehybrid": MAMBA2 | MAMBA_BIAS | {"num_local_experts": (0, 6), "num_experts_per_tok": 2,
                                               "intermediate_size": 72, "shared_intermediate_size": 40,
                                               "attention_bias": (True, False), "layer_types": LAYERS,
                                               "num_hidden_layers": 3},
    "mamba": SCAN,
    "falcon_mamba": SCAN,
    "kimi_linear": LATENT | {"num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 72,
                             "moe_intermediate_size": 24, "n_shared_experts": (1, 2), "linear_head_dim": (8, 16),
                             "linear_num_heads": (3, 6), "linear_conv_kernel_dim": (3, 4), "n_group": 1,
                             "attention_bias": (True, False), "first_k_dense_replace": (0, 1),
                             "tie_word_embeddings": False, "pad_token_id": None},
    "rwkv": {"attention_hidden_size": (None, 72), "intermediate_size": (None, 136)},
    "lfm2": SHORT | {"block_auto_adjust_ff_dim": (True, False), "block_multiple_of": (8, 256), "intermediate_size": 200,
                     "block_ffn_dim_multiplier": (1.0, 1.3), "full_attn_idxs": (None, [1]), "layer_types": None},
    "lfm2_moe": SHORT | {"intermediate_size": 72, "moe_intermediate_size": 24, "num_experts": 6,
                         "num_experts_per_tok": 2, "num_dense_layers": (0, 1), "num_hidden_layers": 3,
                         "layer_types": (["conv", "full_attention", "conv"], ["conv"] * 3)},
    "recurrent_gemma": {"intermediate_size": 136, "lru_width": (None, 72), "conv1d_width": (3, 4),
                        "attention_bias": (True, False), "block_types": (["recurrent", "attention"], ["recurrent"])},
    "xlstm": {"num_heads": 4, "use_bias": (True, False), "qk_dim_factor": (0.5, 1.0), "v_dim_factor": (1.0, 2.0),
              "ffn_proj_factor": (2.0, 2.667), "ffn_round_up_to_multiple_of": (8, 64), "embedding_dim": 96,
              "weight_mode": ("single", "fused"), "num_blocks": None},
    "minimax": {"num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 72, "head_dim": (None, 24)},
}  # fmt: skip
# Without these the class of transformers has no model.
NEEDED = {
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 2},
    "deepseek_v2": {"num_experts_per_tok": 4},
    "nemotron": {"num_key_value_heads": 8, "head_dim": 128},
    "hunyuan_v1_dense": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv"] * 32},
}


def parameters_of(config, kind=None):
    """As transformers counts them, of a model without memory."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = getattr(transformers, kind)(config) if kind else transformers.AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def configuration(name, **members):
    return transformers.AutoConfig.for_model(name, **{**NEEDED.get(name, {}), **members})


def variation(name, chance):
    """A small configuration of the architecture with random members among those that it has."""
    usual = configuration(name)
    names = {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"} if name == "gpt_neo" else {}
    known = set(usual.to_dict()) | set(getattr(usual, "attribute_map", {}))
    heads, kv_heads, head_dim = chance.choice(HEADS)
    members = {key: chance.choice(values) for key, values in SIZES.items()}
    members["hidden_size"] = members["hidden_size"] if members["hidden_size"] % (2 * heads) == 0 else heads * 32
    members |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "num_kv_heads": kv_heads}
    members |= {"head_dim": head_dim if name != "helium" else members["hidden_size"] // heads}
    members |= {flag: chance.random() < 0.5 for flag in FLAGS}
    members |= {key: chance.choice(value) if isinstance(value, tuple) else value for key, value in MIXTURE.items()}
    members["ffn_dim"] = members["ffn_hidden_size"] = members["n_inner"] = members["hidden_dim"] = 136
    members |= {"sliding_window": 32, "max_window_layers": 1, "pad_token_id": None}
    if "kv_lora_rank" in known:
        members |= {key: chance.choice(value) if isinstance(value, tuple) else value for key, value in LATENT.items()}
        del members["head_dim"]
    if name == "gpt_neo":
        members["attention_types"] = [[["global", "local"], members["num_hidden_layers"]]]
        members["num_hidden_layers"] *= 2
    if name in ("qwen2_moe", "qwen3_moe") and members["num_hidden_layers"] > 1:
        members["mlp_only_layers"] = [0]
    kept = {names.get(key, key): value for key, value in members.items() if key in known}
    return configuration(name, **kept)


@pytest.mark.parametrize("name", CAUSAL)
def test_parameters_of_a_decoder_are_those_of_transformers(name):
    chance = random.Random(name)
    for config in (configuration(name), *(variation(name, chance) for _ in range(6))):
        assert opweave.Model.from_transformers(config).parameters == parameters_of(config), config


@pytest.mark.parametrize("name", RECURRENT)
def test_parameters_of_state_spaces_linear_attention_and_hybrids_are_those_of_transformers(name):
    chance = random.Random(name)
    sizes = {"hidden_size": 96, "vocab_size": 301, "tie_word_embeddings": (True, False)}
    if name != "nemotron_h":
        sizes["num_hidden_layers"] = (2, 5)
    if name not in ("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"):
        sizes |= {"num_attention_heads": 6, "num_key_value_heads": (2, 6)}
    for _ in range(8):
        members = sizes | RECURRENT[name]
        members = {key: chance.choice(value) if isinstance(value, tuple) else value for key, value in members.items()}
        config = configuration(name, **members)
        model = opweave.Model.from_transformers(config)
        assert model.parameters == parameters_of(config), config
        assert opweave.Model.from_dict(model.to_dict()) == model
    usual = configuration(name)
    assert opweave.Model.from_transformers(usual).parameters == parameters_of(usual)


def test_a_file_of_kimi_linear_says_its_linear_layers_in_an_object_of_their_own():
    # Members as on the Hub (Kimi-Linear-48B-A3B): layers are counted from 1, experts under other names.
    linear = {"full_attn_layers": [4, 8], "kda_layers": [1, 2, 3, 5, 6, 7], "num_heads": 32, "head_dim": 128}
    config = {"model_type": "kimi_linear", "hidden_size": 2304, "num_hidden_layers": 8, "intermediate_size": 9216}
    config |= {"num_attention_heads": 32, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128}
    config |= {"qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256, "num_experts_per_token": 8}
    config |= {"num_shared_experts": 1, "moe_intermediate_size": 1024, "first_k_dense_replace": 1, "vocab_size": 163840}
    config |= {"moe_layer_freq": 1, "tie_word_embeddings": False, "head_dim": 72, "model_max_length": 1048576}
    config |= {"linear_attn_config": linear | {"short_conv_kernel_size": 4}}
    model = opweave.Model.from_transformers(config)
    assert model.parameters == parameters_of(transformers.AutoConfig.for_model(**config))
    assert [run["count"] for run in model.layers] == [1, 2, 1, 3, 1]
    assert ["recurrence" in run for run in model.layers] == [True, True, False, True, False]
    config["linear_attn_config"]["kda_layers"] = [1, 2, 3, 5, 6]
    with pytest.raises(opweave.InputError, match='layer 7 is in neither of "full_attn_layers" and "kda_layers"'):
        opweave.Model.from_transformers(config)


def test_a_file_of_lfm2_says_its_sizes_under_other_names_too():
    # Members as on the Hub (LFM2-1.2B).
    config = {"model_type": "lfm2", "hidden_size": 2048, "block_dim": 2048, "conv_dim": 2048, "conv_dim_out": 2048}
    config |= {"block_ff_dim": 12288, "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0}
    config |= {"block_multiple_of": 256, "block_norm_eps": 1e-05, "block_use_swiglu": True, "num_hidden_layers": 16}
    config |= {"conv_L_cache": 3, "conv_bias": False, "full_attn_idxs": [2, 5, 8, 10, 12, 14], "theta": 1000000.0}
    config |= {"num_attention_heads": 32, "num_heads": 32, "num_key_value_heads": 8, "vocab_size": 65536}
    config |= {"use_pos_enc": True, "conv_use_xavier_init": True, "tie_embedding": True, "block_out_init_scale": 1.0}
    model = opweave.Model.from_transformers(config)
    assert model.parameters == parameters_of(transformers.AutoConfig.for_model(**config)) == 1_170_340_608
    assert [run["count"] for run in model.layers] == [2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert model.layers[0]["recurrence"]["update"] == "convolve" and "recurrence" not in model.layers[1]
    with pytest.raises(opweave.InputError, match="conv_dim: value is 1024, expected hidden_size = 2048"):
        opweave.Model.from_transformers(config | {"conv_dim": 1024})


def test_layers_of_a_hybrid_have_the_mixer_that_the_configuration_says():
    config = configuration("nemotron_h", layers_block_type=[*KINDS, "linear_attention"])
    layers = opweave.Model.from_transformers(config).layers
    kinds = [{kind for kind in ("attention", "recurrence", "mlp", "experts") if layer.get(kind)} for layer in layers]
    assert kinds == [{"recurrence"}, {"experts"}, {"attention"}, {"mlp"}, {"recurrence"}]
    assert layers[0]["recurrence"]["update"] == "decay"
    old = config.to_dict() | {"hybrid_override_pattern": "ME*-M", "layers_block_type": None}
    assert opweave.Model.from_transformers(old).layers == layers
    both = opweave.Model.from_transformers(configuration("falcon_h1")).layers[0]
    assert both["attention"]["heads"] == 32 and both["recurrence"]["heads"] == 128
    delta = opweave.Model.from_transformers(configuration("qwen3_next")).layers
    assert [("recurrence" in run, run["count"]) for run in delta[:2]] == [(True, 3), (False, 1)]
    assert delta[0]["recurrence"]["update"] == "delta" and delta[1]["attention"]["gate"] is True


@pytest.mark.parametrize("name", OTHERS)
def test_parameters_of_encoders_and_of_two_chains_are_those_of_transformers(name):
    config = configuration(name)
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS[name])


def test_small_sizes_of_two_chains_are_counted():
    small = {"hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 3}
    text = {**small, "vocab_size": 99, "num_key_value_heads": 1}
    siglip = {**small, "model_type": "siglip_vision_model", "image_size": 28, "patch_size": 7}
    clip = {**siglip, "model_type": "clip_vision_model"}
    for vision in (siglip, clip):
        for language in ("llama", "mistral", "qwen2"):
            config = configuration("llava", vision_config=vision, text_config={**text, "model_type": language})
            model = opweave.Model.from_transformers(config)
            assert model.parameters == parameters_of(config, OTHERS["llava"])
    config = configuration("gemma3", vision_config={**siglip, "vision_use_head": False}, text_config=text)
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS["gemma3"])
    vision = {"embed_dim": 48, "depth": 2, "num_heads": 3, "hidden_size": 48, "mlp_ratio": 2}
    config = configuration("qwen2_vl", vision_config=vision, text_config=text)
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS["qwen2_vl"])
    for gate in ("relu", "gated-gelu"):
        config = configuration("t5", d_model=48, d_kv=8, d_ff=72, num_heads=3, num_layers=2, num_decoder_layers=3,
                               vocab_size=99, feed_forward_proj=gate)  # fmt: skip
        assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS["t5"])
    config = configuration("bert", **small, vocab_size=99, type_vocab_size=3, max_position_embeddings=33)
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS["bert"])
    config = configuration("vit", **small, image_size=28, patch_size=7, qkv_bias=False, num_labels=5)
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config, OTHERS["vit"])


def test_dbrx_is_counted():
    config = transformers.DbrxConfig(
        d_model=96, n_heads=6, n_layers=2, vocab_size=99,
        attn_config={"kv_n_heads": 2, "rope_theta": 1e4},
        ffn_config={"ffn_hidden_size": 40, "hidden_size": 96, "moe_num_experts": 6, "moe_top_k": 2},
    )  # fmt: skip
    assert opweave.Model.from_transformers(config).parameters == parameters_of(config)


def test_at_least_thirty_architectures_are_compared():
    compared = {*CAUSAL, *OTHERS, *RECURRENT, "dbrx"}
    assert len(compared) > 60
    assert compared | {"qwen2_vl_text"} == set(opweave.Model.known_architectures())


def test_windows_follow_the_layers():
    config = configuration("gemma3_text", num_hidden_layers=12, sliding_window=1024)
    layers = opweave.Model.from_transformers(config).layers
    assert [(run["count"], run["attention"].get("window")) for run in layers] == [(5, 1024), (1, None)] * 2
    config = configuration(
        "qwen2", num_hidden_layers=4, use_sliding_window=True, max_window_layers=3, sliding_window=64
    )
    layers = opweave.Model.from_transformers(config).layers
    assert [(run["count"], run["attention"].get("window")) for run in layers] == [(3, None), (1, 64)]


def test_windows_whose_layers_are_not_listed_are_refused():
    config = configuration("gpt_neo").to_dict()
    layers = opweave.Model.from_transformers(config).layers
    assert [run["attention"].get("window") for run in layers[:2]] == [None, 256]
    del config["attention_layers"]
    with pytest.raises(opweave.InputError, match='"attention_layers" is missing'):
        opweave.Model.from_transformers(config)


def test_modules_that_predict_ahead_are_taken_on_request():
    config = variation("deepseek_v3", random.Random(1)).to_dict() | {"num_nextn_predict_layers": 1}
    usual = opweave.Model.from_transformers(config)
    both = opweave.Model.from_transformers(config, with_prediction_modules=True)
    hidden = config["hidden_size"]
    last = usual.to_dict()
    last["layers"] = last["layers"][-1:]
    last["layers"][0]["count"] = 1
    one = (
        opweave.Model.from_dict(last).parameters
        - opweave.Model.from_dict(
            last | {"layers": [{"attention": {"heads": 1, "head_dim": 1}, "mlp": {"width": 1}}]}
        ).parameters
        + 7 * hidden
    )  # the layer beside one whose matrices have 4 and 3 x hidden weights
    # A projection of 2 x hidden to hidden with three norms.
    assert both.parameters == usual.parameters + one + 2 * hidden**2 + 3 * hidden


def test_nested_configurations_may_leave_out_what_their_class_says():
    # As files on the Hub do: LLaVA 1.5 7B and Gemma 3 4B.
    vision = {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "num_attention_heads": 16}
    vision |= {"model_type": "clip_vision_model", "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}
    llava = {
        "model_type": "llava",
        "text_config": {"model_type": "llama", "vocab_size": 32064},
        "vision_config": vision,
    }
    gemma = {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34}
    tower = {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "num_attention_heads": 16}
    tower |= {"model_type": "siglip_vision_model", "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}
    gemma3 = {"model_type": "gemma3", "text_config": gemma | {"sliding_window": 1024}, "vision_config": tower}
    for config in (llava, gemma3):
        whole = transformers.AutoConfig.for_model(**config)
        expected = parameters_of(whole, OTHERS[config["model_type"]])
        assert opweave.Model.from_transformers(config).parameters == expected


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"model_type": "rwkv7"}, 'model_type "rwkv7" is not known yet, expected one of apertus, '),
        ({"model_type": "grok-1"}, 'model_type "grok-1" is not known yet'),
        ({"num_experts": 8}, 'key "num_experts" is not known for this model_type'),
        ({"layer_scale_init_value": 0.1}, 'key "layer_scale_init_value" is not known for this model_type'),
        ({"sliding_window": 4096}, 'key "sliding_window" is not known for this model_type'),
        ({"architectures": ["LlamaForSequenceClassification"]}, "expected a model that predicts tokens"),
        ({"num_key_value_heads": 5}, "kv_heads is 5, expected a divisor of the 32 heads"),
        ({"hidden_size": "4096"}, "/hidden_size"),
        ({"intermediate_size": None}, 'key "intermediate_size" is missing'),
        ({"add_cross_attention": True}, 'key "add_cross_attention" is not known'),
    ],
)
def test_what_is_not_known_is_refused_by_name(members, message):
    config = configuration("llama").to_dict() | members
    with pytest.raises(opweave.InputError) as refusal:
        opweave.Model.from_transformers(config)
    assert message in str(refusal.value)


def test_a_switch_that_is_off_and_names_without_effect_are_no_obstacle():
    config = configuration("llama").to_dict() | {"unheard_of": False, "also_unheard_of": None, "_private": 3}
    assert opweave.Model.from_transformers(config).parameters == 6_738_415_616


def test_models_come_from_files_dictionaries_and_modules(tmp_path):
    config = configuration("llama", hidden_size=96, intermediate_size=64, num_hidden_layers=2, num_attention_heads=3)
    config.save_pretrained(tmp_path)
    model = opweave.Model.from_transformers(config)
    with torch.device("meta"):
        module = transformers.AutoModelForCausalLM.from_config(config)
    assert model == to_model(tmp_path) == to_model(tmp_path / "config.json") == to_model(module)
    model.save(tmp_path / "model.json")
    assert to_model(tmp_path / "model.json") == model == to_model(json.loads(model.to_json()))
    assert "Model('llama'" in repr(model)
    with pytest.raises(opweave.InputError, match="value is a int, expected a path"):
        to_model(3)


def test_the_documents_list_what_is_known():
    text = (pathlib.Path(__file__).parents[2] / "docs/models.md").read_text()
    rows = re.findall(r"^\| (?:dense|mixtures|recurrences|encoders?|vision)[^|]*\| ([^|]*) \|$", text, re.MULTILINE)
    assert sorted(", ".join(rows).split(", ")) == opweave.Model.known_architectures()
