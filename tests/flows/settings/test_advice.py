"""A value that cannot be meant is refused with what to write instead."""

import json
from pathlib import Path

import pytest

from flows.settings import composing
from mal_core.errors import ConfigError

LABELER = (
    "labeler=[grabcut,box]: a run takes one choice. labeler=ensemble "
    "'labeler.members=[grabcut,box]' has all draw together, `mal sweep labeler=grabcut,box` runs "
    "each."
)


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        composing.compose(overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labeler=[grabcut,box]", LABELER),
        ("mal=[cpu,paper]", "mal=[cpu,paper]: a run takes one choice. `mal sweep mal=cpu,paper`"),
        ("encoder=[deit_tiny,deit_small]", "`mal sweep encoder=deit_tiny,deit_small` runs each."),
        ("data=[coco,yolo]", "data=[coco,yolo]: a run takes one choice. `mal sweep data=coco,yolo"),
        ("experiment=[demo,smoke]", "experiment=[demo,smoke]: a run takes one choice."),
        ("labeler=null", "labeler needs one choice. Available: box, ellipse, "),
        ("mal=[]", "mal needs one choice. Available: cpu, paper, tiny_scenes."),
        ("encoder={a:1}", "encoder needs one choice."),
    ],
)
def test_a_group_takes_one_choice(override: str, message: str) -> None:
    assert message in refusal(override)


def test_several_recipes_of_segmenters_stay_possible_and_so_does_a_list_of_one() -> None:
    config = composing.compose(["segmenters=[solov2_r18,mask_rcnn_lite0]", "labeler=[ellipse]"])
    assert [recipe.name for recipe in config.segmenters] == ["solov2_r18", "mask_rcnn_lite0"]
    assert config.labeler.name == "ellipse"


def folder_of(kind: str, place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"model_type": kind}))
    return place


@pytest.mark.parametrize("key", ["encoder.weights", "checkpoint", "pseudo_labels"])
def test_a_folder_of_a_foundation_model_is_a_labelers(key: str, tmp_path: Path) -> None:
    place = folder_of("sam2_video", tmp_path / "any")
    assert refusal(f"{key}={place}") == (
        f"{key}={place}: a folder; a file is wanted. It holds a foundation model, which is given "
        f"by labeler=sam2 labeler.weights={place}."
    )


def test_a_guides_folder_of_a_foundation_model_is_its_weights(tmp_path: Path) -> None:
    place = folder_of("sam", tmp_path / "any")
    told = refusal(f"mal.guide={place}")
    assert told.endswith(f"given by mal.guide=sam guide.weights={place}.")


@pytest.mark.parametrize("key", ["encoder.weights", "checkpoint"])
def test_only_where_masks_are_wanted_a_labelers_name_stands_for_masks(
    key: str, tmp_path: Path
) -> None:
    (tmp_path / "sam2").mkdir()
    assert "of masks" not in refusal(f"{key}={tmp_path / 'sam2'}")
    assert "`mal label labeler=sam2 output=masks.json` makes one" in refusal(
        f"pseudo_labels={tmp_path / 'sam2'}"
    )
