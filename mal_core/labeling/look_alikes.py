"""Pixels that look alike belong together, near or far: long-range evidence of one crop.

The neighbors of a pixel carry a mask to the next strong edge; they do not carry it around a
coarse network's error: the gap between two legs that it filled is connected to nothing but
itself. There the pixels of the same color elsewhere in the crop know better. This is the
fully connected field of Kraehenbuehl and Koltun (NeurIPS 2011) with its appearance kernel,

    k(i, j) = exp(-|c_i - c_j|^2 / 2 s_c^2 - |p_i - p_j|^2 / 2 s_p^2),

computed exactly. That is cheap enough because one pixel in many speaks for its surroundings:
an opinion is a mean, which a sample gives as well. The speakers first settle the field among
themselves; then every pixel of the box hears them once. s_c is a share of the crop's own
contrast: in a dim microscope image a few gray levels are an edge.

Shape letters: h w grid, n its pixels inside the box, m those of the crop that speak, k weights.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

VOICES = 48
"""Pixels that speak, along the crop's longer side at most."""
LEAST_CONTRAST = 1.0
"""Lab units: a smaller difference is noise or compression."""
TINY = 1e-6
"""Keeps a pixel whose color nobody shares out of a division by 0: it hears nothing."""
ROUNDS = 4
"""Mean-field updates among the speakers; labels hardly change after the third."""
ROWS_AT_ONCE = 512
"""Listeners whose kernel is held at a time, so that it stays in the processor's cache."""


def hear_look_alikes(
    unary: Map, inside: Mask, features: Map, weights: Sequence[float]
) -> list[Map]:
    """Log-odds after `weight` times the mean opinion of each pixel's look-alikes.

    Args:
        unary: Log-odds of each pixel alone, shape (h, w).
        inside: True in the box, shape (h, w); what lies outside speaks, but does not listen.
        features: Of `appearance`, shape (h, w, 5).
        weights: Log-odds that unanimous look-alikes add; each gives a field of its own.

    Returns:
        For each weight: float32, shape (h, w).
    """
    speaking = voices(features).reshape(-1, features.shape[2])
    alone, listening = voices(unary).ravel(), voices(inside).ravel()
    kernel = _kernel(speaking[listening], speaking)
    kernel /= kernel.sum(1)[:, None] + TINY
    columns = [np.ones_like(alone)]
    for weight in weights:
        field = alone.copy()
        for _ in range(ROUNDS):
            field[listening] = alone[listening] + weight * (kernel @ np.tanh(field / 2))
        columns.append(np.tanh(field / 2))
    heard = _opinions(features[inside], speaking, np.stack(columns, axis=1))
    fields: list[Map] = []
    for index, weight in enumerate(weights, start=1):
        settled = unary.copy()
        settled[inside] += weight * heard[:, index] / (heard[:, 0] + TINY)
        fields.append(settled)
    return fields


def appearance(crop: NDArray[np.uint8], reach: float, contrast: float) -> Map:
    """Color and place of each pixel, in units of the kernel's two widths.

    Args:
        crop: RGB, uint8, shape (h, w, 3).
        reach: s_p as a share of the crop's longer side.
        contrast: s_c as a share of the crop's standard deviation in Lab.

    Returns:
        Float32, shape (h, w, 5).
    """
    height, width = crop.shape[:2]
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    spread = contrast * float(np.sqrt(lab.var((0, 1)).sum()))
    place = np.mgrid[:height, :width].astype(np.float32) / (reach * max(height, width))
    both = [lab / max(spread, LEAST_CONTRAST), np.moveaxis(place, 0, 2)]
    return np.concatenate(both, axis=2, dtype=np.float32)


def voices(values: NDArray[Any]) -> NDArray[Any]:
    """The pixels that speak, a regular grid of them.

    Args:
        values: A map (h, w) or crop (h, w, 3).

    Returns:
        A view of it, of any shape up to (48, 48) and (48, 48, 3).
    """
    step = -(-max(values.shape[:2]) // VOICES)
    return values[step // 2 :: step, step // 2 :: step]


def _opinions(listening: Map, speaking: Map, columns: Map) -> Map:
    """Kernel (n, m) times columns (m, k), shape (n, k)."""
    parts = [
        _kernel(listening[start : start + ROWS_AT_ONCE], speaking) @ columns
        for start in range(0, len(listening), ROWS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, columns.shape[1]), np.float32)


def _kernel(listening: Map, speaking: Map) -> Map:
    """k(i, j) of features (n, 5) and (m, 5), shape (n, m); in one product, squares included."""
    own, others = (-0.5 * np.square(each).sum(1, keepdims=True) for each in (listening, speaking))
    left = np.concatenate([listening, own, np.ones_like(own)], axis=1)
    right = np.concatenate([speaking, np.ones_like(others), others], axis=1)
    exponent = left @ right.T
    return np.asarray(np.exp(exponent, out=exponent), dtype=np.float32)
