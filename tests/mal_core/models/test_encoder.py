"""Every family of encoders: maps of the right size, weights from a file, frozen parts."""

from pathlib import Path

import pytest
import torch

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models.encoder import build_encoder

SHARED = Path(__file__).parents[4] / "shared" / "weights"
VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}
PLAIN = {
    "deit": ("deit_small_patch16_224", VIT),
    "deit with a distillation token": ("deit_base_distilled_patch16_224", VIT),
    "deit III": ("deit3_base_patch16_224.fb_in22k_ft_in1k", VIT),
    "mae": ("vit_large_patch16_224.mae", VIT),
    "mae, 14 px patches": ("vit_huge_patch14_224.mae", VIT),
    "dino": ("vit_base_patch16_224.dino", VIT),
    "dinov2 with registers": ("vit_base_patch14_reg4_dinov2.lvd142m", VIT),
    "dinov3": ("vit_base_patch16_dinov3.lvd1689m", VIT),
    "sam": ("samvit_base_patch16.sa1b", {**VIT, "neck_chans": 48, "global_attn_indexes": [1]}),
    "sam without a neck": ("samvit_base_patch16_224", VIT),
}


def encoder_config(family: str, **changes: object) -> EncoderConfig:
    name, options = PLAIN[family]
    return EncoderConfig(**{"name": name, "options": options, **changes})


@pytest.mark.parametrize("family", PLAIN)
def test_features_are_a_square_map_at_every_crop_size(family):
    encoder, report = build_encoder(encoder_config(family), 96)
    for side in (96, 160):
        features = encoder(torch.randn(2, 3, side, side))
        cells = round(side / encoder.patch_size)
        assert features.shape == (2, 48, cells, cells)
    assert str(report) == "encoder weights: random"


@pytest.mark.parametrize("family", PLAIN)
def test_weights_written_at_one_crop_size_arrive_at_another(family, tmp_path):
    """Spec S19."""
    torch.manual_seed(0)
    encoder, _ = build_encoder(encoder_config(family), 96)
    path = tmp_path / "weights.pth"
    written = {**encoder.vit.state_dict(), "head.weight": torch.zeros(10, 48)}
    torch.save({"model": written}, path)
    same, report = build_encoder(encoder_config(family, weights=path), 96)
    other, _ = build_encoder(encoder_config(family, weights=path), 160)
    assert report.num_loaded == len(written) - 1
    assert report.unused == ("head.weight",)
    assert report.random_parts == ()
    for key, value in same.vit.state_dict().items():
        assert torch.equal(value, written[key]), key
    assert torch.equal(other.vit.blocks[1].mlp.fc2.weight, written["blocks.1.mlp.fc2.weight"])
    image = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(same.eval()(image), encoder.eval()(image))


def test_the_image_encoder_of_a_file_of_sam_is_taken_and_its_other_parts_are_named(tmp_path):
    encoder, _ = build_encoder(encoder_config("sam"), 96)
    own = {
        f"image_encoder.{key.replace('mlp.fc', 'mlp.lin')}": value
        for key, value in encoder.vit.state_dict().items()
    }
    others = {
        "prompt_encoder.not_a_point_embed.weight": torch.zeros(1, 4),
        "mask_decoder.iou_token.weight": torch.zeros(1, 4),
    }
    torch.save({**own, **others}, tmp_path / "sam.pth")
    same, report = build_encoder(encoder_config("sam", weights=tmp_path / "sam.pth"), 96)
    assert report.num_loaded == len(own)
    assert report.unused == tuple(others)
    image = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(same.eval()(image), encoder.eval()(image))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("blocks.1.norm2.bias"), r"missing: blocks\.1\.norm2\.bias"),
        (lambda t: t.update({"adapter.up": torch.ones(3)}), r"unexplained: adapter\.up"),
        (lambda t: t.update({"norm.bias": torch.ones(3)}), r"another shape: norm\.bias"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_keys(change, said, tmp_path):
    encoder, _ = build_encoder(encoder_config("deit"), 96)
    tensors = dict(encoder.vit.state_dict())
    change(tensors)
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=said):
        build_encoder(encoder_config("deit", weights=tmp_path / "weights.pth"), 96)


