"""Settings of who draws the masks: our own network, a foundation model, or no network at all."""

from dataclasses import dataclass
from typing import Literal

from mal_core.config import Config, _require
from mal_core.config.roles import Labeling
from mal_core.errors import ConfigError

LabelerName = Literal["mal", "sam", "sam2", "sam3", "hq_sam", "box", "ellipse", "grabcut"]
FOUNDATIONS = ("sam", "sam2", "sam3", "hq_sam")
"""Labelers that need weights which somebody else has trained."""


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(Config):
    """Who draws the masks of a run; our own network draws as `mal` says and reads nothing here.

    Attributes:
        name: Which one.
        weights: Of a foundation model: its name on the hub (`facebook/sam2.1-hiera-tiny`), a
            folder with config.json and model.safetensors, or that file.
        cut_to_box: Masks lose what lies outside of their boxes.
        best_of_three: Let the model draw three masks of each box and take the one it rates
            highest; off, it draws one, which is better for boxes.
        precision: Of the image encoder; auto: bf16 on a GPU that has it, else fp32.
        boxes_per_pass: Boxes of a photo that go through the mask decoder together.
        iterations: Of GrabCut.
        surroundings: Growth of the crop in which GrabCut learns what is not the object, as a
            share of the box; 2.0 doubles it.
    """

    name: Labeling[LabelerName] = "mal"
    weights: Labeling[str | None] = None
    cut_to_box: Labeling[bool] = True
    best_of_three: Labeling[bool] = False
    precision: Labeling[Literal["auto", "fp32", "bf16"]] = "auto"
    boxes_per_pass: Labeling[int] = 32
    iterations: Labeling[int] = 5
    surroundings: Labeling[float] = 2.0

    def __post_init__(self) -> None:
        for key in ("boxes_per_pass", "iterations"):
            _require(getattr(self, key) >= 1, f"labeler.{key}", getattr(self, key), "at least 1")
        _require(self.surroundings > 0, "labeler.surroundings", self.surroundings, "> 0")
        if self.weights is not None and self.name not in FOUNDATIONS:
            message = (
                f"labeler.weights={self.weights} is not possible with labeler={self.name}, which "
                f"takes none; those of {', '.join(FOUNDATIONS)} do."
            )
            raise ConfigError(message)
        if self.weights is None and self.name in FOUNDATIONS:
            message = (
                f"labeler={self.name} needs labeler.weights=...: a name on the hub, or a folder "
                "with config.json and model.safetensors."
            )
            raise ConfigError(message)

    @property
    def is_trained(self) -> bool:
        """Whether it draws with a network that phase 1 trains on boxes."""
        return self.name == "mal"
