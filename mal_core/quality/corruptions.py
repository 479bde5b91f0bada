"""Masks made wrong on purpose, in the ways in which masks go wrong."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.quality.patch import Mask

Corruption = Callable[[Mask, np.random.Generator], Mask]


def _filled(mask: Mask, _generator: np.random.Generator) -> Mask:
    return np.ones_like(mask)


def _ellipse(mask: Mask, _generator: np.random.Generator) -> Mask:
    rows, columns = mask.shape
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    return np.asarray(y[:, None] ** 2 + x[None] ** 2 <= 1)


def _kernel(mask: Mask, generator: np.random.Generator) -> NDArray[np.uint8]:
    side = 1 + 2 * max(1, round(generator.uniform(0.03, 0.15) * max(mask.shape)))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)


def _eroded(mask: Mask, generator: np.random.Generator) -> Mask:
    return cv2.erode(mask.astype(np.uint8), _kernel(mask, generator)) > 0


def _dilated(mask: Mask, generator: np.random.Generator) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), _kernel(mask, generator)) > 0


def _shifted(mask: Mask, generator: np.random.Generator) -> Mask:
    steps = (generator.uniform(-0.25, 0.25, 2) * mask.shape).round().astype(int)
    moved = np.zeros_like(mask)
    rows, columns = mask.shape
    dy, dx = (int(step) for step in steps)
    moved[max(0, dy) : rows + min(0, dy), max(0, dx) : columns + min(0, dx)] = mask[
        max(0, -dy) : rows + min(0, -dy), max(0, -dx) : columns + min(0, -dx)
    ]
    return moved


def _cut(mask: Mask, generator: np.random.Generator) -> Mask:
    """Without what lies behind a straight line."""
    angle, share = generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 0.6)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    along = x / mask.shape[1] * np.cos(angle) + y / mask.shape[0] * np.sin(angle)
    inside = along[mask]
    return np.asarray(mask & (along > np.quantile(inside, share))) if inside.size else mask


def _with_neighbor(mask: Mask, generator: np.random.Generator) -> Mask:
    """With something else that lies in the box too."""
    size = generator.uniform(0.2, 0.6, 2) * mask.shape
    corner = generator.uniform(0, 1, 2) * (mask.shape - size)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    blob = ((y - corner[0]) / size[0] * 2 - 1) ** 2 + ((x - corner[1]) / size[1] * 2 - 1) ** 2 <= 1
    return np.asarray(mask | blob)


def _torn(mask: Mask, generator: np.random.Generator) -> Mask:
    """Holes and islands."""
    coarse = generator.normal(size=(5, 5)).astype(np.float32)
    noise = cv2.resize(coarse, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(mask ^ (noise > np.quantile(noise, generator.uniform(0.75, 0.95))))


CORRUPTIONS: dict[str, Corruption] = {
    "filled": _filled,
    "ellipse": _ellipse,
    "eroded": _eroded,
    "dilated": _dilated,
    "shifted": _shifted,
    "cut": _cut,
    "neighbor": _with_neighbor,
    "torn": _torn,
}


def corrupt(mask: Mask, name: str, generator: np.random.Generator) -> Mask:
    """A wrong mask of the same box: shape (h, w) in, shape (h, w) out."""
    return np.asarray(CORRUPTIONS[name](mask, generator), dtype=bool)
