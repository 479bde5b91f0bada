"""Swin and ConvNeXt as encoders of stride 16."""

import copy

import pytest
import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models.encoder import build_encoder
from mal_core.models.labeler import build_labeler

TINY = {
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)},
    ),
    "swin v2": (
        "swinv2_tiny_window8_256",
        {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)},
    ),
    "convnext": ("convnext_tiny", {"dims": (8, 16, 32, 64), "depths": (1, 1, 1, 1)}),
}


def encoder_config(family: str, **changes: object) -> EncoderConfig:
    name, options = TINY[family]
    return EncoderConfig(**{"name": name, "options": options, **changes})


@pytest.mark.parametrize("family", TINY)
def test_features_have_stride_16_at_every_crop_size(family):
    encoder, _ = build_encoder(encoder_config(family), 96)
    for side in (96, 160):
        features = encoder(torch.randn(2, 3, side, side))
        assert features.shape == (2, encoder.width, side // 16, side // 16)


@pytest.mark.parametrize("family", TINY)
def test_logits_have_a_quarter_of_the_crop_size_and_reach_every_weight(family):
    config = MalConfig(crop_size=96, batch_size=2, max_steps=1, learning_rate=1e-3, head_channels=8)
    labeler, _ = build_labeler(encoder_config(family), config)
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 50, 50], [0, 0, 200, 200]])
    logits = labeler.student(torch.randn(3, 3, 96, 96), boxes)
    assert logits.shape == (3, 1, 24, 24)
    logits.square().sum().backward()
    assert [n for n, p in labeler.student.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("family", TINY)
def test_weights_of_a_classifier_load_and_only_the_fusion_is_random(family, tmp_path):
    import timm

    name, options = TINY[family]
    size = {} if family == "convnext" else {"img_size": 96}
    classifier = timm.create_model(name, num_classes=5, **options, **size)
    written = classifier.state_dict()
    torch.save(written, tmp_path / "weights.pth")
    encoder, report = build_encoder(encoder_config(family, weights=tmp_path / "weights.pth"), 96)
    assert report.random_parts == ("fusion of the feature maps",)
    assert set(report.unused) == {"head.fc.weight", "head.fc.bias"}
    loaded = encoder.model.state_dict()
    assert all(torch.equal(value, written[key]) for key, value in loaded.items())

    del written[next(iter(written))]
    torch.save(written, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match="missing: "):
        build_encoder(encoder_config(family, weights=tmp_path / "broken.pth"), 96)


@pytest.mark.parametrize("family", TINY)
def test_frozen_stages_neither_learn_nor_leave_evaluation_mode(family):
    encoder, _ = build_encoder(encoder_config(family, frozen_stages=2), 96)
    twin = copy.deepcopy(encoder).train()
    stem = getattr(twin.model, "patch_embed", None) or twin.model.stem
    stages = list(getattr(twin.model, "layers", None) or twin.model.stages)
    for part in (stem, *stages[:2]):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
    for part in stages[2:]:
        assert part.training
        assert all(p.requires_grad for p in part.parameters())


def test_a_convolutional_stem_is_for_plain_transformers():
    with pytest.raises(ConfigError, match="no plain Vision Transformer"):
        build_encoder(encoder_config("swin", stem="conv"), 96)
