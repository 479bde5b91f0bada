"""The dashboard's form of a run."""

import pytest
from pydantic import ValidationError

from flows.pipeline import mal_pipeline
from flows.settings import composing
from flows.settings.form import Form, form_keys


def test_filled_fields_become_overrides_and_groups_come_first() -> None:
    form = Form(
        train_images="/some where/images",
        encoder="random_tiny",
        labeler="tiny_scenes",
        labeler_steps=7,
        segmenters=["solov2_r18", "mask2former_swin_cpu"],
        segmenter_seeds=[0, 3],
        class_agnostic=True,
        seed=0,
        train_annotations="/a,b.json",
    )
    overrides = form.overrides()
    assert overrides[:2] == ["encoder=random_tiny", "mal=tiny_scenes"]
    config = composing.compose(overrides)
    assert config.data.train is not None
    assert str(config.data.train.images) == "/some where/images"
    assert str(config.data.train.annotations) == "/a,b.json"
    assert config.mal.max_steps == 7
    assert [one.name for one in config.segmenters] == ["solov2_r18", "mask2former_swin_cpu"]
    assert config.seeds == (0, 3)
    assert config.data.class_agnostic


def test_empty_form_changes_nothing() -> None:
    assert Form().overrides() == []
    assert Form(class_agnostic=False).overrides() == []
    assert Form().model_dump() == {}


def test_every_field_is_a_setting() -> None:
    keys = set(form_keys().values())
    assert keys <= {*composing.known_keys(), *composing.GROUPS}


@pytest.mark.parametrize(
    "wrong",
    [{"labeler_steps": 0}, {"mask_threshold": 1.0}, {"segmenters": []}, {"sed": 1}, {"seed": -1}],
)
def test_impossible_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Form.model_validate(wrong)


def test_the_flow_shows_the_form_with_its_choices() -> None:
    schema = mal_pipeline.parameters.model_dump()
    assert list(schema["properties"]) == ["form", "overrides", "stage", "force"]
    fields = schema["definitions"]["Form"]["properties"]
    assert "solov2_r18" in fields["segmenters"]["items"]["enum"]
    assert fields["labeler"]["enum"] == ["cpu", "paper", "tiny_scenes"]
    assert "default" not in fields["labeler"]
    assert schema["properties"]["form"]["default"] == {}
