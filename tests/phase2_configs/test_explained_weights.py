"""Weights of backbones in anyone's naming: every tensor comes in, or is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from mal_core.errors import CheckpointError
from mal_core.labelers.recipes import segmenter_recipe
from mal_core.models.weight_packages import packaged_weights
from phase2_configs.backbones.explained_weights import load_backbone

State = dict[str, Tensor]


def features(name: str) -> nn.Module:
    torch.manual_seed(1)
    model: nn.Module = timm.create_model(name, features_only=True, out_indices=(-3, -2, -1))
    return model


def saved(state: State, path: Path, **around: object) -> Path:
    torch.save({"state_dict": state, **around} if around else state, path)
    return path


@pytest.mark.parametrize(
    ("name", "whole", "head"),
    [
        ("resnet18", torchvision.models.resnet18, "fc.weight"),
        ("resnet18", lambda: timm.create_model("resnet18"), "fc.weight"),
        ("convnext_atto", lambda: timm.create_model("convnext_atto"), "head.fc.weight"),
        ("tf_efficientnet_lite0", lambda: timm.create_model("tf_efficientnet_lite0"), "conv_head"),
    ],
)
def test_whole_models_of_timm_and_torchvision_fill_a_backbone(
    name: str, whole: Callable[[], nn.Module], head: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, backbone = whole().eval(), features(name).eval()
    unused = load_backbone(backbone, saved(model.state_dict(), tmp_path / "w.pth"))
    assert any(key.startswith(head) for key in unused)
    image = torch.randn(1, 3, 64, 64)
    reference = timm.create_model(name).eval()
    reference.load_state_dict(model.state_dict())
    expected = reference.forward_intermediates(image, intermediates_only=True)[-1]
    torch.testing.assert_close(backbone(image)[-1], expected)


def test_a_detector_of_mmdet_gives_its_backbone_and_drops_its_heads(tmp_path: Path) -> None:
    model = timm.create_model("resnet18")
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    state["rpn_head.rpn_cls.weight"] = torch.zeros(1)
    path = saved(state, tmp_path / "w.pth", meta={"epoch": 12})
    backbone = features("resnet18")
    unused = load_backbone(backbone, path)
    assert "rpn_head.rpn_cls.weight" in unused
    torch.testing.assert_close(
        backbone.state_dict()["conv1.weight"], state["backbone.conv1.weight"]
    )


def test_a_missing_and_an_unexplained_tensor_are_named(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    state["layer5.0.conv1.weight"] = state.pop("layer1.0.conv1.weight")
    with pytest.raises(
        CheckpointError,
        match=r"missing: layer1\.0\.conv1\.weight; unexplained: layer5\.0\.conv1\.weight",
    ):
        load_backbone(features("resnet18"), saved(state, tmp_path / "w.pth"))


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    with pytest.raises(CheckpointError, match=r"of another shape: conv1\.weight"):
        load_backbone(features("resnet18"), saved(state, tmp_path / "w.pth"))


def test_the_package_of_weights_is_imagenets_in_timms_names() -> None:
    path = packaged_weights("tf_efficientnet_lite0.in1k")
    assert path is not None
    backbone = features("tf_efficientnet_lite0")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    unused = load_backbone(backbone, path)
    assert {key.split(".")[0] for key in unused} == {"_conv_head", "_bn1", "_fc"}
    learned = [key for key in before if not key.endswith("num_batches_tracked")]
    assert all(not torch.equal(before[key], backbone.state_dict()[key]) for key in learned)
    assert packaged_weights("resnet18") is None


def test_a_recipe_of_the_library_reads_the_installed_package_as_the_command_does() -> None:
    assert segmenter_recipe("solov2_lite0").weights == str(
        packaged_weights("tf_efficientnet_lite0")
    )
    assert segmenter_recipe("solov2_lite0", weights="resnet18").weights == "resnet18"
    assert segmenter_recipe("solov2_lite0", weights=None).weights is None
