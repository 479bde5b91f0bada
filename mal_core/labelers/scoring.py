"""Scores for the masks of a labeled file, whoever drew them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco, read_boxes
from mal_core.data.pseudo_labels import (
    COMPONENTS,
    drop_score,
    is_of_human,
    listed,
    machine_masks,
    put_score,
)
from mal_core.errors import DatasetError, MaskError
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.labeling.trial import fit_quality
from mal_core.labeling.upright import Part, upright_parts
from mal_core.labeling.views import DrawnMask, to_label, views_of
from mal_core.models.checkpoints import load_labeler
from mal_core.processes.own_file import write_own_json
from mal_core.processes.progress import Progress
from mal_core.quality.evidence import DIGITS, components_of
from mal_core.quality.patch import Mask, mask_iou
from mal_core.quality.regression import QualityModel, Row
from mal_core.quality.score import (
    AGREEMENT,
    OPINION,
    Quality,
    default_model,
    quality_of,
    with_classmates,
)
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    ImageRecord,
    Outcome,
    PseudoLabel,
)

Json = dict[str, Any]
NOTHING = (
    "no annotation has a mask that a machine drew (a human's keep their score). "
    "Give a file of labels."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredFile:
    """What became of the annotations of a file.

    Attributes:
        scored: Masks with a score now.
        human: Masks of humans, which keep the score they have.
        crowds: They stay as they were.
        bare: Ids of those without a mask or with a box of zero size; a score of ours is gone.
        mean: Mean score.
    """

    scored: int
    human: int
    crowds: int
    bare: tuple[int, ...]
    mean: float

    def summary(self) -> str:
        """In one line."""
        told = [f"{self.scored} masks scored, {self.mean:.3f} on average"]
        if self.human:
            told.append(f"{self.human} of humans (source: human) keep their score")
        if self.crowds:
            told.append(f"{self.crowds} crowds are as they were")
        if self.bare:
            told.append(
                f"{len(self.bare)} without a mask or a box have no score: {listed(self.bare)}"
            )
        return "; ".join(told)


def score_file(
    labels: Path, images: Path, output: Path, *, checkpoint: Path | None = None
) -> ScoredFile:
    """Write a COCO file again with score, interval and components of every mask.

    Args:
        labels: COCO file with masks in any of its forms.
        images: Folder of the photos.
        output: Receives the file; nothing else in it changes. Masks of humans (`source: human`)
            keep the score they have.
        checkpoint: A labeler to ask for a second opinion on each mask. Where there are masks
            enough, what is to be expected is fitted to composites of these photos, as `mal label`
            does it.

    Raises:
        DatasetError: The file or an image is wrong, or there is no mask.
        CheckpointError: The checkpoint is none.
    """
    dataset = read_boxes(images, labels)
    content = parse_coco(labels)
    entry_of = machine_masks(content["annotations"])
    asked = _Asked(images, labels, entry_of, checkpoint)
    boxes = [box for box in dataset.boxes if box.annotation_id in entry_of]
    if not boxes:
        raise DatasetError(labels, [NOTHING])
    seen: list[_Seen] = []
    with Progress("score masks", len(boxes), 0) as progress:
        for record, of_image in _by_image(dataset, entry_of):
            seen.extend(asked.about(_photo(record, of_image, entry_of, images)))
            progress.update(len(seen))
    model = asked.model_for(dataset, seen)
    alone = [(one.box, quality_of(one.row(model), model)) for one in seen]
    found = with_classmates([own for _, own in alone], [box.category_id for box, _ in alone])
    for (box, _), quality in zip(alone, found, strict=True):
        entry = entry_of[box.annotation_id]
        put_score(entry, quality.score, quality.interval, quality.components)
    result = _rest(content["annotations"], {box.annotation_id for box, _ in alone}, found)
    write_own_json(output, content)
    return result


def _rest(entries: Sequence[Json], scored: Set[int], found: Sequence[Quality]) -> ScoredFile:
    """What became of all annotations; those that lost their mask lose our score of it."""
    rest = [entry for entry in entries if entry["id"] not in scored]
    crowds = [entry for entry in rest if entry.get("iscrowd")]
    others = [entry for entry in rest if not entry.get("iscrowd")]
    bare = [entry for entry in others if not is_of_human(entry)]
    for entry in bare:
        if COMPONENTS in entry:  # another tool's `score` may be of the box
            drop_score(entry)
    return ScoredFile(
        scored=len(found),
        human=len(others) - len(bare),
        crowds=len(crowds),
        bare=tuple(entry["id"] for entry in bare),
        mean=float(np.mean([quality.score for quality in found])),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What is known of a mask before all are.

    Attributes:
        components: What speaks for and against it.
        own: What a labeler made of the box, where one was asked.
        agreement: IoU of the mask with the labeler's own.
    """

    box: BoxAnnotation
    components: Row
    own: Outcome | None = None
    agreement: float = 0.0

    def row(self, model: QualityModel) -> Row:
        """The components, and what the labeler's mask and its score say."""
        if self.own is None:
            return self.components
        opinion = 0.0
        if isinstance(self.own, PseudoLabel):
            opinion = quality_of(self.own.components, model).score
        return {**self.components, AGREEMENT: self.agreement, OPINION: opinion}


