"""Each object's mask loss counts as its label's score says, in all three families."""

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mal_core.data.object_sizes import ObjectSizes
from mal_core.errors import ConfigError, DatasetError
from phase2_configs.runner import recipe, sizing, weighted_data
from phase2_configs.runner.label_weights import weigh_labels
from phase2_configs.runner.users_config import read_config

RECIPES = Path(recipe.__file__).parents[1]
FAMILIES = ("solov2_r18", "cascade_mask_rcnn_convnext_cpu", "mask2former_swin_cpu")
CROWDED = ("solov2_lite0", "mask2former_lite0")
"""Recipes with heads of their own for crowded images."""
CROWD = ObjectSizes(sides=(0.3,) * 5, ratios=(1.0,) * 5, per_image=(20.0,) * 5)
SIDE = 128
SQUARES = ((8, 8, 48, 48), (70, 20, 40, 60), (30, 76, 44, 40))
"""x, y, width, height of the objects; no two share a cell or a proposal."""


pytestmark = [
    pytest.mark.slow,  # the import of mmdet
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def _mmdet() -> None:
    register_all_modules(init_default_scope=True)
    importlib.import_module("phase2_configs.runner.weighted_heads")


def photo_of_squares(folder: Path, scores: Any, shrunk: int | None = None) -> Path:
    """One photo with three squares whose labels have these scores; None: no score.

    The mask of the square numbered `shrunk` is smaller, around the same middle.
    """
    generator = np.random.default_rng(0)
    image = generator.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    annotations = []
    for number, ((x, y, w, h), score) in enumerate(zip(SQUARES, scores, strict=True)):
        image[y : y + h, x : x + w] = generator.integers(90, 250, 3)
        inset = 6 if number == shrunk else 0
        left, top, right, bottom = x + inset, y + inset, x + w - inset, y + h - inset
        polygon = [left, top, right, top, right, bottom, left, bottom]
        entry = {"id": number + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": w * h}
        entry |= {"bbox": [x, y, w, h], "segmentation": [polygon]}
        annotations.append(entry if score is None else {**entry, "score": score})
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), image)
    images = [{"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}]
    categories = [{"id": 1, "name": "square"}]
    path = folder / "train.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


def a_config(name: str, train: Path, how: str = "none", threshold: float = 0.5) -> Config:
    config = read_config(RECIPES / f"{name}.py")
    recipe.set_classes(config, ["square"])
    for split in ("train", "val", "test"):
        recipe.set_data(config, split, train.parent, train)
    recipe.set_weights(config["model"], None)
    if name in CROWDED:
        sizing.fit(config, CROWD, SIDE)
    else:
        recipe.set_image_size(config, SIDE)
    for cost in recipe.walk(config["model"].get("train_cfg") or {}):
        if cost.get("type") in ("CrossEntropyLossCost", "DiceCost"):
            cost["weight"] = 0.0  # so that a mask does not decide who learns it
    if how != "none":
        weigh_labels(config, how, threshold)
    return Config(config)


def losses_of(config: Config) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses of one batch, and the gradients of its mask losses alone."""
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    np.random.seed(1)
    sample = DATASETS.build(config.train_dataloader.dataset)[0]
    data = model.data_preprocessor(pseudo_collate([sample]), training=True)
    torch.manual_seed(2)
    found = model(**data, mode="loss")
    losses = {
        key: sum(value) if isinstance(value, list) else value.sum()
        for key, value in found.items()
        if "loss" in key
    }
    sum(value for key, value in losses.items() if is_of_masks(key)).backward()
    gradients = {
        key: value.grad for key, value in model.named_parameters() if value.grad is not None
    }
    return {key: float(value.detach()) for key, value in losses.items()}, gradients


def is_of_masks(loss: str) -> bool:
    return loss.rpartition("loss_")[2] in ("mask", "dice")


@pytest.mark.parametrize("name", [*FAMILIES, *CROWDED])
def test_equal_scores_are_mmdets_own_loss(tmp_path: Path, name: str) -> None:
    train = photo_of_squares(tmp_path, (0.25, 0.25, 0.25))
    losses, gradients = losses_of(a_config(name, train))
    weighed, same = losses_of(a_config(name, train, "score"))
    assert weighed == pytest.approx(losses, rel=1e-6, abs=1e-6)
    assert same.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert torch.allclose(same[key], gradient, rtol=1e-5, atol=1e-6), key


@pytest.mark.parametrize("name", [*FAMILIES, *CROWDED])
def test_only_an_ignored_object_may_have_any_mask(tmp_path: Path, name: str) -> None:
    scores = (0.9, 0.2, 0.9)
    losses, gradients = losses_of(a_config(name, photo_of_squares(tmp_path, scores), "threshold"))
    other = photo_of_squares(tmp_path / "ignored", scores, shrunk=1)
    same, equal = losses_of(a_config(name, other, "threshold"))
    assert same == pytest.approx(losses, rel=1e-6)
    assert all(torch.allclose(equal[key], gradients[key], atol=1e-6) for key in gradients)
    heard = photo_of_squares(tmp_path / "heard", scores, shrunk=2)
    changed, _ = losses_of(a_config(name, heard, "threshold"))
    assert all(changed[key] != losses[key] for key in losses if is_of_masks(key))


@pytest.mark.parametrize("name", [*FAMILIES, *CROWDED])
def test_an_ignored_object_keeps_its_class_and_box(tmp_path: Path, name: str) -> None:
    train = photo_of_squares(tmp_path, (0.9, 0.2, 0.9))
    losses, _ = losses_of(a_config(name, train))
    weighed, _ = losses_of(a_config(name, train, "threshold"))
    others = [key for key in losses if not is_of_masks(key)]
    assert others
    assert {key: weighed[key] for key in others} == {key: losses[key] for key in others}
    assert any(weighed[key] != losses[key] for key in losses if is_of_masks(key))


def test_weights_follow_their_objects_through_a_pipeline(tmp_path: Path) -> None:
    config = a_config("solov2_r18", photo_of_squares(tmp_path, (0.2, 0.4, None)), "score")
    dataset = config.train_dataloader.dataset.to_dict()
    crop = {"type": "RandomCrop", "crop_size": (60, 60), "allow_negative_crop": True}
    dataset["pipeline"] = [*dataset["pipeline"][:-1], crop, dataset["pipeline"][-1]]
    built = DATASETS.build(dataset)
    wanted = np.array([0.2, 0.4, 1.0]) / np.mean([0.2, 0.4, 1.0])
    seen = set()
    np.random.seed(0)
    for _ in range(20):
        found = built[0]["data_samples"].gt_instances
        assert (found.labels == 0).all()
        ranks = np.abs(found.mask_weights.numpy()[:, None] - wanted).argmin(1)
        assert np.allclose(found.mask_weights.numpy(), wanted[ranks], atol=1e-4)
        seen |= {tuple(ranks.tolist())}
    assert len(seen) > 1  # crops lost some objects


def test_human_masks_count_in_full() -> None:
    scored = {"score": 0.3}
    assert weighted_data.weight_of(scored, "score", 0.5) == 0.3
    assert weighted_data.weight_of(scored, "threshold", 0.5) == 0.0
    assert weighted_data.weight_of({**scored, "source": "human"}, "threshold", 0.5) == 1.0
    assert weighted_data.weight_of({}, "score", 0.5) == 1.0


def test_a_threshold_that_no_label_reaches_is_refused(tmp_path: Path) -> None:
    train = photo_of_squares(tmp_path, (0.2, 0.1, 0.2))
    with pytest.raises(DatasetError, match=r"(?s)train.json.*none of the 3.*0\.9") as caught:
        DATASETS.build(a_config("solov2_r18", train, "threshold", 0.9).train_dataloader.dataset)
    assert "segmenter.label_threshold" in str(caught.value)


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="label_weights=score"):
        a_config("boxinst_r50", photo_of_squares(tmp_path, (0.2, 0.1, 0.2)), "score")
