"""What masks look like that were meant otherwise: holes as further polygons, masks of several."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.runs import starts_of

Floats = NDArray[np.float64]
REACHING = "masks are more than twice as wide or high as their boxes: are they of one object each?"
ENCLOSED = (
    "masks have a polygon inside another one of theirs: COCO fills both; write what has a hole as "
    "RLE"
)
TIMES_AS_LONG, SLACK_PX = 2.0, 4.0
"""A mask this many times as wide or high as its box, and that much, is not of one object."""


def reach_far(extents_xyxy: Floats, boxes_xywh: Floats) -> NDArray[np.bool_]:
    """Which masks reach far beyond their boxes.

    Args:
        extents_xyxy: Of the masks, px, shape (N, 4).
        boxes_xywh: Their boxes, px, shape (N, 4).

    Returns:
        Shape (N,).
    """
    sides = extents_xyxy[:, 2:] - extents_xyxy[:, :2]
    return np.asarray((sides > TIMES_AS_LONG * boxes_xywh[:, 2:] + SLACK_PX).any(1))


def num_enclosing(masks: Sequence[Sequence[Sequence[float]]]) -> int:
    """How many masks have a polygon inside the largest of their polygons.

    Args:
        masks: Polygons [x, y, x, y, ...] of each, px, three points or more.
    """
    if not masks:
        return 0
    parts = list(chain.from_iterable(masks))
    lengths, counts = np.array([*map(len, parts)]), np.array([*map(len, masks)])
    numbers = np.fromiter(chain.from_iterable(parts), np.float64, int(lengths.sum()))
    points, first = numbers.reshape(-1, 2), starts_of(lengths) // 2
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    owner = np.repeat(np.arange(len(counts)), counts)
    largest = np.lexsort((-(high - low).prod(1), owner))[starts_of(counts)][owner]
    within = (low > low[largest]).all(1) & (high < high[largest]).all(1)
    spans = [
        slice(start, start + length // 2) for start, length in zip(first, lengths, strict=True)
    ]
    found = {
        int(owner[place])
        for place in np.flatnonzero(within)
        if _inside(points[spans[place]], points[spans[largest[place]]]).all()
    }
    return len(found)


def _inside(points: Floats, around: Floats) -> NDArray[np.bool_]:
    """Which points (N, 2) lie in a polygon (M, 2): a ray to the right crosses it oddly often."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = around.T
    x1, y1 = np.roll(around, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x < x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return np.asarray((spans & crossing).sum(1) % 2 == 1)
