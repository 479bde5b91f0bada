"""The form that Prefect's dashboard shows for a run: the settings most people change.

A server checks it before a run exists. Everything else is an override.
"""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from flows.settings import composing


@dataclasses.dataclass(frozen=True)
class Key:
    """The setting of a field that has another name."""

    name: str


def _one_of(group: str) -> Any:
    return Field(json_schema_extra={"enum": list(composing.options_of(group))})


Encoder = Annotated[str, _one_of("encoder")]
Experiment = Annotated[str, _one_of("experiment")]
Format = Annotated[str, _one_of("data")]
Labeler = Annotated[str, _one_of("mal")]
Recipe = Annotated[str, _one_of(composing.SEGMENTER_GROUP)]


def _show_plain_fields(schema: dict[str, Any]) -> None:
    """A field that may be left out is a field to fill in; Prefect draws "or null" as a switch."""
    for name, field in schema["properties"].items():
        (kind,) = [choice for choice in field.pop("anyOf", [field]) if choice.get("type") != "null"]
        schema["properties"][name] = {**kind, **field}
        schema["properties"][name].pop("default", None)


class Form(BaseModel):
    """What to run on; an empty field keeps the setting's default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, title="Settings", json_schema_extra=_show_plain_fields
    )

    experiment: Experiment | None = None
    data_format: Annotated[Format | None, Key("data")] = None
    train_images: Annotated[str | None, Key("data.train.images")] = Field(
        default=None, description="Folder, as the worker sees it."
    )
    train_annotations: Annotated[str | None, Key("data.train.annotations")] = Field(
        default=None, description="Boxes of these images."
    )
    val_images: Annotated[str | None, Key("data.val.images")] = None
    val_annotations: Annotated[str | None, Key("data.val.annotations")] = Field(
        default=None, description="With masks."
    )
    data_name: Annotated[str | None, Key("data.name")] = Field(
        default=None, description="Of the data, on the dashboard."
    )
    class_agnostic: Annotated[bool | None, Key("data.class_agnostic")] = Field(
        default=None, description="Phase 2 knows one class."
    )
    encoder: Encoder | None = None
    encoder_weights: Annotated[str | None, Key("encoder.weights")] = Field(
        default=None, description="A file, instead of the hub."
    )
    labeler: Annotated[Labeler | None, Key("mal")] = None
    labeler_steps: Annotated[int | None, Key("mal.max_steps")] = Field(default=None, ge=1)
    mask_threshold: Annotated[float | None, Key("mal.mask_threshold")] = Field(
        default=None, gt=0, lt=1
    )
    segmenters: list[Recipe] | None = Field(default=None, min_length=1)
    segmenter_steps: Annotated[int | None, Key("segmenter.max_steps")] = Field(default=None, ge=1)
    segmenter_seeds: list[int] | None = Field(
        default=None, min_length=1, json_schema_extra={"uniqueItems": True}
    )
    human_arm: Literal["train", "published", "none"] | None = None
    seed: int | None = Field(default=None, ge=0)
    workdir: str | None = Field(default=None, description="Folder for the results.")

    @model_serializer(mode="wrap")
    def _filled(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Prefect fills its form with the default; null is none of the choices.
        return {name: value for name, value in handler(self).items() if value is not None}

    def overrides(self) -> list[str]:
        """The filled fields as KEY=VALUE, groups before single settings."""
        # A box that is not ticked is no choice: the browser sends it anyway.
        filled = {name: value for name, value in self.model_dump().items() if value is not False}
        keys = form_keys()
        pairs = {keys[name]: value for name, value in filled.items()}
        ordered = sorted(pairs.items(), key=lambda pair: pair[0] not in composing.GROUPS)
        return [f"{key}={_value(value)}" for key, value in ordered]


def form_keys() -> dict[str, str]:
    """Setting of each field of the form."""
    return {
        name: next((mark.name for mark in field.metadata if isinstance(mark, Key)), name)
        for name, field in Form.model_fields.items()
    }


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(str(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
