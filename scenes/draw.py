"""One scene: textured objects that overlap on textured ground, with exact visible masks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.shapes import SHAPES, draw_shape
from scenes.textures import draw_texture, smooth_noise

RADIUS_PX = (20.0, 50.0)
NUM_OBJECTS = (1, 4)
CONTRAST = (35.0, 60.0)
"""Mean colour difference between an object and the ground, grey levels per channel."""
MIN_VISIBLE_SHARE = 0.4
MIN_VISIBLE_PX = 150
NOISE_SIGMA = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneObject:
    """A visible object: class name and mask, bool, shape (size, size)."""

    name: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """An RGB image, uint8, shape (size, size, 3), and its objects from back to front."""

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]


def draw_scene(generator: np.random.Generator, size: int) -> Scene:
    """Draw a scene of `size` x `size` px.

    Objects of which too little stays visible behind others are not annotated:
    they have become part of the ground.
    """
    ground_color = generator.uniform(40, 215, 3)
    image = draw_texture(generator, size, ground_color)
    drawn: list[tuple[str, NDArray[np.float32]]] = []
    for _ in range(generator.integers(*NUM_OBJECTS)):
        name = list(SHAPES)[generator.integers(len(SHAPES))]
        radius = generator.uniform(*RADIUS_PX) * size / 160
        centre = generator.uniform(0.7 * radius, size - 0.7 * radius, 2)
        coverage = draw_shape(generator, name, size, centre, radius)
        surface = draw_texture(generator, size, _contrasting_color(generator, ground_color))
        image += (surface - image) * coverage[..., None]
        drawn.append((name, coverage))
    image *= 1 + 0.2 * smooth_noise(generator, size, size / 2, 1)
    image += generator.normal(scale=NOISE_SIGMA, size=image.shape)
    return Scene(image=np.clip(image, 0, 255).astype(np.uint8), objects=_visible(drawn))


def _contrasting_color(
    generator: np.random.Generator, ground_color: NDArray[np.float64]
) -> NDArray[np.float64]:
    wanted = generator.uniform(*CONTRAST)
    while True:
        color = generator.uniform(20, 235, 3)
        if np.abs(color - ground_color).mean() > wanted:
            return color


def _visible(drawn: list[tuple[str, NDArray[np.float32]]]) -> tuple[SceneObject, ...]:
    objects = []
    hidden = np.zeros_like(drawn[0][1], dtype=bool)
    for name, coverage in reversed(drawn):
        whole = coverage > 0.5
        mask = whole & ~hidden
        hidden |= whole
        if mask.sum() >= max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * whole.sum()):
            objects.append(SceneObject(name=name, mask=mask))
    return tuple(reversed(objects))
