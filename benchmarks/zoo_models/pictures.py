"""Models of pictures and sound, alone and with texts."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from zoo_models.common import BATCH, GROUPED, LLAMA, SEQ2SEQ, VISION, Row, hugging_face, ids, images, pictures


def picture_tokens(count: int = 4) -> torch.Tensor:
    """Texts with *count* places for a picture, whose token is 60."""
    tokens = ids()
    tokens[:, 2 : 2 + count] = 60
    return tokens


def with_picture(kind: str, head: str, extra: dict[str, Any] | None = None, **sizes: Any) -> Row:
    """A language model that sees a picture of 4 x 4 patches."""
    count = sizes.get("mm_tokens_per_image", 16)
    tokens = torch.cat([picture_tokens(0), ids()], 1)
    tokens[:, 2 : 2 + count] = 60
    if extra and "token_type_ids" in extra:
        extra = {"token_type_ids": tokens.eq(60).long()}
    key = "image_token_id" if kind == "gemma3" else "image_token_index"
    return hugging_face(
        kind,
        head,
        {
            "input_ids": tokens,
            "pixel_values": pictures(32),
            "labels": tokens,
            "attention_mask": torch.ones_like(tokens),
            **(extra or {}),
        },
        **sizes,
        **{key: 60},
    )


def with_grid(kind: str, head: str, **sizes: Any) -> Row:
    """A language model that sees a picture for each text, 4 x 4 patches of 2 frames of 4 x 4 pixels each."""
    tokens = picture_tokens()
    inputs = {
        "input_ids": tokens,
        "labels": tokens,
        "attention_mask": torch.ones_like(tokens),
        "pixel_values": torch.rand(BATCH * 16, 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * BATCH),
        "mm_token_type_ids": tokens.eq(60).int(),
    }
    text = {**GROUPED, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
    return hugging_face(
        kind,
        head,
        inputs,
        text_config=text,
        image_token_id=60,
        video_token_id=61,
        vision_start_token_id=62,
        vision_end_token_id=63,
        **sizes,
    )


DETR = dict(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    num_queries=8,
    num_labels=4,
    use_timm_backbone=False,
    use_pretrained_backbone=False,
    backbone=None,
    backbone_config=transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], out_features=["stage4"]
    ),
)

ROWS = {
    "whisper": lambda: hugging_face(
        "whisper",
        "ForSpeechSeq2Seq",
        {"input_features": torch.rand(BATCH, 16, 64), "labels": ids()},
        **{**SEQ2SEQ, "max_position_embeddings": 64},
        num_mel_bins=16,
        max_source_positions=32,
        max_target_positions=64,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    ),
    "wav2vec2": lambda: hugging_face(
        "wav2vec2",
        "ForCTC",
        {"input_values": torch.rand(BATCH, 400), "labels": ids(4)},
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        conv_dim=[16, 16],
        conv_stride=[4, 4],
        conv_kernel=[8, 4],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        mask_time_prob=0.0,
        layerdrop=0.0,
        ctc_loss_reduction="mean",
        feat_extract_norm="layer",
    ),
    "vit": lambda: images("vit", **VISION),
    "dinov2": lambda: images("dinov2", **VISION),
    "swin": lambda: images(
        "swin", image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=4
    ),
    "convnext": lambda: images("convnext", depths=[2, 2], hidden_sizes=[16, 32], num_stages=2, num_labels=4),
    "resnet": lambda: images("resnet", embedding_size=8, hidden_sizes=[16, 32], depths=[2, 2], num_labels=4),
    "segformer": lambda: hugging_face(
        "segformer",
        "ForSemanticSegmentation",
        {"pixel_values": pictures(64), "labels": torch.zeros(BATCH, 64, 64, dtype=torch.long)},
        hidden_sizes=[8, 16, 32, 32],
        depths=[2, 2, 2, 2],
        num_attention_heads=[1, 2, 4, 4],
        decoder_hidden_size=16,
        num_labels=4,
    ),
    "detr": lambda: hugging_face(
        "detr",
        "ForObjectDetection",
        {
            "pixel_values": pictures(64),
            "labels": [{"class_labels": torch.tensor([1, 2]), "boxes": torch.rand(2, 4)} for _ in range(BATCH)],
        },
        **DETR,
    ),
    "beit": lambda: images("beit", **VISION),
    "mobilenet-v2": lambda: images("mobilenet_v2", num_labels=4, depth_multiplier=0.25),
    "swinv2": lambda: images(
        "swinv2",
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        num_labels=4,
    ),
    "clip": lambda: hugging_face(
        "clip",
        "CLIPModel",
        {"input_ids": ids(), "pixel_values": pictures(32), "return_loss": True},
        text_config={**LLAMA, "eos_token_id": 63},
        vision_config=VISION,
        projection_dim=16,
    ),
    "siglip": lambda: hugging_face(
        "siglip",
        "SiglipModel",
        {"input_ids": ids(), "pixel_values": pictures(32), "return_loss": True},
        text_config=LLAMA,
        vision_config=VISION,
    ),
    "llava": lambda: with_picture(
        "llava",
        "LlavaForConditionalGeneration",
        vision_config={**VISION, "model_type": "clip_vision_model"},
        text_config={**GROUPED, "model_type": "llama"},
    ),
    "gemma3": lambda: with_picture(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        extra={"token_type_ids": picture_tokens().eq(60).long()},
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**GROUPED, "head_dim": 8, "model_type": "gemma3_text"},
        mm_tokens_per_image=4,
    ),
    "qwen2-vl": lambda: with_grid(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    ),
    "qwen2.5-vl": lambda: with_grid(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "out_hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
    ),
}
