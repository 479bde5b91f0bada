"""Recipes follow the sizes of the objects: images, anchors, grids, regions."""

import copy
from typing import Any

import numpy as np
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


def shuffled_crowd(counts: tuple[int, ...], side: int, image: int) -> ObjectSizes:
    """Sizes of images with so many boxes each, drawn at random places, sides varied by a third."""
    generator = np.random.default_rng(0)
    boxes = []
    for number, count in enumerate(counts):
        drawn = generator.uniform(side / 1.33, side * 1.33, (count, 2))
        corners = generator.uniform(0, image - drawn)
        boxes += [
            {"image_id": number, "bbox": [*corner, *extent]}
            for corner, extent in zip(corners.tolist(), drawn.tolist(), strict=True)
        ]
    images = [{"id": number, "width": image, "height": image} for number in range(len(counts))]
    found = measure_sizes({"images": images, "annotations": boxes})
    assert found is not None
    return found


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


@pytest.mark.parametrize(
    ("name", "part", "local"),
    [
        ("solov2_lite0", "mask_head", "LocalSOLOV2Head"),
        ("mask2former_lite0", "panoptic_head", "LocalMask2FormerHead"),
    ],
)
def test_crowded_images_get_heads_with_places_and_others_do_not(
    name: str, part: str, local: str
) -> None:
    usual = config_of(name)["model"]
    for counts in ((1, 2, 3, 60), (9, 9, 9)):
        config = config_of(name)
        said = sizing.fit(config, shuffled_crowd(counts, 20, 400), None)
        assert config["model"][part]["type"] == usual[part]["type"] != local
        assert "crowded" not in said
    config = config_of(name)
    said = sizing.fit(config, shuffled_crowd((12, 30, 200), 20, 400), None)
    assert config["model"][part]["type"] == local
    assert "crowded" in said
    assert "crops of 256 px" in said


def test_cells_and_queries_of_a_crowd_are_smaller_than_its_objects() -> None:
    crowd = shuffled_crowd((40, 40, 40), 20, 400)
    solov2, mask2former = config_of("solov2_lite0"), config_of("mask2former_lite0")
    for config in (solov2, mask2former):
        sizing.fit(config, crowd, None)
    head, side = solov2["model"]["mask_head"], image_side(solov2)
    assert head["crop_share"] == 256 / side
    assert side / head["num_grids"][0] < 0.75 * 20 / 400 * side
    cell = mask2former["model"]["panoptic_head"]["cell_px"]
    assert cell == pytest.approx(20 / 400 * image_side(mask2former) / 1.6, rel=0.1)


@pytest.mark.parametrize("name", ["solov2_lite0", "mask2former_lite0"])
def test_a_crowd_in_images_no_larger_than_a_crop_is_not_cropped(name: str) -> None:
    config = config_of(name)
    said = sizing.fit(config, shuffled_crowd((40, 40, 40), 20, 400), 192)
    assert "crowded" in said
    assert not any(word.startswith("crops") for word in said)
    assert config["model"].get("mask_head", {}).get("crop_share", 1.0) == 1.0


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
