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
ROWS_AT_ONCE = 32
"""Listeners whose kernel is held at a time: a quarter of a megabyte, which stays in a core's own
cache; four times as many cost six times the time where others keep the memory busy."""


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
    alone, listening = voices(unary).reshape(-1, 1), voices(inside).ravel()
    loudness = np.asarray(weights, np.float32)
    fields, listeners = np.repeat(alone, len(loudness), axis=1), speaking[listening]
    for _ in range(ROUNDS):
        heard = _mean_opinions(listeners, speaking, np.tanh(fields / 2))
        fields[listening] = alone[listening] + loudness * heard
    settled = np.repeat(unary[None], len(loudness), axis=0)
    heard = _mean_opinions(features[inside], speaking, np.tanh(fields / 2))
    settled[:, inside] += (loudness * heard).T
    return list(settled)


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


def _mean_opinions(listening: Map, speaking: Map, opinions: Map) -> Map:
    """Means of opinions (m, k) by the kernel of features (n, 5) and (m, 5), shape (n, k).

    The kernel is never whole: to read it from a memory that others use costs more than to
    compute it again.
    """
    left, right = _factors(listening, speaking)
    columns = np.concatenate([opinions, np.ones_like(opinions[:, :1])], axis=1)
    sums = np.empty((len(left), columns.shape[1]), np.float32)
    room = np.empty((ROWS_AT_ONCE, len(speaking)), np.float32)
    for start in range(0, len(left), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        kernel = room[: len(left[rows])]
        np.matmul(left[rows], right, out=kernel)
        np.exp(kernel, out=kernel)
        np.matmul(kernel, columns, out=sums[rows])
    return np.asarray(sums[:, :-1] / (sums[:, -1:] + TINY))


def _factors(listening: Map, speaking: Map) -> tuple[Map, Map]:
    """Matrices (n, 7) and (7, m) whose product is the kernel's exponent, squares included."""
    own, others = (-0.5 * np.square(each).sum(1, keepdims=True) for each in (listening, speaking))
    left = np.concatenate([listening, own, np.ones_like(own)], axis=1)
    right = np.concatenate([speaking, np.ones_like(others), others], axis=1)
    return left, np.ascontiguousarray(right.T)
