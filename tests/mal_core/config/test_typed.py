"""Settings that Python code makes are of the types of their fields, or refused by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mal_core
from mal_core.errors import ConfigError, MalCoreError

LEAST = {"crop_size": 64, "batch_size": 1, "max_steps": 1, "learning_rate": 1e-4}
mal = partial(mal_core.MalConfig, **LEAST)
encoder = partial(mal_core.EncoderConfig, name="vit")


@pytest.mark.parametrize(
    ("record", "given", "said"),
    [
        (mal_core.LabelerConfig, {"iterations": "x"}, "labeler.iterations='x' .* a whole number"),
        (mal_core.LabelerConfig, {"iterations": True}, "labeler.iterations=True .* a whole number"),
        (mal_core.LabelerConfig, {"iterations": 2.0}, "labeler.iterations=2.0 .* a whole number"),
        (mal_core.LabelerConfig, {"name": "grabcat"}, "labeler.name='grabcat' .* one of 'mal'"),
        (mal_core.LabelerConfig, {"name": ["sam"]}, r"labeler.name=\['sam'\] .* one of 'mal'"),
        (mal_core.LabelerConfig, {"cut_to_box": "no"}, "labeler.cut_to_box='no' .* True or False"),
        (mal_core.LabelerConfig, {"members": ("mal",)}, "labeler.members=.* a MemberConfig"),
        (
            mal_core.LabelerConfig,
            {"surroundings": np.nan},
            "labeler.surroundings=nan .* a finite number",
        ),
        (mal, {"max_steps": None}, "mal.max_steps=None .* a whole number"),
        (mal, {"learning_rate": "1e-4"}, "mal.learning_rate='1e-4' .* a number"),
        (mal, {"max_box_area": float("inf")}, "mal.max_box_area=inf .* a finite number"),
        (mal, {"max_box_area": 10**400}, "mal.max_box_area=10+.* a finite number"),
        (mal, {"mask_thresholds": (0.1, 0.2)}, "mal.mask_thresholds=.* a tuple of 3 or None"),
        (mal, {"extra_expansions": (1, "a")}, "mal.extra_expansions=.* each of its values a num"),
        (mal, {"extra_expansions": "12"}, "mal.extra_expansions='12' .* a tuple"),
        (mal, {"refinement": {"grid": 64}}, "mal.refinement=.* a RefinementConfig"),
        (mal, {"guide": b"masks.json"}, "mal.guide=b'masks.json' .* a path, as str or Path"),
        (mal, {"guide": ""}, "mal.guide='' .* a path; it is empty"),
        (encoder, {"name": 5}, "encoder.name=5 .* a text"),
        (encoder, {"options": ["depth"]}, "encoder.options=.* a dict with texts for keys"),
        (mal_core.RefinementConfig, {"grid": "96"}, "mal.refinement.grid='96' .* a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_setting(
    record: Callable[..., Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{said}") as caught:
        record(**given)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_what_stands_for_the_type_becomes_it() -> None:
    config = mal(crop_size=np.int64(64), learning_rate=1, extra_expansions=[1, np.float32(0.5)])
    assert (config.crop_size, config.extra_expansions) == (64, (1.0, 0.5))
    assert {type(config.crop_size), type(config.learning_rate)} == {int, float}
    assert encoder(weights="a.pth").weights == Path("a.pth")
    assert encoder(pretrained=np.bool_(True)).pretrained is True


def test_what_is_of_the_type_and_impossible_is_refused_as_before() -> None:
    with pytest.raises(ConfigError, match=r"^mal\.crop_size=50 is not possible: it must be a mul"):
        mal(crop_size=50)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"mal": 5},
            r"mal is of type int; wanted the name of a recipe, or a MalConfig such as lab",
        ),
        ({"encoder": mal()}, "encoder is of type MalConfig; wanted the name of a recipe, or a Enc"),
        ({"mal": "cpuu"}, "mal=cpuu: there is no such choice. Available: cpu"),
        (
            {"encoder": encoder(name="vitt")},
            "encoder.name='vitt' is no timm model; similar names: ",
        ),
        (
            {"encoder": encoder(name="deit_tiny_patch16_224", weights="absent.pth")},
            "encoder.weights=absent.pth: no such file",
        ),
        (
            {
                "mal": mal(
                    guide="absent.json", self_training=mal_core.labeler_recipe().self_training
                )
            },
            "mal.guide=absent.json: no such file",
        ),
        (
            {"mal": mal_core.labeler_recipe(guide="grabcut")},
            r"mal.guide=grabcut: .* is a file of masks: load_labeler\(labeler='grabcut', ",
        ),
        ({"seed": "x"}, "seed is 'x'; wanted a whole number from 0 to 4294967295"),
        ({"seed": -1}, "seed is -1; wanted"),
        ({"seed": True}, "seed is True; wanted"),
        ({"images": 5}, "images is of type int; wanted a path"),
        ({"annotations": b"a.json"}, "annotations is of type bytes; wanted a path"),
        ({"output_dir": ""}, "output_dir is an empty text; wanted a path"),
    ],
)
def test_training_is_refused_before_any_work(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    places = {"images": tmp_path, "annotations": tmp_path / "a.json", "output_dir": tmp_path / "o"}
    with pytest.raises(MalCoreError, match=f"^{said}"):
        mal_core.train_labeler(**{**places, **given})
    assert not [*tmp_path.iterdir()]
