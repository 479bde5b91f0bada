"""Foundation models of the real classes with few random weights, as files."""

from pathlib import Path
from typing import Any

import torch

SIDE = 64


def write_tiny(name: str, folder: Path, *, described: bool = True, as_video: bool = False) -> Path:
    """Write config.json, model.safetensors and, if `described`, the preprocessing."""
    torch.manual_seed(0)
    model = BUILDERS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            # As initialised, prompts hardly move a mask; trained weights are not that small.
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
    model.eval().save_pretrained(folder)
    if described:
        PROCESSORS[name]().save_pretrained(folder)
    return folder


def _sam() -> Any:
    from transformers import SamConfig, SamModel

    return SamModel(SamConfig(vision_config=_vit(), **_heads()))


def _hq_sam() -> Any:
    from transformers import SamHQConfig, SamHQModel

    heads = _heads()
    heads["mask_decoder_config"] |= {"vit_dim": 32}
    return SamHQModel(SamHQConfig(vision_config=_vit(), **heads))


def _vit() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 64,
        "num_pos_feats": 16,
    }


def _heads() -> dict[str, Any]:
    prompt = {
        "hidden_size": 32,
        "image_size": SIDE,
        "patch_size": 8,
        "image_embedding_size": SIDE // 8,
        "mask_input_channels": 4,
    }
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }
    return {"prompt_encoder_config": prompt, "mask_decoder_config": decoder}


def _sam2_parts() -> dict[str, Any]:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 48, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 48, 32, 16],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    decoder = _heads()["mask_decoder_config"]
    return {
        "vision_config": vision,
        "prompt_encoder_config": prompt,
        "mask_decoder_config": decoder,
    }


def _sam2() -> Any:
    from transformers import Sam2Config, Sam2Model

    return Sam2Model(Sam2Config(**_sam2_parts()))


def _sam3() -> Any:
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
        "pretrain_image_size": SIDE,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4}
    decoder = _heads()["mask_decoder_config"]
    return Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
        )
    )


def _padded(kind: str) -> Any:
    import transformers

    square = {"height": SIDE, "width": SIDE}
    images = transformers.SamImageProcessor(size={"longest_edge": SIDE}, pad_size=square)
    return getattr(transformers, kind)(images)


def _squeezed(kind: str, images: str) -> Any:
    import transformers

    square = {"height": SIDE, "width": SIDE}
    return getattr(transformers, kind)(getattr(transformers, images)(size=square))


BUILDERS = {"sam": _sam, "hq_sam": _hq_sam, "sam2": _sam2, "sam3": _sam3}
PROCESSORS = {
    "sam": lambda: _padded("SamProcessor"),
    "hq_sam": lambda: _padded("SamHQProcessor"),
    "sam2": lambda: _squeezed("Sam2Processor", "Sam2ImageProcessor"),
    "sam3": lambda: _squeezed("Sam3TrackerProcessor", "Sam3ImageProcessor"),
}
