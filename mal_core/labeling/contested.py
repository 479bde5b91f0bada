"""Pixels that two masks of a photo claim go to the one whose colors they have.

Another object in front fills a part of the box, and the network, which sees one box at a time,
takes it in. The other box has a mask of its own: what both claim is compared with what each has
for itself. A part is left with both where neither's colors tell, where one lies wholly in the
other (then its colors are in both, or it is a part of it), or where the loser would no longer
reach as far as its box does.

Shape letters: H W pixels of the photo, h w those of a box.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labeling.refinement import (
    MAX_COLOR_LOG_ODDS,
    RARE,
    color_bins,
    color_shares,
    filled_share,
)
from mal_core.labeling.views import DrawnMask
from mal_core.types import ImageRecord, Outcome, PseudoLabel

LEAST_PX = 4
"""Fewer contested pixels are an outline that two neighbors share."""
LEAST_OWN = 0.15
"""Share of each mask that the other does not claim, without which its colors are not known."""
TELLING = 1.0
"""Mean log ratio of the colors' densities from which they tell whose a part is."""
MAX_GIVEN_UP = 0.05
"""Share of its box's rows and columns that a mask may no longer fill when it loses a part."""
MOST_TOGETHER = 1000
"""Boxes of a photo, in their order, that are compared with each other: nobody waits for more."""

PixelBox = tuple[int, int, int, int]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What the mask of one box holds.

    Attributes:
        box: Pixels of the box, half-open x0, y0, x1, y1.
        mask: At these pixels, shape (h, w).
    """

    box: PixelBox
    mask: Mask

    def part(self, window: PixelBox) -> tuple[slice, slice]:
        """Where a part of the photo, which lies in the box, is in the mask."""
        x0, y0 = self.box[:2]
        return slice(window[1] - y0, window[3] - y0), slice(window[0] - x0, window[2] - x0)


def settled(found: Iterable[tuple[DrawnMask, Outcome]]) -> Iterator[Outcome]:
    """Outcomes in order, photo by photo, their masks without what belongs to others.

    Args:
        found: Masks as they were drawn, boxes of a photo together, and what became of them.
            Scores stay: they are of the masks as the network drew them.
    """
    waiting: list[tuple[Claim, Outcome]] = []
    last: DrawnMask | None = None
    for drawn, outcome in found:
        if last is not None and (
            drawn.item.image is not last.item.image or len(waiting) >= MOST_TOGETHER
        ):
            yield from _relabeled(last, waiting)
            waiting = []
        last = drawn
        waiting.append((Claim(box=drawn.box, mask=drawn.mask), outcome))
    if last is not None:
        yield from _relabeled(last, waiting)


def _relabeled(last: DrawnMask, waiting: Sequence[tuple[Claim, Outcome]]) -> Iterator[Outcome]:
    record, claims = last.item.record, [claim for claim, _ in waiting]
    for mask, (claim, outcome) in zip(settle(last.item.image, claims), waiting, strict=True):
        if mask is not claim.mask and isinstance(outcome, PseudoLabel):
            yield _smaller(outcome, mask, claim.box, record)
        else:
            yield outcome


def _smaller(label: PseudoLabel, mask: Mask, box: PixelBox, record: ImageRecord) -> PseudoLabel:
    area = int(np.count_nonzero(mask))
    rle = crop_mask_to_rle(mask, box[:2], record.height, record.width)
    return replace(label, rle=rle, mask_area=area, ceded=label.mask_area - area)


def settle(image: NDArray[np.uint8], claims: Sequence[Claim]) -> list[Mask]:
    """The masks of a photo without what belongs to the others.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        claims: All masks that were drawn in it.

    Returns:
        One mask per claim, shape (h, w); the claim's own array where nothing was given up.
    """
    kept = [claim.mask for claim in claims]
    bins: dict[int, NDArray[np.int64]] = {}
    for first, second, window in _overlaps([claim.box for claim in claims]):
        pair = claims[first], claims[second]
        both = pair[0].mask[pair[0].part(window)] & pair[1].mask[pair[1].part(window)]
        if np.count_nonzero(both) < LEAST_PX:
            continue
        for index in (first, second):
            if index not in bins:
                bins[index] = _bins(image, claims[index].box)
        colors = bins[first], bins[second]
        for part, loser in _owned(pair, colors, both, window):
            index = second if loser else first
            kept[index] = _without(kept[index], part, claims[index].part(window))
    return [mask if mask.any() else claim.mask for mask, claim in zip(kept, claims, strict=True)]


def _overlaps(boxes: Sequence[PixelBox]) -> Iterator[tuple[int, int, PixelBox]]:
    """Pairs of boxes that share pixels, in order, with the window that they share."""
    corners = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    for first, own in enumerate(corners):
        later = corners[first + 1 :]
        start, end = np.maximum(later[:, :2], own[:2]), np.minimum(later[:, 2:], own[2:])
        for place in np.flatnonzero((end > start).all(1)).tolist():
            x0, y0 = start[place].tolist()
            x1, y1 = end[place].tolist()
            yield first, first + 1 + place, (x0, y0, x1, y1)


def _bins(image: NDArray[np.uint8], box: PixelBox) -> NDArray[np.int64]:
    return color_bins(np.ascontiguousarray(image[box[1] : box[3], box[0] : box[2]]))


def _owned(
    pair: tuple[Claim, Claim],
    bins: tuple[NDArray[np.int64], NDArray[np.int64]],
    both: Mask,
    window: PixelBox,
) -> Iterator[tuple[Mask, int]]:
    """Connected contested parts, of the window's shape, each with who has to give it up (0, 1)."""
    shares = []
    for claim, colors in zip(pair, bins, strict=True):
        own = _without(claim.mask, both, claim.part(window))
        if np.count_nonzero(own) < LEAST_OWN * np.count_nonzero(claim.mask):
            return
        shares.append(color_shares(colors, own))
    ratio = np.log((shares[0] + RARE) / (shares[1] + RARE))
    ratio = np.clip(ratio, -MAX_COLOR_LOG_ODDS, MAX_COLOR_LOG_ODDS)
    says = ratio[bins[0][pair[0].part(window)]]
    count, parts = cv2.connectedComponents(both.astype(np.uint8))
    for number in range(1, count):
        part = parts == number
        mean = float(says[part].mean())
        if abs(mean) >= TELLING:
            loser = int(mean > 0)
            if _reaches(pair[loser], part, window):
                yield part, loser


def _reaches(claim: Claim, part: Mask, window: PixelBox) -> bool:
    """Whether a mask without a part still fills the box about as well."""
    outside = np.zeros(claim.mask.shape, dtype=np.bool_)
    left = _without(claim.mask, part, claim.part(window))
    return filled_share(left, outside) >= filled_share(claim.mask, outside) - MAX_GIVEN_UP


def _without(mask: Mask, part: Mask, place: tuple[slice, slice]) -> Mask:
    rest = mask.copy()
    rest[place] &= ~part
    return rest
