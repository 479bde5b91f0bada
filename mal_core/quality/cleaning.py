"""Masks without specks: stray fragments dropped, pinholes filled."""

from typing import NamedTuple

import cv2
import numpy as np

from mal_core.quality.patch import Mask


class Cleaned(NamedTuple):
    """A mask and what was done to it.

    Attributes:
        mask: bool, shape (h, w).
        dropped: Pixels of fragments that are gone.
        filled: Pixels of holes that are mask now.
    """

    mask: Mask
    dropped: int
    filled: int


def clean_mask(mask: Mask, *, fragments: float, holes: float) -> Cleaned:
    """Drop small fragments and fill small holes.

    Args:
        mask: Shape (h, w).
        fragments: Parts below this share of the largest part go; the largest one always stays.
        holes: Holes below this share of the mask are filled.
    """
    if not mask.any():
        return Cleaned(mask, 0, 0)
    kept = _without_fragments(mask, fragments) if fragments > 0 else mask
    whole = _without_holes(kept, holes) if holes > 0 else kept
    dropped = int(np.count_nonzero(mask)) - int(np.count_nonzero(kept))
    filled = int(np.count_nonzero(whole)) - int(np.count_nonzero(kept))
    return Cleaned(whole, dropped, filled)


def _without_fragments(mask: Mask, share: float) -> Mask:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)
    sizes[0] = 0
    stays = sizes >= share * sizes.max()
    stays[0] = False
    return np.asarray(stays[labels])


def _without_holes(mask: Mask, share: float) -> Mask:
    ground = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, labels = cv2.connectedComponents(ground, connectivity=4)
    sizes = np.bincount(labels.ravel(), minlength=count)
    filled = sizes < share * np.count_nonzero(mask)
    filled[[0, labels[0, 0]]] = False
    return np.asarray(mask | filled[labels][1:-1, 1:-1])
