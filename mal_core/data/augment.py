"""Colour augmentation of the student's view, on uint8 images and an explicit generator."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

JITTER_PROBABILITY = 0.5
GRAY_PROBABILITY = 0.2
BLUR_PROBABILITY = 0.5
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
BLUR_SIGMA = (0.1, 2.0)
LEVELS = np.arange(256, dtype=np.float32)


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
    """Brightness, contrast, saturation and hue, in random order."""
    steps = (_brightness, _contrast, _saturation, _hue)
    for index in generator.permutation(len(steps)):
        image = steps[index](image, generator)
    return image


def _factor(generator: np.random.Generator, strength: float) -> float:
    return float(generator.uniform(1 - strength, 1 + strength))


def _apply_levels(image: Image, levels: NDArray[np.float32]) -> Image:
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table)


def _brightness(image: Image, generator: np.random.Generator) -> Image:
    return _apply_levels(image, LEVELS * _factor(generator, BRIGHTNESS))


def _contrast(image: Image, generator: np.random.Generator) -> Image:
    factor = _factor(generator, CONTRAST)
    mean = float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])
    return _apply_levels(image, LEVELS * factor + mean * (1 - factor))


def _saturation(image: Image, generator: np.random.Generator) -> Image:
    factor = _factor(generator, SATURATION)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, gray, 1 - factor, 0)


def _hue(image: Image, generator: np.random.Generator) -> Image:
    shift = round(generator.uniform(-HUE, HUE) * 256)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(shift % 256)  # wraps, as hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
