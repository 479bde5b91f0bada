"""Options of encoders: what does not suit is refused by name, before any weights are fetched."""

import re

import pytest
import torch

from mal_core.config import EncoderConfig
from mal_core.errors import ConfigError
from mal_core.models import encoder
from mal_core.models.encoder import build_encoder

VIT = "vit_tiny_patch16_224"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            VIT,
            {"depht": 2},
            f"encoder.options.depht: '{VIT}' has no option of that name; closest: depth.",
        ),
        (
            "resnet18",
            {"blok_args": 3},
            "encoder.options.blok_args: 'resnet18' has no option of that name; closest: "
            "block_args.",
        ),
        (
            VIT,
            {"depth": 1, "embed_dims": 48},
            f"encoder.options.embed_dims: '{VIT}' has no option of that name; closest: embed_dim.",
        ),
        (
            VIT,
            {"depth": "two"},
            f"encoder.options.depth='two' does not suit '{VIT}' (unsupported operand type(s) for "
            "+: 'int' and 'str').",
        ),
        (
            VIT,
            {"depth": 2, "embed_dim": 193},
            f"encoder.options.embed_dim=193 does not suit '{VIT}' beside its other options (dim "
            "should be divisible by num_heads).",
        ),
        (
            VIT,
            {"patch_size": 0},
            f"encoder.options.patch_size=0 does not suit '{VIT}' (integer division or modulo by "
            "zero).",
        ),
        (
            VIT,
            {"depth": -1},
            f"encoder.options.depth=-1 does not suit '{VIT}' (number of steps must be "
            "non-negative).",
        ),
        (
            "convnext_tiny",
            {"dims": [2, 2]},
            "encoder.options.dims=[2, 2] does not suit 'convnext_tiny' (list index out of range).",
        ),
        (
            VIT,
            {"num_classes": 3},
            "encoder.options.num_classes is not possible: an encoder has no classifier.",
        ),
        (
            VIT,
            {"features_only": True},
            "encoder.options.features_only is not possible: maps are chosen by their strides.",
        ),
    ],
)
def test_an_option_that_does_not_suit_is_named(name, options, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        build_encoder(EncoderConfig(name=name, options=options), 64)


def test_an_unlike_name_is_answered_with_all_there_are():
    with pytest.raises(ConfigError) as caught:
        build_encoder(EncoderConfig(name=VIT, options={"qqqq": 1}), 64)
    start, _, rest = str(caught.value).partition("; it has: img_size, patch_size, ")
    assert start == f"encoder.options.qqqq: '{VIT}' has no option of that name"
    assert "self" not in rest
    assert "num_classes" not in rest


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("mixer_b16_224", {}, "encoder.name='mixer_b16_224' is neither a plain Vision Transf"),
        ("levit_128", {}, "encoder.name='levit_128' is neither a plain Vision Transformer of timm"),
        ("resnet_50", {}, "encoder.name='resnet_50' is no timm model; similar names: resnet50,"),
        (VIT, {"options": {"depht": 2}}, "encoder.options.depht: 'vit_tiny_patch16_224' has no"),
        (
            "vgg11",
            {"drop_path": 0.1},
            "encoder.drop_path=0.1: 'vgg11' has no paths to drop. Leave it at 0.",
        ),
    ],
)
def test_what_does_not_suit_is_refused_before_a_download(name, changes, said, monkeypatch):
    fetched: list[object] = []
    monkeypatch.setattr(encoder, "hub_tensors", fetched.append)
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        build_encoder(EncoderConfig(name=name, pretrained=True, **changes), 64)
    assert fetched == []


def test_a_model_without_paths_to_drop_is_taken():
    built, _ = build_encoder(EncoderConfig(name="densenet121"), 64)
    assert built.eval()(torch.zeros(1, 3, 64, 64)).shape[-2:] == (4, 4)
