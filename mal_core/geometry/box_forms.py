"""Which way of writing boxes the numbers of a file fit: tools differ, and few say which is theirs.

Shape letters: N boxes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE = 2.0
"""Px by which a box may reach over the border of its image."""
SHARE_SIDE = 4
"""Px: boxes inside the first pixel of a larger image mean shares of its size."""
MOST_SHARES = 0.9
"""Of the boxes of a file that may lie there."""
CORNER, LEAST_IN_CORNER = 0.5, 20
"""Share of the sides of its image that no box reaches beyond, and of how many boxes that is odd."""
XYWH, CORNERS, CENTERS = (
    "[x, y, width, height]",
    "[x1, y1, x2, y2]",
    "[x_center, y_center, width, height]",
)
SURE_IOU, CLEAR_IOU = 0.8, 0.2
"""With its masks that boxes must have in another form, and how much more than in the right one."""
AREA_ROUNDING, LARGEST_AREA = 0.01, 1e18
"""Share of an area by which that of its box may differ; px^2."""
TO_XYWH = {
    CORNERS: "Subtract x1 from x2 and y1 from y2.",
    CENTERS: "Subtract half of the width from x and half of the height from y.",
}


def to_xyxy(boxes: Floats, form: str) -> Floats:
    """Corners of boxes that are written in a form, px: (N, 4) -> (N, 4)."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if form == CENTERS:
        return np.concatenate([first - second / 2, first + second / 2], axis=1)
    return boxes if form == CORNERS else np.concatenate([first, first + second], axis=1)


class BoxForms:
    """Counts over the boxes of a file, four numbers each, as they stand in it.

    Attributes:
        num_boxes: All of them.
        num_shares: Those inside the first pixel of a larger image.
        fitting: How many fit their images as XYWH, CORNERS and CENTERS.
        reach: The largest right and lower end, as shares of the sides of the image, read as XYWH.
    """

    def __init__(self) -> None:
        self.num_boxes = self.num_shares = 0
        self.fitting = dict.fromkeys((XYWH, CORNERS, CENTERS), 0)
        self.reach = np.zeros(2)

    def add(self, boxes: Floats, sizes_wh: Floats) -> None:
        """Count boxes, (N, 4), of images of sizes (N, 2), px."""
        if not len(boxes):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            self.num_boxes += len(boxes)
            self.num_shares += int(are_shares(boxes, sizes_wh).sum())
            for form in self.fitting:
                low, high = np.hsplit(to_xyxy(boxes, form), 2)
                fits = (low >= -TOLERANCE) & (high <= sizes_wh + TOLERANCE) & (high > low)
                self.fitting[form] += int(fits.all(1).sum())
            ends = (boxes[:, :2] + boxes[:, 2:]) / sizes_wh
            self.reach = np.maximum(self.reach, ends.max(0))

    def other_than(self, form: str) -> str | None:
        """The form that all boxes fit, where some do not fit the one they should have."""
        if self.fitting[form] == self.num_boxes:
            return None
        whole = [one for one, count in self.fitting.items() if count == self.num_boxes]
        return whole[0] if whole else None

    def are_normalised(self) -> bool:
        """Whether the boxes are shares of the sizes of their images."""
        return bool(self.num_boxes) and self.num_shares >= MOST_SHARES * self.num_boxes

    def share_misfit(self, form: str) -> float:
        """Share of the boxes that do not fit their images in a form."""
        return 1 - self.fitting[form] / self.num_boxes if self.num_boxes else 0.0

    def in_a_corner(self) -> bool:
        """Whether many boxes all lie in the upper left quarter of their images."""
        return self.num_boxes >= LEAST_IN_CORNER and bool((self.reach <= CORNER).all())


def are_shares(boxes_xywh: Floats, sizes_wh: Floats) -> NDArray[np.bool_]:
    """Which boxes look like shares of the size of their image, (N,): (N, 4) and (N, 2) px."""
    inside = (boxes_xywh <= 1).all(1) & (boxes_xywh >= 0).all(1)
    return np.asarray(inside & (sizes_wh > SHARE_SIDE).all(1))


class FormEvidence:
    """What masks and areas say of how the boxes of a file are written.

    Attributes:
        num_areas: Areas that say something.
    """

    def __init__(self) -> None:
        self.num_areas = self._num_masks = 0
        self._ious = dict.fromkeys((XYWH, CORNERS, CENTERS), 0.0)
        self._areas = dict.fromkeys((XYWH, CORNERS), 0)

    @property
    def mean_ious(self) -> dict[str, float]:
        """Of the boxes, by how they are read, with those around their masks; 1 without any."""
        count = self._num_masks
        return {form: total / count if count else 1.0 for form, total in self._ious.items()}

    def add_masks(self, extents_xyxy: Floats, boxes: Floats) -> None:
        """Compare boxes, (N, 4), with what their masks extend over, (N, 4), px."""
        self._num_masks += len(boxes)
        for form in self._ious:
            self._ious[form] += float(pair_iou(extents_xyxy, to_xyxy(boxes, form)).sum())

    def add_areas(self, areas: Sequence[object], boxes: Floats) -> None:
        """Compare boxes, (N, 4) px, with the N areas that stand beside them, if those are any."""
        kept = [i for i, area in enumerate(areas) if _is_positive(area)]
        if not kept:
            return
        given, self.num_areas = np.array([areas[i] for i in kept]), self.num_areas + len(kept)
        for form in self._areas:
            low, high = np.hsplit(to_xyxy(boxes[kept], form), 2)
            near = abs((high - low).clip(0).prod(1) - given) <= AREA_ROUNDING * given + 1
            self._areas[form] += int(near.sum())

    def areas_say_sides(self) -> bool:
        """Whether all areas are those of boxes that end in width and height."""
        return self._areas[XYWH] == self.num_areas > 0

    def masks_say(self, form: str) -> bool:
        """Whether only boxes of this form lie around the masks."""
        means = self.mean_ious
        return means[form] > SURE_IOU and means[form] - means[XYWH] > CLEAR_IOU

    def areas_say_corners(self) -> bool:
        """Whether all areas are those of boxes that are written as corners, and of no others."""
        return self._areas[CORNERS] == self.num_areas > 0 == self._areas[XYWH]


def _is_positive(area: object) -> bool:
    return type(area) in (int, float) and 0 < area < LARGEST_AREA  # type: ignore[operator]


def pair_iou(found_xyxy: Floats, boxes_xyxy: Floats) -> Floats:
    """IoU of boxes, (N, 4) px, with as many others, (N, 4): (N,). Those of negative size: 0."""
    low, high = boxes_xyxy[:, :2], np.maximum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:])
    inner = np.minimum(found_xyxy[:, 2:], high) - np.maximum(found_xyxy[:, :2], low)
    shared = inner.clip(0).prod(1)
    own = (found_xyxy[:, 2:] - found_xyxy[:, :2]).prod(1)
    return np.asarray(shared / np.maximum(own + (high - low).prod(1) - shared, 1e-9))
