"""Masks of another file for the boxes of this one, matched by annotation id."""

import logging
import reprlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.coco import by_id, parse_coco
from mal_core.data.mask_census import LEAST_BOX_IOU
from mal_core.data.validation import crowd_problem
from mal_core.errors import MaskError
from mal_core.geometry.mask_forms import read_mask
from mal_core.geometry.masks import segmentation_to_rle
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord, Rle

logger = logging.getLogger(__name__)

ALL_CROWDS = "Give iscrowd=0 to masks of one object; RLE may have it, too."
"""What to do with a file of crowds only: some converters say iscrowd=1 of every RLE."""


@dataclass(kw_only=True)
class MatchedMasks:
    """What a file has for the boxes of a dataset.

    Attributes:
        entries: All its annotations by id.
        masks: Of boxes for which it has a mask with a pixel, by annotation id.
        empty: Annotation ids for which it has a mask without one.
        crowds: Annotation ids for which it has a crowd, whose mask is of no single object.
        apart: Annotation ids whose masks are not where their boxes are; they are in `masks`, too.
        problems: What is wrong with it, a sentence each.
    """

    entries: Mapping[int, dict[str, Any]]
    masks: dict[int, Rle] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)
    crowds: set[int] = field(default_factory=set)
    apart: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def tell(self, labels: Path) -> None:
        """Log what is odd about the file and does not keep it from being used."""
        if self.crowds:
            logger.info(
                "note: %d annotations of %s are crowds, but objects in the file of the boxes, the "
                "first is annotation %d: their masks are left out",
                len(self.crowds), labels, min(self.crowds),
            )  # fmt: skip
        if self.apart:
            logger.info(
                "note: %d of %d masks of %s are not where the boxes of their ids are, the first is "
                "annotation %d: they are taken as they are",
                len(self.apart), len(self.masks), labels, min(self.apart),
            )  # fmt: skip


def match_masks(labels: Path, dataset: BoxDataset, *, boxes_of: Path | str) -> MatchedMasks:
    """Read the masks of a COCO file that belong to boxes.

    Args:
        labels: COCO file with masks in any of their forms.
        dataset: The boxes.
        boxes_of: How messages call their file.

    Raises:
        DatasetError: It is no COCO file, or has an id twice.
    """
    image_of = {image.image_id: image for image in dataset.images}
    content = parse_coco(labels)
    found = MatchedMasks(entries=by_id(content["annotations"], labels))
    used = {box.image_id for box in dataset.boxes if box.annotation_id in found.entries}
    found.problems += _size_problems(content["images"], image_of, used, boxes_of)
    fits = [_take(found, box, image_of[box.image_id], boxes_of) for box in dataset.boxes]
    known = [fit for fit in fits if fit is not None]
    found.problems += _place_problems(found, known, boxes_of)
    return found


def _take(
    found: MatchedMasks, box: BoxAnnotation, image: ImageRecord, boxes_of: Path | str
) -> float | None:
    """Put what the file has for a box where it belongs; how a mask with a pixel fits the box."""
    key = box.annotation_id
    entry = found.entries.get(key, {})
    other, crowd = entry.get("image_id", box.image_id), entry.get("iscrowd", 0)
    if other != box.image_id:
        found.problems.append(
            f"annotation {key} is on image {reprlib.repr(other)}, but on image "
            f"{box.image_id} of {boxes_of}. Is it the right file?"
        )
        return None
    if crowd not in (0, 1):
        found.problems.append(f"annotation {key} {crowd_problem(crowd)}")
        return None
    rle = _mask(found, key, image)
    if rle is None:
        return None
    if crowd:
        found.crowds.add(key)
        return None
    if not coco_mask.area(rle):
        found.empty.add(key)
        return None
    found.masks[key] = rle
    fit = _fit(rle, box)
    if fit < LEAST_BOX_IOU:
        found.apart.add(key)
    return fit


def _place_problems(
    found: MatchedMasks, fits: Sequence[float], boxes_of: Path | str
) -> Iterator[str]:
    """Whether there are masks, and where the boxes are."""
    if found.crowds and not found.masks and not found.problems:
        yield (
            f"its {len(found.crowds)} masks of boxes of {boxes_of} are crowds (iscrowd=1), which "
            f"are masks of no single object. {ALL_CROWDS}"
        )
    elif not found.masks and not found.problems:
        yield f"no annotation has the id of a box in {boxes_of} and a mask. Is it the right file?"
    if fits and np.mean(fits) < LEAST_BOX_IOU:
        yield (
            f"its masks are not those of the boxes of {boxes_of}: the boxes around them have a "
            f"mean IoU of {np.mean(fits):.2f} with the boxes of the same ids. Is it the right file?"
        )


def _size_problems(
    entries: Sequence[Any],
    image_of: Mapping[int, ImageRecord],
    used: Set[int],
    boxes_of: Path | str,
) -> Iterator[str]:
    """Images with masks of boxes whose size is another one than there."""
    for entry in entries:
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if type(image_id) is not int or image_id not in used:
            continue
        size = entry.get("width"), entry.get("height")
        if size != image_of[image_id].size and {*map(type, size)} == {int}:
            width, height = image_of[image_id].size
            yield (
                f"image {image_id} is {size[0]} x {size[1]} px, but {width} x {height} px in "
                f"{boxes_of} (width x height). Is it the right file?"
            )


def _mask(found: MatchedMasks, key: int, image: ImageRecord) -> Rle | None:
    size = image.height, image.width
    try:
        mask = read_mask(found.entries.get(key, {}).get("segmentation"), *size)
    except MaskError as error:
        found.problems.append(f"annotation {key} {error}")
        return None
    return None if mask is None else segmentation_to_rle(mask, *size)


def _fit(rle: Rle, box: BoxAnnotation) -> float:
    """IoU of the box around a mask with its annotation's box."""
    x0, y0, x1, y1 = box.box_xyxy
    around_xywh, given_xywh = coco_mask.toBbox(rle), np.array([x0, y0, x1 - x0, y1 - y0])
    return float(coco_mask.iou(around_xywh[None], given_xywh[None], [0])[0, 0])
