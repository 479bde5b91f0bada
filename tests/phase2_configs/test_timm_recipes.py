"""Recipes on timm's backbones start from real weights, keep what is frozen, and predict."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from flows.settings import composing
from mal_core.errors import ConfigError
from mal_core.jobs.segmenter import PREDICTIONS_FILE, SegmenterJob
from mal_core.models.weight_packages import packaged_weights
from phase2_configs.backbones.explained_weights import load_backbone
from phase2_configs.backbones.timm_backbone import TimmBackbone
from tests.phase2_configs.jobs import make_job, run_runner, write_job

RECIPES = ("mask_rcnn_lite0", "solov2_lite0", "mask2former_lite0")


def lite_job(drawn: Any, name: str) -> SegmenterJob:
    smoke = ["experiment=smoke", f"segmenters=[{name}]"]
    recipe = composing.compose(smoke).segmenters[0]
    return dataclasses.replace(make_job(drawn, "solov2_r18", drawn.human, drawn.val), recipe=recipe)


@pytest.fixture(scope="module")
def started(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of a training of each recipe, then of one with weights of another network; its words.

    One child does them all: to start one costs more than such a training.
    """
    folder = tmp_path_factory.mktemp("started")
    jobs = [write_job(lite_job(drawn, name), folder / name) for name in RECIPES]
    weights = folder / "resnet18.pth"
    torch.save(timm.create_model("resnet18").state_dict(), weights)
    job = make_job(drawn, "solov2_r18", drawn.human, drawn.val)
    recipe = dataclasses.replace(job.recipe, weights=str(weights))
    jobs.append(write_job(dataclasses.replace(job, recipe=recipe), folder / "other"))
    result = run_runner(*jobs)
    assert result.returncode == 2, result.stdout[-3000:] + result.stderr[-3000:]
    return folder, result.stdout


@pytest.mark.slow
def test_recipes_start_from_the_package_and_leave_frozen_stages_alone(
    started: tuple[Path, str],
) -> None:
    folder, printed = started
    assert printed.count("sized by the data: images of 96 px") == len(RECIPES)
    whole = timm.create_model("tf_efficientnet_lite0", features_only=True)
    load_backbone(whole, packaged_weights("tf_efficientnet_lite0") or "")
    imagenet = whole.state_dict()
    for name in RECIPES:
        assert isinstance(json.loads((folder / name / PREDICTIONS_FILE).read_text()), list)
        state = torch.load(folder / name / "iter_2.pth", weights_only=False)["state_dict"]
        trained = {
            key.removeprefix("backbone.features."): value
            for key, value in state.items()
            if key.startswith("backbone.features.")
        }
        still = [key for key in trained if key.startswith(("conv_stem", "bn1", "blocks.1."))]
        still += [key for key in trained if "running_" in key]
        assert all(torch.equal(trained[key], imagenet[key]) for key in still)
        late = trained["blocks.5.0.conv_pw.weight"] - imagenet["blocks.5.0.conv_pw.weight"]
        assert 0 < late.abs().max() < 0.01


@pytest.mark.slow
def test_weights_that_do_not_fit_a_backbone_of_mmdet_are_refused_by_name(
    started: tuple[Path, str],
) -> None:
    folder, printed = started
    weights = folder / "resnet18.pth"
    assert f"error: segmenter.weights={weights} does not fit the recipe's backbone" in printed
    assert "of another shape: conv1.weight" in printed
    assert not list((folder / "other").glob("*.pth"))


def test_stages_freeze_from_the_stem_on() -> None:
    backbone = TimmBackbone("resnet18", frozen_stages=2, norm_eval=True).train()
    trained = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    norms = [part for part in backbone.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not any(part.training for part in norms)
    maps = backbone(torch.zeros(1, 3, 64, 64))
    assert [level.shape[1:] for level in maps] == [
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]


def test_transformers_give_their_maps_channels_first() -> None:
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", options={"img_size": 64})
    assert [level.shape[1] for level in backbone(torch.zeros(1, 3, 64, 64))] == [96, 192, 384, 768]


def test_weights_by_timms_name_are_those_of_the_installed_package() -> None:
    recipe = composing.compose(["experiment=smoke", "segmenters=[solov2_lite0]"]).segmenters[0]
    assert recipe.weights == str(packaged_weights("tf_efficientnet_lite0"))
    named = ["experiment=smoke", "segmenters=[solov2_lite0]", "segmenter.weights=resnet18"]
    assert composing.compose(named).segmenters[0].weights == "resnet18"
    with pytest.raises(ConfigError, match=r"segmenter\.weights=resnet1x: no such file, and no mod"):
        composing.compose([*named[:2], "segmenter.weights=resnet1x"])
