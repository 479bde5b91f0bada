"""The limits of detections follow the data, in every recipe and in mmdet's other families."""

import copy
from typing import Any

import pytest

from mal_core.config import SegmenterConfig
from mal_core.data.crowding import MOST_KEPT
from mal_core.errors import ConfigError
from mal_core.jobs.segmenter import PROJECT_ROOT, resolve_config
from phase2_configs.runner.detections import check_limits, follow_objects, kept_detections

RECIPES = sorted(path.stem for path in (PROJECT_ROOT / "conf" / "segmenter").glob("*.yaml"))


def solo(**test_cfg: Any) -> dict[str, Any]:
    test = {"nms_pre": 200, "max_per_img": 50, "score_thr": 0.05, **test_cfg}
    return {"model": {"mask_head": {"num_grids": [16, 14, 6, 4]}, "test_cfg": test}}


def two_stage() -> dict[str, Any]:
    return {
        "model": {
            "train_cfg": {"rpn_proposal": {"nms_pre": 256, "max_per_img": 64}},
            "test_cfg": {
                "rpn": {"nms_pre": 1000, "max_per_img": 64},
                "rcnn": {"max_per_img": 50, "score_thr": 0.05},
            },
        }
    }


def queries() -> dict[str, Any]:
    return {
        "model": {
            "panoptic_head": {"num_queries": 20},
            "test_cfg": {"max_per_image": 20, "iou_thr": 0.8},
        }
    }


@pytest.mark.parametrize(("config", "kept"), [(solo(), 50), (two_stage(), 50), (queries(), 20)])
def test_a_recipe_that_keeps_enough_stays_as_it_is(config: dict[str, Any], kept: int) -> None:
    before = copy.deepcopy(config)
    follow_objects(config, kept)
    assert config == before
    assert kept_detections(config) == kept


def test_candidates_of_solov2_follow_in_proportion() -> None:
    config = solo()
    follow_objects(config, 120)
    assert config["model"]["test_cfg"] == {"nms_pre": 600, "max_per_img": 150, "score_thr": 0.05}
    assert config["model"]["mask_head"]["num_grids"] == [16, 14, 6, 4]


def test_cells_of_solov2_follow_where_they_are_fewer_than_the_objects() -> None:
    config = solo()
    follow_objects(config, 500)
    assert config["model"]["test_cfg"]["max_per_img"] == 630
    grids = config["model"]["mask_head"]["num_grids"]
    assert sum(side**2 for side in grids) >= 630
    assert grids == [18, 16, 7, 5]


def test_proposals_are_twice_the_detections() -> None:
    config = two_stage()
    follow_objects(config, 120)
    model = config["model"]
    assert model["test_cfg"]["rcnn"]["max_per_img"] == 150
    assert model["test_cfg"]["rpn"] == {"nms_pre": 1000, "max_per_img": 300}
    assert model["train_cfg"]["rpn_proposal"] == {"nms_pre": 300, "max_per_img": 300}


def test_queries_are_as_many_as_detections() -> None:
    config = queries()
    follow_objects(config, 33)
    assert config["model"]["panoptic_head"]["num_queries"] == 50
    assert config["model"]["test_cfg"]["max_per_image"] == 50


@pytest.mark.parametrize("config", [solo(), two_stage(), queries()])
def test_limits_end_where_memory_does(config: dict[str, Any]) -> None:
    follow_objects(config, 30_000)
    assert kept_detections(config) == MOST_KEPT


@pytest.mark.parametrize("test_cfg", [None, {"rcnn": {"score_thr": 0.1}}, {"max_per_img": -1}])
def test_a_config_without_limit_has_none(test_cfg: Any) -> None:
    config = {"model": {"test_cfg": test_cfg}}
    follow_objects(config, 500)
    assert config == {"model": {"test_cfg": test_cfg}}
    assert kept_detections(config) is None


def test_more_detections_than_queries_give_are_refused_before_the_training() -> None:
    config = queries()
    config["model"]["test_cfg"]["max_per_image"] = 300
    check_limits(config, 15)
    with pytest.raises(ConfigError) as caught:
        check_limits(config, 2)
    assert str(caught.value) == (
        "the config keeps max_per_image=300 detections per image, but num_queries=20 with 2 "
        "classes give 40. Raise num_queries as well, or lower max_per_image (segmenter.options)."
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_follows_images_of_500_objects(name: str) -> None:
    from mmengine.config import Config

    recipe = SegmenterConfig(name=name, config=PROJECT_ROOT / "phase2_configs" / f"{name}.py")
    config = Config.fromfile(resolve_config(recipe.config), import_custom_modules=False).to_dict()
    usual = kept_detections(config)
    assert usual in (20, 50, 100, 300)
    follow_objects(config, 500)
    assert kept_detections(config) == 630
    check_limits(config, 1)
