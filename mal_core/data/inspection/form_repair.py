"""How the boxes of a file are written, for a repair: what nobody can be sure of stays as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.inspection.mask_repair import box_of_mask, repaired_mask
from mal_core.data.validation import box_problem
from mal_core.geometry.box_forms import CORNERS, XYWH, BoxForms, FormEvidence, to_xyxy

LEAST_OF_A_FORM = 5
"""Fewer boxes may fit their images in another form by chance."""
LEAST_MISFIT = 0.25
"""Share of the boxes that must leave their images as they are, where neither masks nor areas say
what they mean: one box over the border is an overhang, and no other form."""
MASKS_ASKED = 100

Json = dict[str, Any]
Sizes = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenForm:
    """What the numbers of the boxes mean.

    Attributes:
        in_shares: They are shares of the size of their image.
        form: How they are written.
        is_sure: Nothing speaks for another form; where something does, only the user knows.
    """

    in_shares: bool = False
    form: str = XYWH
    is_sure: bool = True


def find_form(entries: Sequence[Any], size_of: Sizes, *, origins: bool) -> WrittenForm:
    """Decide by masks, else by areas, else by how many boxes leave their images.

    Args:
        entries: Annotations as they stand in the file.
        size_of: Width and height of the usable images by id, px.
        origins: They come from another format, whose reader has read its own form.
    """
    found = [entry for entry in entries if _has_box(entry, size_of)]
    if not found:
        return WrittenForm()
    boxes = np.array([entry["bbox"] for entry in found], np.float64)
    sizes = np.array([size_of[entry["image_id"]] for entry in found], np.float64)
    forms = BoxForms()
    forms.add(boxes, sizes)
    in_shares = forms.are_normalised()
    if in_shares:
        boxes, forms = boxes * np.tile(sizes, 2), BoxForms()
        forms.add(boxes, sizes)
    other = forms.other_than(XYWH)
    if other is None or len(found) < LEAST_OF_A_FORM or origins:
        return WrittenForm(in_shares=in_shares)
    said = _said(found, boxes, size_of, other)
    if said is not None:
        return WrittenForm(in_shares=in_shares, form=said)
    is_sure = forms.share_misfit(XYWH) >= LEAST_MISFIT
    return WrittenForm(in_shares=in_shares, form=other if is_sure else XYWH, is_sure=is_sure)


def _has_box(entry: object, size_of: Sizes) -> bool:
    if not isinstance(entry, dict) or type(entry.get("image_id")) is not int:
        return False
    box = entry.get("bbox")
    return entry["image_id"] in size_of and isinstance(box, list) and box_problem(box) is None


def _said(
    found: Sequence[Json], boxes: NDArray[np.float64], size_of: Sizes, other: str
) -> str | None:
    """The form that masks or areas speak for; None where they say nothing."""
    evidence, extents, near = FormEvidence(), [], []
    for entry, box in zip(found[:MASKS_ASKED], boxes, strict=False):
        size = size_of[entry["image_id"]]
        mask = repaired_mask(entry.get("segmentation"), size)[0]
        told = None if mask is None else box_of_mask(mask, size)
        if told is not None:
            extents.append(told)
            near.append(box)
    if extents:
        evidence.add_masks(to_xyxy(np.array(extents, np.float64), XYWH), np.array(near))
        return other if evidence.masks_say(other) else XYWH
    evidence.add_areas([entry.get("area") for entry in found], boxes)
    if other == CORNERS and evidence.areas_say_corners():
        return other
    return XYWH if other == CORNERS and evidence.areas_say_sides() else None
