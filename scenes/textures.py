"""Smooth textures: gradients, stripes, checks and blotches, as float images in grey levels."""

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]

PERIOD_PX = (8.0, 24.0)
BLOTCH_PX = (5.0, 10.0)
SHADE_PX = (15.0, 50.0)
CONTRAST = 27.0
"""Largest deviation of a pattern from its base colour, grey levels per channel."""


def smooth_noise(
    generator: np.random.Generator, size: int, scale: float, channels: int
) -> FloatImage:
    """Low-frequency noise with features of about `scale` px.

    Returns:
        Values in [-1, 1], float32, shape (size, size, channels).
    """
    cells = max(2, int(size / scale))
    coarse = generator.normal(size=(cells, cells, channels)).astype(np.float32)
    fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    fine = fine.reshape(size, size, channels)
    return np.asarray(fine / np.abs(fine).max(), dtype=np.float32)


def draw_texture(
    generator: np.random.Generator, size: int, base_color: NDArray[np.float64]
) -> FloatImage:
    """One textured surface around a colour (3,): float32, shape (size, size, 3), grey levels."""
    surface = np.full((size, size, 3), base_color, np.float32)
    shade = smooth_noise(generator, size, generator.uniform(*SHADE_PX), 3)
    surface += shade * generator.uniform(8, 30)
    pattern = (_plain, _stripes, _checks, _blotches)[generator.integers(4)]
    amplitude = generator.uniform(-CONTRAST, CONTRAST, 3).astype(np.float32)
    surface += pattern(generator, size) * amplitude
    return surface


def _axes(generator: np.random.Generator, size: int) -> tuple[FloatImage, FloatImage]:
    """Two orthogonal phases of one random period and direction, each (size, size, 1)."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    angle = generator.uniform(0, np.pi)
    wave = 2 * np.pi / generator.uniform(*PERIOD_PX)
    along = (columns * np.cos(angle) + rows * np.sin(angle)) * wave
    across = (rows * np.cos(angle) - columns * np.sin(angle)) * wave
    return along[..., None].astype(np.float32), across[..., None].astype(np.float32)


def _plain(_: np.random.Generator, size: int) -> FloatImage:
    return np.zeros((size, size, 1), np.float32)


def _stripes(generator: np.random.Generator, size: int) -> FloatImage:
    along, _ = _axes(generator, size)
    return np.asarray(np.sin(along), dtype=np.float32)


def _checks(generator: np.random.Generator, size: int) -> FloatImage:
    along, across = _axes(generator, size)
    return np.asarray(np.tanh(2 * np.sin(along) * np.sin(across)), dtype=np.float32)


def _blotches(generator: np.random.Generator, size: int) -> FloatImage:
    return smooth_noise(generator, size, generator.uniform(*BLOTCH_PX), 1) * 1.6
