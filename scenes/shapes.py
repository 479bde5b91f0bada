"""The classes: shapes whose boxes say little about their masks. None fills its box."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

SUPERSAMPLING = 4


def _ring(generator: np.random.Generator) -> list[Points]:
    """An ellipse with a hole."""
    flatness, inner = generator.uniform(0.75, 1.0), generator.uniform(0.35, 0.55)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = np.stack([np.cos(angle), flatness * np.sin(angle)], 1)
    return [outline, outline * inner]


def _star(generator: np.random.Generator) -> list[Points]:
    """Four to six points around a narrow body."""
    num_points, inner = int(generator.integers(4, 7)), generator.uniform(0.42, 0.55)
    angle = np.arange(2 * num_points) * np.pi / num_points
    radius = np.where(np.arange(2 * num_points) % 2 == 0, 1.0, inner)
    return [np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)]


def _hook(generator: np.random.Generator) -> list[Points]:
    """Two bars at a right angle."""
    width = generator.uniform(0.5, 0.7)
    return [
        np.array(
            [
                [-0.8, -1],
                [width - 0.8, -1],
                [width - 0.8, 1 - width],
                [0.8, 1 - width],
                [0.8, 1],
                [-0.8, 1],
            ]
        )
    ]


SHAPES: dict[str, Callable[[np.random.Generator], list[Points]]] = {
    "ring": _ring,
    "star": _star,
    "hook": _hook,
}


def draw_shape(
    generator: np.random.Generator, name: str, size: int, centre_xy: Points, radius: float
) -> NDArray[np.float32]:
    """Coverage of every pixel by a randomly rotated shape.

    Args:
        generator: Source of proportions and rotation.
        name: Key of SHAPES.
        size: Side of the square image, px.
        centre_xy: Position of the shape, px, shape (2,).
        radius: Half of its extent, px.

    Returns:
        Values in [0, 1], float32, shape (size, size), with soft edges.
    """
    angle = generator.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outlines = [
        np.round((outline * radius @ rotation.T + centre_xy) * SUPERSAMPLING).astype(np.int32)
        for outline in SHAPES[name](generator)
    ]
    fine = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8)
    cv2.fillPoly(fine, outlines, 255)  # even-odd rule: the second outline is a hole
    coverage = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(coverage.astype(np.float32) / 255)