class _Asked:
    """What the photo says of the masks of a file, and a labeler, if there is one."""

    def __init__(
        self, images: Path, labels: Path, entry_of: Mapping[int, Json], checkpoint: Path | None
    ) -> None:
        self._images, self._labels, self._entry_of = images, labels, entry_of
        self._writer = None if checkpoint is None else MaskWriter(*load_labeler(checkpoint))

    def about(self, whole: Photo) -> Iterator[_Seen]:
        """The masks of a photo, those of rotated boxes in the small photos that labeling sees."""
        for part in upright_parts(whole):
            photo = part.photo.decoded()
            masks = [
                _mask(self._entry_of[box.annotation_id], part, corners, self._labels)
                for box, corners in zip(photo.boxes, corners_of(photo.boxes), strict=True)
            ]
            if self._writer is None:
                yield from _by_itself(photo, masks)
            else:
                yield from _beside_its_own(self._writer, replace(part, photo=photo), masks)

    def model_for(self, dataset: BoxDataset, seen: Sequence[_Seen]) -> QualityModel:
        """The curve of the labeler on these photos, or the library's."""
        if self._writer is None:
            return default_model("masks")
        own = [one.own for one in seen if isinstance(one.own, PseudoLabel)]
        return fit_quality(dataset, self._writer, own) or self._writer.quality


def _by_itself(photo: Photo, masks: Sequence[Mask]) -> Iterator[_Seen]:
    image, corners = photo.pixels(), corners_of(photo.boxes)
    for index, (box, mask) in enumerate(zip(photo.boxes, masks, strict=True)):
        near = np.concatenate([np.delete(corners, index, axis=0), photo.company_xyxy])
        yield _Seen(box=box, components=components_of(image, corners[index], mask, near))


def _beside_its_own(writer: MaskWriter, part: Part, masks: Sequence[Mask]) -> Iterator[_Seen]:
    """The masks of a part of a photo beside those that `mal label` would write there."""
    rows: list[Row] = []

    def outcomes() -> Iterator[tuple[DrawnMask, Outcome]]:
        drawn_masks = writer.draw(views_of(part.photo, writer.config))
        for drawn, mask in zip(drawn_masks, masks, strict=True):
            rows.append(drawn.components(mask))
            yield drawn, to_label(drawn, writer.quality)

    found = writer.settled(outcomes())
    for index, (box, mask, outcome) in enumerate(zip(part.photo.boxes, masks, found, strict=True)):
        own = outcome if part.home is None else part.home.bring_back(outcome)
        agreement = round(mask_iou(mask, _drawn(outcome, box, part.photo.record)), DIGITS)
        yield _Seen(box=box, components=rows[index], own=own, agreement=agreement)


def _by_image(
    dataset: BoxDataset, entry_of: Mapping[int, Json]
) -> Iterator[tuple[ImageRecord, list[BoxAnnotation]]]:
    """The photos with a mask to be scored, and all boxes on each."""
    boxes_of: dict[int, list[BoxAnnotation]] = defaultdict(list)
    for box in dataset.boxes:
        boxes_of[box.image_id].append(box)
    for record in dataset.images:
        boxes = boxes_of[record.image_id]
        if any(box.annotation_id in entry_of for box in boxes):
            yield record, boxes


def _photo(
    record: ImageRecord,
    boxes: Sequence[BoxAnnotation],
    entry_of: Mapping[int, Json],
    images: Path,
) -> Photo:
    """A photo with the boxes to be scored, among all others that it has."""
    scored = tuple(box for box in boxes if box.annotation_id in entry_of)
    company = corners_of(box for box in boxes if box.annotation_id not in entry_of)
    return Photo(record=record, boxes=scored, source=images, company_xyxy=company)


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
    return _in_box(whole, box_xyxy, here)


def _drawn(outcome: Outcome, box: BoxAnnotation, record: ImageRecord) -> Mask:
    """What a labeler drew, at the pixels that the box touches, shape (h, w)."""
    if isinstance(outcome, PseudoLabel):
        whole = segmentation_to_mask(outcome.rle, record.height, record.width)
    else:
        whole = np.zeros((record.height, record.width), np.uint8)
    return _in_box(whole, np.array(box.box_xyxy), record)


def _in_box(whole: NDArray[np.uint8], box_xyxy: NDArray[np.float64], record: ImageRecord) -> Mask:
    x0, y0, x1, y1 = pixel_box(box_xyxy, record.height, record.width)
    return np.asarray(whole[y0:y1, x0:x1] > 0)
