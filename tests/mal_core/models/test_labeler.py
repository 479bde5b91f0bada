"""The network: shapes, scales, teacher, weights."""

from pathlib import Path

import pytest
import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models.labeler import build_labeler

WEIGHTS = Path(__file__).parents[4] / "shared" / "weights" / "deit_tiny_patch16_224.safetensors"
TINY = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8}


def tiny_encoder(**changes: object) -> EncoderConfig:
    """A ViT of a few thousand weights."""
    settings = {"name": "vit_tiny_patch16_224", "options": TINY, **changes}
    return EncoderConfig(**settings)


def tiny_mal(**changes: object) -> MalConfig:
    """Heads and sizes for a test."""
    settings = {"crop_size": 64, "batch_size": 2, "max_steps": 4, "learning_rate": 1e-3}
    return MalConfig(**{**settings, "head_channels": 16, **changes})


BOXES = torch.tensor([[0.0, 0, 20, 20], [0, 0, 32, 32], [0, 0, 96, 96], [5, 5, 300, 200]])


@pytest.mark.parametrize("scale_adjustment", [True, False])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_logits_have_a_quarter_of_the_crop_size_for_every_box_size(scale_adjustment, stem):
    labeler, _ = build_labeler(tiny_encoder(stem=stem), tiny_mal(scale_adjustment=scale_adjustment))
    logits = labeler.student(torch.randn(4, 3, 64, 64), BOXES)
    assert logits.shape == (4, 1, 16, 16)


@pytest.mark.parametrize("area", [1023, 1024, 1025, 9215, 9216, 9217])
def test_no_box_size_falls_between_the_scales(area):
    """Spec S12."""
    labeler, _ = build_labeler(tiny_encoder(), tiny_mal())
    box = torch.tensor([[0.0, 0.0, float(area), 1.0]])
    logits = labeler.student(torch.randn(1, 3, 64, 64), box)
    assert logits.abs().sum() > 0


def test_rows_do_not_depend_on_what_else_is_in_the_batch():
    labeler, _ = build_labeler(tiny_encoder(), tiny_mal())
    labeler.eval()
    images = torch.randn(4, 3, 64, 64)
    together = labeler.student(images, BOXES)
    for row in range(4):
        alone = labeler.student(images[row : row + 1], BOXES[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_teacher_starts_equal_to_the_student_and_follows_by_its_momentum():
    """Spec S7."""
    labeler, _ = build_labeler(tiny_encoder(), tiny_mal())
    pairs = list(zip(labeler.student.parameters(), labeler.teacher.parameters(), strict=True))
    assert all(torch.equal(s, t) for s, t in pairs)
    with torch.no_grad():
        for student, _ in pairs:
            student.add_(1.0)
    for _ in range(10):
        labeler.update_teacher()
    gap = max((s - t - 0.996**10).abs().max().item() for s, t in pairs)
    assert gap <= 1e-6
    assert not any(t.requires_grad for _, t in pairs)


def test_local_weights_are_loaded_without_a_network():
    if not WEIGHTS.exists():
        pytest.skip("the pretrained DeiT-Tiny file is not here")
    encoder = EncoderConfig(name="deit_tiny_patch16_224", weights=WEIGHTS)
    labeler, report = build_labeler(encoder, tiny_mal(crop_size=224))
    again, _ = build_labeler(encoder, tiny_mal(crop_size=224))
    first = labeler.student.encoder.state_dict()
    assert all(torch.equal(v, again.student.encoder.state_dict()[k]) for k, v in first.items())
    assert report.random_parts == ()
    assert str(WEIGHTS) in str(report)


def test_weights_of_another_shape_are_refused():
    if not WEIGHTS.exists():
        pytest.skip("the pretrained DeiT-Tiny file is not here")
    with pytest.raises(CheckpointError, match=r"encoder\.name='vit_small_patch16_224'"):
        build_labeler(EncoderConfig(name="vit_small_patch16_224", weights=WEIGHTS), tiny_mal())


def test_an_unknown_encoder_is_refused_with_similar_names():
    with pytest.raises(ConfigError, match="deit_tiny_patch16_224"):
        build_labeler(EncoderConfig(name="deit_tiny_patch16_225"), tiny_mal())


def test_weights_that_are_no_weights_are_refused_in_few_words(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_text('{"not": "weights"}')
    with pytest.raises(CheckpointError, match="no readable file of weights") as caught:
        build_labeler(EncoderConfig(name="vit_tiny_patch16_224", weights=path), tiny_mal())
    assert len(str(caught.value)) < 800


def test_a_network_without_feature_maps_of_three_strides_is_refused():
    with pytest.raises(ConfigError, match="mixer_s16_224"):
        build_labeler(EncoderConfig(name="mixer_s16_224"), tiny_mal())


@pytest.mark.parametrize("scale_adjustment", [True, False])
def test_patches_that_do_not_fill_the_crop_change_no_output_size(scale_adjustment):
    options = {**TINY, "patch_size": 14}
    labeler, _ = build_labeler(
        tiny_encoder(options=options), tiny_mal(scale_adjustment=scale_adjustment)
    )
    assert labeler.student.encoder(torch.randn(1, 3, 64, 64)).shape == (1, 48, 5, 5)
    assert labeler.student(torch.randn(4, 3, 64, 64), BOXES).shape == (4, 1, 16, 16)


def test_the_references_teacher_has_heads_and_a_stem_of_its_own():
    labeler, _ = build_labeler(tiny_encoder(stem="conv"), tiny_mal(compat_official=True))
    student, teacher = labeler.student.state_dict(), labeler.teacher.state_dict()
    other = {key for key in student if not torch.equal(student[key], teacher[key])}
    assert {key.split(".")[0] for key in other} == {"encoder", "instance_head", "pixel_head"}
    assert all(".proj.stages." in key for key in other if key.startswith("encoder."))


def test_frozen_stages_do_not_train():
    labeler, _ = build_labeler(tiny_encoder(frozen_stages=1), tiny_mal())
    vit = labeler.student.encoder.vit
    assert not any(p.requires_grad for p in vit.blocks[0].parameters())
    assert not any(p.requires_grad for p in vit.patch_embed.parameters())
    assert all(p.requires_grad for p in vit.blocks[1].parameters())
