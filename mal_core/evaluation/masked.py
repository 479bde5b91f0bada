"""The one view of a COCO file with its masks, for all who score, compare or draw objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle
from mal_core.types import Category, ImageRecord, Rle

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedObject:
    """An annotation, with its mask if it has one.

    Attributes:
        category: Name of its class.
        box_xywh: As the file has it, px.
        crowd: It stands for many objects.
        segmentation: The mask as the file has it, in any form (see mal_core.geometry.mask_forms).
        score: Of the labeler, where the file has one that is a number.
    """

    annotation_id: int
    image: ImageRecord
    category_id: int
    category: str
    box_xywh: tuple[float, float, float, float]
    crowd: bool
    segmentation: object
    score: float | None

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """The box inside its image, px, shape (4,)."""
        x, y, w, h = self.box_xywh
        corners = [
            max(x, 0),
            max(y, 0),
            min(x + w, self.image.width),
            min(y + h, self.image.height),
        ]
        return np.array(corners, dtype=float)

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask, sound or not."""
        return is_mask(self.segmentation)

    @property
    def is_judged(self) -> bool:
        """Whether it is one object with a mask and a box of positive size."""
        return self.has_mask and not self.crowd and self.box_xywh[2] > 0 and self.box_xywh[3] > 0

    def rle(self) -> Rle:
        """The mask as compressed RLE.

        Raises:
            MaskError: It is no mask, or not one of an image of that size.
        """
        return segmentation_to_rle(self.segmentation, self.image.height, self.image.width)

    def mask(self) -> NDArray[np.uint8]:
        """The mask as 0 and 1, shape (H, W) of its image.

        Raises:
            MaskError: It is no mask, or not one of an image of that size.
        """
        return segmentation_to_mask(self.segmentation, self.image.height, self.image.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedFile:
    """A COCO file whose entries are known to be sound, in the order of the file."""

    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    objects: tuple[MaskedObject, ...]

    def judged(self) -> list[MaskedObject]:
        """Objects with a mask and a box of positive size; crowds are none."""
        return [each for each in self.objects if each.is_judged]


def read_masked(path: Path) -> MaskedFile:
    """Read a file that has been checked (see mal_core.data.view), masks and all.

    Raises:
        DatasetError: The file is absent, is no JSON or is no COCO object.
    """
    return masked_of(parse_coco(path))


def masked_of(content: Mapping[str, Any]) -> MaskedFile:
    """The same of a file that `parse_coco` has read and a view has checked."""
    name_of = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    images = {
        entry["id"]: ImageRecord(
            image_id=entry["id"],
            file_name=entry.get("file_name", ""),
            height=entry["height"],
            width=entry["width"],
        )
        for entry in content["images"]
    }
    return MaskedFile(
        categories=tuple(Category(category_id=key, name=name) for key, name in name_of.items()),
        images=tuple(images.values()),
        objects=tuple(_object(entry, images, name_of) for entry in content["annotations"]),
    )


def _object(
    entry: Json, images: Mapping[int, ImageRecord], name_of: Mapping[int, str]
) -> MaskedObject:
    score = entry.get("score")
    return MaskedObject(
        annotation_id=entry["id"],
        image=images[entry["image_id"]],
        category_id=entry["category_id"],
        category=name_of[entry["category_id"]],
        box_xywh=tuple(entry["bbox"]),
        crowd=bool(entry.get("iscrowd", 0)),
        segmentation=entry.get("segmentation"),
        score=float(score) if isinstance(score, int | float) and type(score) is not bool else None,
    )


def masks_by_id(path: Path) -> dict[int, object]:
    """The masks of a labeled file as it has them, by annotation id; None where it has none.

    Raises:
        DatasetError: The file is absent, is no JSON or is no COCO object.
    """
    return {entry["id"]: entry.get("segmentation") for entry in parse_coco(path)["annotations"]}
