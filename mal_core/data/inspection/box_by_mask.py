"""Boxes that their own sound masks contradict: a file may hold entries of several tools.

A mask says where its object is in one way only, four numbers in six. So the box gives way.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.box_forms import (
    CENTERS,
    CLEAR_IOU,
    CORNERS,
    SURE_IOU,
    XYWH,
    are_shares,
    pair_iou,
    to_xyxy,
)

SLACK = 1.0
"""Px that a mask may lie beside its box by rounding."""


def other_form(
    given: Sequence[float], read: Sequence[float], extent: Sequence[float], size: tuple[int, int]
) -> str | None:
    """How a box has to be read to lie around its mask; None where it does, or no form explains it.

    Args:
        given: Its four numbers, as they stand in the file.
        read: The box that they are read as, [x, y, width, height], px.
        extent: The box around its mask, likewise.
        size: Width and height of the image, px.
    """
    if min(read[2:]) <= 0:
        return None
    around = to_xyxy(np.array([extent], np.float64), XYWH)
    own = to_xyxy(np.array([read], np.float64), XYWH)
    least = max(SURE_IOU, float(pair_iou(around, own)[0]) + CLEAR_IOU)
    for told, box in _readings(given, size):
        if pair_iou(around, box)[0] > least:
            return f"has bbox={list(given)}, which its mask fits as {told}"
    return None


def is_beside(box: Sequence[float], extent: Sequence[float]) -> bool:
    """Whether a box and that around its mask have no pixel in common; [x, y, width, height], px."""
    if min(box[2:]) <= 0:
        return False
    own, around = to_xyxy(np.array([box, extent], np.float64), XYWH)
    return bool((around[:2] > own[2:] + SLACK).any() or (around[2:] < own[:2] - SLACK).any())


def _readings(
    given: Sequence[float], size: tuple[int, int]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The corners that the numbers mean in each known form, (1, 4) px, and the form's name."""
    numbers, sizes = np.array([given], np.float64), np.array([size], np.float64)
    for form in (XYWH, CORNERS, CENTERS):
        yield form, to_xyxy(numbers, form)
    if are_shares(numbers, sizes)[0]:
        for form in (XYWH, CORNERS, CENTERS):
            yield (
                f"{form} in shares of the image's size",
                to_xyxy(numbers * np.tile(sizes, 2), form),
            )
