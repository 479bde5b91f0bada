"""Which masks are new, where several people, tasks and tools have sent one label's mask back."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.rotated_boxes import corners_of_entry
from mal_core.formats.exports.labeled import LabeledObject
from mal_core.geometry.masks import segmentation_to_rle
from mal_core.review.digests import mask_digest
from mal_core.review.matching import Drawn
from mal_core.types import REPLACED, Rle

Json = dict[str, Any]


@dataclass(slots=True)
class Merged:
    """The masks that differ from those of the labels.

    Attributes:
        new: Where each comes from, its label and the mask, by annotation id.
        unchanged: Ids whose mask came back as it was.
        settled: Ids that annotators of one task corrected differently; the last one is taken.
    """

    new: dict[int, Drawn] = field(default_factory=dict)
    unchanged: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)


def merge(drawn: Sequence[Drawn], problems: list[str]) -> Merged:
    """Put together label by label what came back.

    Shapes are parts of one mask only inside one submission. A submission that has not touched a
    mask says nothing of it; of several corrections in one task the last one counts, and those of
    two tasks must be equal, else they are a problem.
    """
    merged = Merged()
    for key, masks in _grouped(drawn, lambda mask: mask.label.id):
        submissions = _grouped(masks, lambda mask: mask.shape.sent)
        parts = [found for _, pieces in submissions if (found := _correction(pieces, problems))]
        last = {one.shape.sent.task: one for one in sorted(parts, key=lambda one: one.shape.sent)}
        if not parts:
            merged.unchanged.append(key)
        elif _differ(last.values()):
            places = "; ".join(one.shape.where for one in last.values())
            problems.append(
                f"annotation {key} was corrected in {len(last)} tasks, and the masks differ: "
                f"{places}. Undo all but one of them there, or leave the other tasks out."
            )
        else:
            merged.new[key] = next(iter(last.values()))
            if _differ(parts):
                merged.settled.append(key)
    return merged


def replaced_digests(entry: Json) -> list[str]:
    """Of the masks that an annotation had before earlier imports changed it."""
    given = entry.get(REPLACED)
    return [item for item in given if isinstance(item, str)] if isinstance(given, list) else []


def _grouped(
    masks: Iterable[Drawn], key_of: Callable[[Drawn], Hashable]
) -> list[tuple[Any, list[Drawn]]]:
    found: dict[Hashable, list[Drawn]] = {}
    for mask in masks:
        found.setdefault(key_of(mask), []).append(mask)
    return list(found.items())


def _correction(masks: Sequence[Drawn], problems: list[str]) -> Drawn | None:
    """The new mask that a submission has for a label; None: none, or none that can be taken."""
    label = masks[0].label
    wholes = [
        pieces[0]._replace(rle=_union([piece.rle for piece in pieces]))
        for _, pieces in _grouped(masks, lambda mask: mask.shape.group)
    ]
    changed = [whole for whole in wholes if not _is_known(whole.rle, label)]
    if not changed:
        return None
    first = changed[0]
    if _differ(changed):
        problems.append(
            f"{first.shape.of(label.id)} was corrected twice, as a brush mask and "
            "as a polygon, and the two differ. Remove one of them."
        )
        return None
    if not _touches(first.rle, label):
        problems.append(
            f"{first.shape.of(label.id)} has a mask that lies outside its box. Is it of another "
            "object?"
        )
        return None
    return first


def _differ(masks: Iterable[Drawn]) -> bool:
    return len({mask_digest(mask.rle) for mask in masks}) > 1


def _union(masks: Sequence[Rle]) -> Rle:
    if len(masks) == 1:
        return masks[0]
    merged = coco_mask.merge(list(masks))
    return {"size": masks[0]["size"], "counts": merged["counts"].decode("ascii")}


def _is_known(rle: Rle, label: LabeledObject) -> bool:
    """Whether a mask is what the labels have, or had before an earlier import changed it.

    A queue goes to several people or tools; each sends all of it back, and what one has not
    touched must not undo what another has corrected.
    """
    if rle["counts"] == label.rle["counts"]:
        return True
    return mask_digest(rle) in (mask_digest(label.rle), *replaced_digests(label.entry))


def _touches(rle: Rle, label: LabeledObject) -> bool:
    corners = corners_of_entry(label.entry)
    if corners is not None:
        rotated = segmentation_to_rle([list(corners)], *label.size)
        return bool(coco_mask.area(coco_mask.merge([rle, rotated], intersect=True)) > 0)
    box = np.array([label.entry["bbox"]], dtype=np.float64)
    return bool(coco_mask.iou(coco_mask.toBbox(rle)[None], box, [0])[0, 0] > 0)
