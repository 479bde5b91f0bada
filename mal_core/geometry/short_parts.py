"""Parts of polygons that are too short to cover anything, taken out of many masks at once."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.mask_forms import MIN_POLYGON_NUMBERS
from mal_core.geometry.runs import numbers_of

Floats = NDArray[np.float64]


def without_short_parts(
    masks: Sequence[Any], sizes_wh: Floats, only_numbers: bool
) -> tuple[Sequence[Any], NDArray[np.bool_]]:
    """Masks without their parts of fewer than three points, and which of them had such.

    Only where those parts are points of the image and others are left: all else is for the
    exact reader.

    Args:
        masks: Lists of any values.
        sizes_wh: Width and height of their images, px, shape (N, 2).
        only_numbers: Their text has no texts, no `true`, no `false` and no `null`.

    Returns:
        The masks, and which of them lost parts, bool, shape (N,).
    """
    cut = np.zeros(len(masks), bool)
    parts = list(chain.from_iterable(masks))
    if {*map(type, parts)} != {list}:
        parts = [part for part in parts if type(part) is list]
    if min(map(len, parts), default=MIN_POLYGON_NUMBERS) >= MIN_POLYGON_NUMBERS:
        return masks, cut
    whole = list(masks)
    short: list[list[Any]] = []
    owner: list[int] = []
    for index, mask in enumerate(masks):
        if not all(type(part) is list for part in mask):
            continue
        long = [part for part in mask if len(part) >= MIN_POLYGON_NUMBERS]
        rest = [part for part in mask if 0 < len(part) < MIN_POLYGON_NUMBERS]
        if len(long) == len(mask) or not long or any(len(part) % 2 for part in rest):
            continue
        whole[index], cut[index] = long, True
        short += rest
        owner += [index] * len(rest)
    for index in _not_points_of(short, owner, sizes_wh, only_numbers):
        whole[index], cut[index] = masks[index], False
    return whole, cut


def _not_points_of(
    parts: list[list[Any]], owner: list[int], sizes_wh: Floats, only_numbers: bool
) -> set[int]:
    """Owners of parts that hold something else than points near their image."""
    if not parts:
        return set()
    values = numbers_of(parts, only_numbers)
    if values is None:
        return set(owner)
    of = np.repeat(np.array(owner), [len(part) // 2 for part in parts])
    points, sides = values.reshape(-1, 2), sizes_wh[of]
    reach = sides.max(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        near = ((points >= -reach) & (points <= sides + reach)).all(1)
    return set(of[~near].tolist())