def test_a_mocov3_file_is_read_through_its_wrapper(tmp_path):
    encoder, _ = build_encoder(encoder_config("dino"), 96)
    inner = encoder.vit.state_dict()
    tensors = {f"module.base_encoder.{key}": value for key, value in inner.items()}
    tensors["module.base_encoder.head.0.weight"] = torch.zeros(8, 48)
    tensors["module.momentum_encoder.cls_token"] = torch.zeros(1, 1, 48)
    tensors["module.predictor.0.weight"] = torch.zeros(8, 8)
    torch.save({"epoch": 300, "state_dict": tensors}, tmp_path / "moco.pth.tar")
    loaded, report = build_encoder(encoder_config("dino", weights=tmp_path / "moco.pth.tar"), 96)
    assert torch.equal(loaded.vit.cls_token, inner["cls_token"])
    assert report.num_loaded == len(inner)
    assert len(report.unused) == 3


@pytest.mark.parametrize(
    ("file", "name", "mean"),
    [
        ("deit_tiny_patch16_224.safetensors", "deit_tiny_patch16_224", 0.485),
        ("vit_tiny_patch16_224.safetensors", "vit_tiny_patch16_224.augreg_in21k", 0.5),
    ],
)
def test_the_real_files_load_completely_with_their_own_normalisation(file, name, mean):
    if not (SHARED / file).exists():
        pytest.skip("the pretrained files are not here")
    encoder, report = build_encoder(EncoderConfig(name=name, weights=SHARED / file), 224)
    assert report.num_loaded == len(encoder.state_dict())
    assert report.random_parts == ()
    assert set(report.unused) <= {"head.weight", "head.bias"}
    assert encoder.mean[0] == mean


def test_a_convolutional_stem_is_reported_as_random(tmp_path):
    """Spec S19."""
    encoder, _ = build_encoder(encoder_config("deit"), 96)
    torch.save(encoder.vit.state_dict(), tmp_path / "weights.pth")
    config = encoder_config("deit", weights=tmp_path / "weights.pth", stem="conv")
    loaded, report = build_encoder(config, 96)
    assert report.random_parts == ("convolutional stem",)
    assert report.num_loaded == len(encoder.state_dict()) - 2
    assert loaded(torch.randn(1, 3, 96, 96)).shape == (1, 48, 6, 6)


def test_a_convolutional_stem_needs_a_power_of_two():
    with pytest.raises(ConfigError, match="patch size 14 is no power of two"):
        build_encoder(encoder_config("mae, 14 px patches", stem="conv"), 96)


@pytest.mark.parametrize("family", ["deit", "dinov3"])
def test_frozen_blocks_neither_learn_nor_drop_paths(family):
    encoder, _ = build_encoder(encoder_config(family, frozen_stages=1, drop_path=0.5), 96)
    encoder.train()
    first, second = encoder.vit.blocks
    assert not first.training
    assert second.training
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad for p in second.parameters())
    assert not any(p.requires_grad for p in encoder.vit.patch_embed.parameters())


def test_dropped_paths_change_training_and_nothing_else():
    encoder, _ = build_encoder(encoder_config("deit", drop_path=0.9), 96)
    image = torch.randn(8, 3, 96, 96)
    encoder.eval()
    torch.testing.assert_close(encoder(image), encoder(image))
    encoder.train()
    assert not torch.allclose(encoder(image), encoder(image))


@pytest.mark.parametrize("family", PLAIN)
def test_every_weight_that_trains_gets_a_gradient(family):
    encoder, _ = build_encoder(encoder_config(family), 96)
    encoder(torch.randn(1, 3, 96, 96)).square().sum().backward()
    without = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_file_with_numbers_that_are_none_is_refused_by_name(value, tmp_path):
    encoder, _ = build_encoder(encoder_config("deit"), 96)
    tensors = {key: kept.clone() for key, kept in encoder.vit.state_dict().items()}
    tensors["blocks.1.norm2.bias"][3] = value
    torch.save(tensors, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError) as caught:
        build_encoder(encoder_config("deit", weights=tmp_path / "weights.pth"), 96)
    assert "could not be loaded (blocks.1.norm2.bias holds a NaN or an infinity)." in str(
        caught.value
    )
