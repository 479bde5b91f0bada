"""Settings of the data of a run: the user's files, or scenes that the project draws."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from mal_core.config import SEEDS, AnnotationFormat, Config, SplitConfig
from mal_core.config.roles import Data, Reporting, Role, Segmenting
from mal_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ScenesConfig(Config, key="data.scenes"):
    """Scenes that the project draws.

    Attributes:
        num_train, num_val: Scenes per split.
        size: Side of the square images, px.
        seed: The same seed draws the same scenes.
    """

    num_train: Data[int]
    num_val: Data[int]
    size: Data[int]
    seed: Data[int] = 0

    def _require_possible(self) -> None:
        for key, least in (("num_train", 1), ("num_val", 1), ("size", 64)):
            seen = getattr(self, key)
            if seen < least:
                message = (
                    f"data.scenes.{key}={seen!r} is not possible: it must be at least {least}."
                )
                raise ConfigError(message)
        if not 0 <= self.seed < SEEDS:
            message = f"data.scenes.seed={self.seed} is not possible: wanted 0 to {SEEDS - 1}."
            raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class DataSource(Config, key="data"):
    """Where images and annotations come from: the user's files, or drawn scenes.

    Attributes:
        source: The user's files, or scenes that the project draws.
        format: How annotations are written; a split may have its own, `data.val.format`.
        train, val: The user's files; None where this run does not need them, and
            for drawn scenes.
        test: Images without annotations and their COCO list, for `mal predict`.
        name: Of the data in the keys of artifacts; None means the annotation file's name and
            the beginning of its digest.
        class_agnostic: Phase 2 knows one class, `object`; the labels keep theirs.
        orientation: Pixels that boxes refer to in images with an EXIF orientation whose sizes
            do not tell: as viewers show them, as they are stored, or as those images of the
            file that tell.
        max_image_pixels: Larger images are refused.
        box_noise: Sides of the boxes that phase 1 sees move by up to this share, for experiments.
        license: Of the images whose entry in the annotation file states none: own (or `my own
            photos`, mine), CC0, CC-BY-4.0, ...; other words count as unknown.
        scenes: What to draw when `source` is "scenes".
    """

    source: Data[Literal["files", "scenes"]]
    format: Data[AnnotationFormat] = "coco"
    train: Annotated[SplitConfig | None, Role.DATA, Role.PLACE, Role.DRAWN] = None
    val: Annotated[SplitConfig | None, Role.DATA, Role.PLACE, Role.DRAWN] = None
    test: Annotated[SplitConfig | None, Role.DATA, Role.PLACE] = None
    name: Reporting[str | None] = None
    strict: Data[bool] = False
    decode_images: Data[bool] = True
    class_agnostic: Segmenting[bool] = False
    orientation: Data[Literal["auto", "shown", "stored"]] = "auto"
    max_image_pixels: Data[int] = 1_000_000_000
    box_noise: Data[float] = 0.0
    license: Reporting[str | None] = None
    scenes: Data[ScenesConfig | None] = None

    def _require_possible(self) -> None:
        if self.max_image_pixels < 1:
            message = (
                f"data.max_image_pixels={self.max_image_pixels} is not possible: it must be at "
                "least 1."
            )
            raise ConfigError(message)
        if not 0 <= self.box_noise < 0.5:
            message = f"data.box_noise={self.box_noise} is not possible: wanted 0 to below 0.5."
            raise ConfigError(message)
        if self.source == "scenes" and self.scenes is None:
            message = "data.source=scenes needs data.scenes; choose it with data=scenes."
            raise ConfigError(message)
        if self.name is not None and not re.search("[A-Za-z0-9]", self.name):
            message = f"data.name={self.name!r} is not possible: it needs a letter or a digit."
            raise ConfigError(message)

    @property
    def scores(self) -> bool:
        """Whether there are images to score segmenters on."""
        return self.source == "scenes" or self.val is not None

    @property
    def train_format(self) -> AnnotationFormat:
        """Of the training split."""
        return (self.train and self.train.format) or self.format

    @property
    def val_format(self) -> AnnotationFormat:
        """Of the validation split."""
        return (self.val and self.val.format) or self.format
