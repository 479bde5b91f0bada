"""EfficientNet-Lite0 as an encoder: real weights out of an installed package, without a hub."""

import pytest
import torch
from torch import nn

from mal_core.config import EncoderConfig
from mal_core.models.encoder import build_encoder
from mal_core.models.hierarchical import HierarchicalEncoder
from mal_core.models.weight_packages import packaged_weights

NAME = "tf_efficientnet_lite0"


def statistics(encoder: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for key, value in encoder.state_dict().items() if "running_" in key]


@pytest.mark.parametrize("pretrained", [True, False])
def test_batch_statistics_of_pretrained_weights_stay(pretrained: bool) -> None:
    encoder, report = build_encoder(EncoderConfig(name=NAME, pretrained=pretrained), 64)
    assert isinstance(encoder, HierarchicalEncoder)
    before = statistics(encoder)
    features = encoder.train()(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, encoder.width, 4, 4)
    kept = [torch.equal(a, b) for a, b in zip(before, statistics(encoder), strict=True)]
    assert all(kept) if pretrained else not any(kept)
    assert str(report).startswith("encoder weights: package: " if pretrained else "encoder weights")


def test_the_package_and_a_file_in_timms_names_are_the_same_start() -> None:
    packaged, report = build_encoder(EncoderConfig(name=NAME, pretrained=True), 64)
    given, _ = build_encoder(EncoderConfig(name=NAME, weights=packaged_weights(NAME)), 64)
    assert report.num_loaded > 200
    assert report.unused == ("classifier.weight", "classifier.bias")
    key = "model.blocks.3.0.conv_pw.weight"
    assert torch.equal(packaged.state_dict()[key], given.state_dict()[key])


def test_frozen_stages_take_the_stem_with_them() -> None:
    encoder, _ = build_encoder(EncoderConfig(name=NAME, frozen_stages=2), 64)
    frozen = {name.split(".")[1] for name, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {"conv_stem", "bn1", "blocks"}
