"""Scores for the masks of a labeled file, whoever drew them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco, read_boxes
from mal_core.data.pseudo_labels import put_score
from mal_core.errors import DatasetError, MaskError
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.labeling.upright import Part, upright_parts
from mal_core.labeling.views import DrawnMask, views_of
from mal_core.labeling.work import MaskWriter
from mal_core.models.checkpoints import load_labeler
from mal_core.processes.own_file import write_own_json
from mal_core.processes.progress import Progress
from mal_core.quality.evidence import DIGITS, components_of
from mal_core.quality.patch import mask_iou
from mal_core.quality.regression import Row
from mal_core.quality.score import (
    AGREEMENT,
    OPINION,
    Quality,
    default_model,
    quality_of,
    with_classmates,
)
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredFile:
    """What became of the annotations of a file.

    Attributes:
        scored: Masks with a score now.
        left: Annotations without a mask or of zero size, and crowds: they stay as they were.
        mean: Mean score.
    """

    scored: int
    left: int
    mean: float

    def summary(self) -> str:
        """In one line."""
        left = f"; {self.left} without a mask or crowds are as they were" if self.left else ""
        return f"{self.scored} masks scored, {self.mean:.3f} on average{left}"


def score_file(
    labels: Path, images: Path, output: Path, *, checkpoint: Path | None = None
) -> ScoredFile:
    """Write a COCO file again with score, interval and components of every mask.

    Args:
        labels: COCO file with masks in any of its forms.
        images: Folder of the photos.
        output: Receives the file; nothing else in it changes.
        checkpoint: A labeler to ask for a second opinion on each mask.

    Raises:
        DatasetError: The file or an image is wrong, or there is no mask.
        CheckpointError: The checkpoint is none.
    """
    dataset = read_boxes(images, labels)
    content = parse_coco(labels)
    entry_of = {
        entry["id"]: entry
        for entry in content["annotations"]
        if is_mask(entry.get("segmentation")) and not entry.get("iscrowd")
    }
    opinion = _Opinion(checkpoint)
    alone: list[tuple[BoxAnnotation, Quality]] = []
    boxes = [box for box in dataset.boxes if box.annotation_id in entry_of]
    if not boxes:
        raise DatasetError(labels, ["no annotation has a mask. Give a file of labels."])
    with Progress("score masks", len(boxes), 0) as progress:
        for record, of_image in _by_image(dataset, boxes):
            photo = Photo(record=record, boxes=tuple(of_image), source=images)
            alone.extend(_scored(photo, entry_of, opinion, labels))
            progress.update(len(alone))
    found = with_classmates([own for _, own in alone], [box.category_id for box, _ in alone])
    for (box, _), quality in zip(alone, found, strict=True):
        entry = entry_of[box.annotation_id]
        put_score(entry, quality.score, quality.interval, quality.components)
    write_own_json(output, content)
    left = len(content["annotations"]) - len(found)
    mean = float(np.mean([quality.score for quality in found]))
    return ScoredFile(scored=len(found), left=left, mean=mean)


class _Opinion:
    """What a labeler draws for the same boxes, if there is one."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.model = default_model("masks" if checkpoint is None else "labels")
        self._writer = None if checkpoint is None else MaskWriter(*load_labeler(checkpoint))

    def of(self, own: DrawnMask, mask: NDArray[np.bool_]) -> Row:
        """How a mask of a box, (h, w), agrees with the labeler's own, and what that is worth."""
        score = quality_of(own.components(), self.model).score if own.mask.any() else 0.0
        return {AGREEMENT: round(mask_iou(mask, own.mask), DIGITS), OPINION: score}

    def drawn(self, photo: Photo) -> Iterator[DrawnMask | None]:
        """One per box, all upright; None without a labeler."""
        if self._writer is None:
            yield from (None for _ in photo.boxes)
            return
        yield from self._writer.draw(views_of(photo, self._writer.config))


def _by_image(
    dataset: BoxDataset, boxes: Sequence[BoxAnnotation]
) -> Iterator[tuple[ImageRecord, list[BoxAnnotation]]]:
    found: dict[int, list[BoxAnnotation]] = defaultdict(list)
    for box in boxes:
        found[box.image_id].append(box)
    for record in dataset.images:
        if record.image_id in found:
            yield record, found[record.image_id]


def _scored(
    whole: Photo, entry_of: Mapping[int, Json], opinion: _Opinion, labels: Path
) -> Iterator[tuple[BoxAnnotation, Quality]]:
    """The masks of a photo, those of rotated boxes in the small photos that labeling sees."""
    for part in upright_parts(whole):
        photo = part.photo.decoded()
        image, corners = photo.pixels(), corners_of(photo.boxes)
        drawn = opinion.drawn(photo)
        for index, (box, own) in enumerate(zip(photo.boxes, drawn, strict=True)):
            box_mask = _mask(entry_of[box.annotation_id], part, corners[index], labels)
            found: Row
            if own is None:
                near = [np.delete(corners, index, axis=0), photo.company_xyxy]
                found = components_of(image, corners[index], box_mask, np.concatenate(near))
            else:
                found = {**own.components(box_mask), **opinion.of(own, box_mask)}
            yield box, quality_of(found, opinion.model)


def _mask(
    entry: Json, part: Part, box_xyxy: NDArray[np.float64], labels: Path
) -> NDArray[np.bool_]:
    """The mask of a box, shape (4,), at the pixels that it touches, shape (h, w)."""
    here, home = part.photo.record, part.home
    record = here if home is None else home.record
    try:
        whole = segmentation_to_mask(entry["segmentation"], record.height, record.width)
    except MaskError as error:
        raise DatasetError(labels, [f"annotation {entry['id']} {error}"]) from error
    if home is not None:
        whole = home.mask_from_home(whole)
    x0, y0, x1, y1 = pixel_box(box_xyxy, here.height, here.width)
    return np.asarray(whole[y0:y1, x0:x1] > 0)
