"""Colour augmentation of the student's view, on uint8 images and an explicit generator."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

JITTER_PROBABILITY = 0.5
GRAY_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
BLUR_SIGMA = (0.1, 2.0)
GRAY = np.array([0.299, 0.587, 0.114])
"""Share of each channel in the gray level (ITU-R BT.601)."""


def augment_colors(image: Image, generator: np.random.Generator) -> Image:
    """Jitter, grayscale and blur, each with its own probability.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        generator: Source of randomness.

    Returns:
        A new image of the same shape.

    Source: spec 2.5.
    """
    if generator.random() < JITTER_PROBABILITY:
        image = _jitter(image, generator)
    if generator.random() < GRAY_PROBABILITY:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if generator.random() < BLUR_PROBABILITY:
        sigma = generator.uniform(*BLUR_SIGMA)
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    return image


def _jitter(image: Image, generator: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and hue, in random order, as one color matrix.

    Each of the four is affine in RGB, so their product costs one pass over the pixels;
    values are clipped once, at the end.
    """
    mean_color = np.array([*cv2.mean(image)[:3], 1.0])
    steps = (_brightness, _contrast, _saturation, _hue)
    matrix = np.eye(4)
    for index in generator.permutation(len(steps)):
        gray_level = float(GRAY @ (matrix[:3] @ mean_color))
        matrix = steps[index](generator, gray_level) @ matrix
    return np.asarray(cv2.transform(image, matrix[:3].astype(np.float32)))


def _factor(generator: np.random.Generator, strength: float) -> float:
    return float(generator.uniform(1 - strength, 1 + strength))


def _affine(linear: Matrix, offset: float = 0.0) -> Matrix:
    """A map of RGB as a matrix on (R, G, B, 1)."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = offset
    return matrix


def _brightness(generator: np.random.Generator, _gray_level: float) -> Matrix:
    return _affine(np.eye(3) * _factor(generator, BRIGHTNESS))


def _contrast(generator: np.random.Generator, gray_level: float) -> Matrix:
    """Away from or towards the mean gray level of the image."""
    factor = _factor(generator, CONTRAST)
    return _affine(np.eye(3) * factor, gray_level * (1 - factor))


def _saturation(generator: np.random.Generator, _gray_level: float) -> Matrix:
    """Away from or towards each pixel's own gray level."""
    factor = _factor(generator, SATURATION)
    return _affine(np.eye(3) * factor + (1 - factor) * np.tile(GRAY, (3, 1)))


def _hue(generator: np.random.Generator, _gray_level: float) -> Matrix:
    """Turn colors about the gray axis, by a share of the full circle."""
    angle = 2 * math.pi * float(generator.uniform(-HUE, HUE))
    toward, across = math.cos(angle), math.sin(angle)
    mean = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return _affine(toward * np.eye(3) + (1 - toward) * mean + across * cross)
