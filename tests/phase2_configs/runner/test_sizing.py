"""Recipes follow the sizes of the objects: images, anchors, grids, regions."""

import copy
from typing import Any

import pytest
from mmengine.config import Config

from mal_core.data.object_sizes import ObjectSizes, measure_sizes
from mal_core.jobs.segmenter import PROJECT_ROOT
from phase2_configs.runner import recipe, sizing

RECIPES = ("mask_rcnn_lite0", "solov2_lite0", "mask2former_lite0")


def dataset(side: float, count: int, ratio: float = 1.0, image: int = 256) -> dict[str, Any]:
    width, height = side / ratio**0.5, side * ratio**0.5
    boxes = [
        {"image_id": 1, "bbox": [0, 0, width, height], "iscrowd": int(i == count)}
        for i in range(count + 1)
    ]
    return {"images": [{"id": 1, "width": image, "height": image}], "annotations": boxes}


def sizes(*arguments: Any, **more: Any) -> ObjectSizes:
    found = measure_sizes(dataset(*arguments, **more))
    assert found is not None
    return found


def config_of(name: str) -> dict[str, Any]:
    path = PROJECT_ROOT / "phase2_configs" / f"{name}.py"
    found: dict[str, Any] = Config.fromfile(str(path)).to_dict()
    return found


def image_side(config: dict[str, Any]) -> int:
    pipeline = config["test_dataloader"]["dataset"]["pipeline"]
    return max(next(step["scale"] for step in pipeline if step["type"] == "Resize"))


@pytest.mark.parametrize("name", RECIPES)
def test_small_objects_get_large_images_and_large_ones_small(name: str) -> None:
    small, large = config_of(name), config_of(name)
    sizing.fit(small, sizes(12, 100), None)
    sizing.fit(large, sizes(130, 1), None)
    assert (image_side(small), image_side(large)) == (512, 256)
    assert sizing.REQUEST not in small


def test_a_size_of_the_users_wins() -> None:
    config = config_of("mask_rcnn_lite0")
    said = sizing.fit(config, sizes(12, 100), 128)
    assert image_side(config) == 128
    assert "images of 128 px" in said[0]


def test_anchors_sit_on_the_median_object_in_its_shape() -> None:
    config = config_of("mask_rcnn_lite0")
    sizing.fit(config, sizes(130, 1, ratio=3.0), None)
    anchors = config["model"]["rpn_head"]["anchor_generator"]
    octaves = [4 * anchors["scales"][0] * 2**level for level in range(5)]
    assert min(abs(octave - 130) for octave in octaves) < 1
    assert octaves[0] < 20
    assert anchors["ratios"] == [3.0, 3.0, 3.0]


def test_cells_of_a_grid_are_smaller_than_the_objects_of_its_level() -> None:
    config = config_of("solov2_lite0")
    sizing.fit(config, sizes(12, 100), None)
    head = config["model"]["mask_head"]
    assert 512 / head["num_grids"][0] < 24
    assert head["scale_ranges"] == config_of("solov2_lite0")["model"]["mask_head"]["scale_ranges"]


def test_regions_follow_the_number_of_objects() -> None:
    few, many = config_of("mask_rcnn_lite0"), config_of("mask_rcnn_lite0")
    sizing.fit(few, sizes(130, 1), None)
    sizing.fit(many, sizes(12, 300), None)
    counts = [one["model"]["train_cfg"]["rcnn"]["sampler"]["num"] for one in (few, many)]
    assert counts == [32, 128]


def test_crops_are_cut_only_where_images_are_larger() -> None:
    cut, whole = config_of("mask_rcnn_lite0"), config_of("mask_rcnn_lite0")
    sizing.fit(cut, sizes(12, 100), None)
    sizing.fit(whole, sizes(130, 1), None)
    steps = [
        [step["type"] for step in one["train_dataloader"]["dataset"]["pipeline"]]
        for one in (cut, whole)
    ]
    assert steps[0][-2:] == ["RandomCrop", "PackDetInputs"]
    assert "RandomCrop" not in steps[1]


def test_other_recipes_stay_as_they_are_and_crowds_do_not_count() -> None:
    config = config_of("solov2_r18")
    before = copy.deepcopy(config)
    assert sizing.fit(config, sizes(12, 100), None) == []
    assert config == before
    recipe.set_image_size(before, 96)
    sizing.fit(config, sizes(12, 100), 96)
    assert config == before
    assert sizes(12, 100).per_image[2] == 100
    assert measure_sizes({"images": [], "annotations": []}) is None
