"""Human masks made worse in the ways in which labelers err, to a known quality."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.quality.patch import mask_iou

Mask = NDArray[np.bool_]
Kind = Callable[[Mask, float, np.random.Generator], Mask]
HALVINGS = 12
"""Bisections of how strong an error is: to 1/4096 of the strongest."""

NEAR = 0.02
"""Difference of IoU at which a way of being wrong has come as far as was wanted."""


def degraded(mask: Mask, iou: float, seed: tuple[int, ...]) -> Mask:
    """A mask that is wrong in one way, chosen at random among those that reach an IoU.

    Args:
        mask: The object in its box, shape (H, W).
        iou: Wanted with the right mask, in [0, 1].
        seed: Of all that is random.

    Returns:
        Shape (H, W); it never leaves the box.
    """
    best = mask
    for name in np.random.default_rng(seed).permutation(list(KINDS)):
        found = _degraded_by(KINDS[name], mask, iou, seed)
        if abs(mask_iou(found, mask) - iou) < NEAR:
            return found
        best = min(best, found, key=lambda one: abs(mask_iou(one, mask) - iou))
    return best


def _degraded_by(draw: Kind, mask: Mask, iou: float, seed: tuple[int, ...]) -> Mask:
    tried = [mask]
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried.append(draw(mask, middle, np.random.default_rng(seed)))
        low, high = (middle, high) if mask_iou(tried[-1], mask) > iou else (low, middle)
    return min((one for one in tried if one.any()), key=lambda one: abs(mask_iou(one, mask) - iou))


def _grown(mask: Mask, strength: float, _rng: np.random.Generator) -> Mask:
    return _moved_outline(mask, strength)


def _shrunk(mask: Mask, strength: float, _rng: np.random.Generator) -> Mask:
    return _moved_outline(mask, -strength)


def _moved_outline(mask: Mask, share: float) -> Mask:
    """The outline moved out or in by a share of half the longer side."""
    px = share * max(mask.shape) / 2
    return _signed_distance(mask) < px


def _signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Px to the outline, negative inside, shape (H, W)."""
    padded = np.pad(mask, 1).astype(np.uint8)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return np.asarray((outside - inside)[1:-1, 1:-1], dtype=np.float32)


def _ragged(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """An outline that wanders: here outside, there inside."""
    height, width = mask.shape
    coarse = rng.normal(0, 1, (6, 6)).astype(np.float32)
    noise = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return _signed_distance(mask) < noise * strength * max(mask.shape) / 2


def _convex(mask: Mask, strength: float, _rng: np.random.Generator) -> Mask:
    """Bays and gaps filled, as a lazy polygon does: the hull, then the hull grown."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    reach = 2 * strength * max(mask.shape)
    near = _signed_distance(mask) < reach
    return mask | (hull.astype(bool) & near) | _moved_outline(mask, max(0.0, strength - 0.5))


def _part(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """One side of the object alone: a jacket for a person."""
    across = _across(mask.shape, rng)
    return mask & (across >= np.quantile(across[mask], min(strength, 0.99)))


def _whole(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """What lies beside the object, too, from one side on: a person and the bicycle."""
    across = _across(mask.shape, rng)
    return mask | (across >= np.quantile(across, 1 - strength))


def _across(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.indices(shape)
    return np.asarray(rows / shape[0] * np.sin(angle) + columns / shape[1] * np.cos(angle))


def _boxy(mask: Mask, strength: float, _rng: np.random.Generator) -> Mask:
    """A rectangle around the middle that grows to the filled box, and the object."""
    height, width = mask.shape
    rows, columns = np.indices(mask.shape)
    y, x = abs(2 * rows / height - 1), abs(2 * columns / width - 1)
    return mask | (np.maximum(y, x) < strength * 1.01)


def _shifted(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """The right outline in the wrong place."""
    angle = rng.uniform(0, 2 * np.pi)
    height, width = mask.shape
    move = strength * np.array([np.cos(angle) * width, np.sin(angle) * height])
    matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]], dtype=np.float64)
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(moved, dtype=bool)


def _pitted(mask: Mask, strength: float, rng: np.random.Generator) -> Mask:
    """Holes in the object and islands beside it."""
    height, width = mask.shape
    coarse = rng.random((9, 9)).astype(np.float32)
    noise = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(mask ^ (noise > 1 - 0.8 * strength))


KINDS: Mapping[str, Kind] = {
    "grown": _grown,
    "shrunk": _shrunk,
    "ragged": _ragged,
    "convex": _convex,
    "part": _part,
    "whole": _whole,
    "boxy": _boxy,
    "shifted": _shifted,
    "pitted": _pitted,
}
