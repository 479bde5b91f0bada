"""Pixels that look alike belong together, near or far: long-range evidence of one crop.

The neighbors of a pixel carry a mask to the next strong edge; they do not carry it around a
coarse network's error: the gap between two legs that it filled is connected to nothing but
itself. There the pixels of the same color elsewhere in the crop know better. This is the
fully connected field of Kraehenbuehl and Koltun (NeurIPS 2011) with its appearance kernel,

    k(i, j) = exp(-|c_i - c_j|^2 / 2 s_c^2 - |p_i - p_j|^2 / 2 s_p^2),

computed exactly. That is cheap enough because one pixel in many speaks for its surroundings,
while all of the box listen: an opinion is a mean, which a sample gives as well. s_c is a share
of the crop's own contrast: in a dim microscope image a few gray levels are an edge.

Shape letters: h w grid, n its pixels inside the box, m those of the crop that speak.
"""

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
ROUNDS = 5
"""Mean-field updates; labels hardly change after the third."""


def voices(values: NDArray[Any]) -> NDArray[Any]:
    """The pixels that speak, a regular grid of them.

    Args:
        values: A map (h, w) or crop (h, w, 3).

    Returns:
        A view of it, of any shape up to (48, 48) and (48, 48, 3).
    """
    step = -(-max(values.shape[:2]) // VOICES)
    return values[step // 2 :: step, step // 2 :: step]


def affinity(crop: NDArray[np.uint8], inside: Mask, reach: float, contrast: float) -> Map:
    """How much each pixel of the box has to learn from each pixel that speaks.

    Args:
        crop: RGB, uint8, shape (h, w, 3).
        inside: True in the box, shape (h, w).
        reach: s_p as a share of the crop's longer side.
        contrast: s_c as a share of the crop's standard deviation in Lab.

    Returns:
        Rows of k(i, j) for the pixels inside, each normalized to a sum of 1; float32,
        shape (n, m).
    """
    height, width = inside.shape
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    spread = contrast * float(np.sqrt(lab.var((0, 1)).sum()))
    place = np.mgrid[:height, :width].astype(np.float32) / (reach * max(height, width))
    features = np.concatenate([lab / max(spread, LEAST_CONTRAST), np.moveaxis(place, 0, 2)], axis=2)
    listening, speaking = features[inside], voices(features).reshape(-1, features.shape[2])
    kernel = listening @ speaking.T
    kernel -= 0.5 * np.square(listening).sum(1)[:, None]
    kernel -= 0.5 * np.square(speaking).sum(1)
    np.exp(kernel, out=kernel)
    kernel /= kernel.sum(1)[:, None] + TINY
    return np.asarray(kernel, dtype=np.float32)


def hear_look_alikes(unary: Map, inside: Mask, kernel: Map, weight: float) -> Map:
    """Log-odds after `weight` times the mean opinion of each pixel's look-alikes.

    Args:
        unary: Log-odds of each pixel alone, shape (h, w).
        inside: True in the box, shape (h, w); what lies outside speaks, but does not listen.
        kernel: Of `affinity`, shape (n, m).
        weight: Log-odds that unanimous look-alikes add.

    Returns:
        Float32, shape (h, w).
    """
    field = unary.copy()
    for _ in range(ROUNDS):
        field[inside] = unary[inside] + weight * (kernel @ np.tanh(voices(field) / 2).ravel())
    return field
