"""Which detection takes which object: COCO's rule, for all area ranges and thresholds at once.

Detections choose by falling score. Each takes the free object that it overlaps most, at least as
far as the threshold says; an object that does not count is taken only where none that counts is
left, and a crowd is never used up. Among equal overlaps the later object wins.

Shape letters: D detections, G objects, A area ranges, T IoU thresholds.
"""

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Least IoU of a match, shape (T,)."""
AREAS = np.array([[0, 1e5], [0, 32], [32, 96], [96, 1e5]]) ** 2
"""Area ranges, px, ends included, shape (A, 2): all, small, medium, large."""
_LEAST = np.minimum(THRESHOLDS, 1 - 1e-10)


def outside(areas: FloatArray) -> Bools:
    """Which areas (N,), px, lie outside each range, (A, N)."""
    return np.asarray((areas < AREAS[:, :1]) | (areas > AREAS[:, 1:]))


def match(iou: FloatArray, uncounted: Bools, crowds: Bools) -> tuple[Bools, Bools]:
    """Let the detections of one class on one image take its objects.

    Args:
        iou: Detections by falling score, with each object, shape (D, G).
        uncounted: Objects that count neither as found nor as missed, shape (A, G).
        crowds: Objects that any number of detections may take, shape (G,).

    Returns:
        Whether each detection took an object, and whether that one was uncounted, both
        bool, shape (A, T, D).
    """
    found, objects = iou.shape
    ranges, steps = len(AREAS), len(THRESHOLDS)
    hit = np.zeros((ranges, steps, found), bool)
    ignored = np.zeros_like(hit)
    if not objects:
        return hit, ignored
    if objects == 1:
        return _match_one(iou[:, 0], uncounted, alone=not crowds[0])
    wish = _wishes(iou, uncounted)
    enough = iou[:, None, :] >= _LEAST[:, None]
    free = np.ones((ranges, steps, objects), bool)
    for d in np.flatnonzero(enough[:, 0].any(axis=1)):
        wanted = np.where(free & enough[d], wish[d][:, None], -1)
        chosen = wanted.argmax(axis=2)
        got = wanted.max(axis=2) >= 0
        hit[:, :, d] = got
        area, step = np.nonzero(got)
        taken = chosen[area, step]
        ignored[area, step, d] = uncounted[area, taken]
        free[area, step, taken] = crowds[taken]
    return hit, ignored


def _match_one(iou: FloatArray, uncounted: Bools, *, alone: bool) -> tuple[Bools, Bools]:
    """`match` of most images: one object, which takes no turns; IoU (D,), uncounted (A, 1)."""
    takes = iou >= _LEAST[:, None]
    if alone:
        takes &= np.cumsum(takes, axis=1) == 1
    hit = np.repeat(takes[None], len(uncounted), axis=0)
    return hit, hit & uncounted[:, None]


def _wishes(iou: FloatArray, uncounted: Bools) -> NDArray[np.int64]:
    """How much each detection wants each object, as distinct whole numbers: (D, A, G)."""
    found, objects = iou.shape
    order = np.argsort(iou, axis=1, kind="stable")
    rank = np.empty((found, objects), np.int64)
    np.put_along_axis(rank, order, np.arange(objects)[None], axis=1)
    return np.asarray(rank[:, None] + objects * ~uncounted)
