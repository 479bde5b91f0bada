"""Objects pasted into other photos: crops whose mask is known because we made it.

Shape letters: H W px of a photo, h w px of a cutout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.quality.patch import Mask

Pixels = NDArray[np.uint8]

SCALES = (0.6, 1.5)
LARGEST = 0.9
"""Share of a photo's side that an object may take."""
JOINED, BITTEN, CROWDED, HIDDEN, TWIN = 0.5, 0.8, 0.5, 0.6, 0.5
"""Share of the objects that are made of two, that have bays in their outline, that have another
object behind them, that have one or two in front; and of these others, how many are the object
itself once more, as in a herd."""
BITES, BITE_SIDES = (1, 5), (0.08, 0.4)
"""How many bays, end excluded, and their half sides relative to the object's."""
LEAST_VISIBLE, LEAST_LEFT = 0.3, 0.3
LEAST_SIDE = 6
MOST_OTHERS = 3
PLACES_NEEDED = 4
"""Objects that one composite takes: itself, a second part, one behind, one in front."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutout:
    """An object cut out of its photo.

    Attributes:
        pixels: RGB, uint8, shape (h, w, 3), as tight as the mask.
        mask: True on the object, shape (h, w).
    """

    pixels: Pixels
    mask: Mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite:
    """A photo with objects that were not in it.

    Attributes:
        image: RGB, uint8, shape (H, W, 3).
        box_xyxy: Box of the object's visible part in px, float64, shape (4,).
        mask: The visible part, shape (H, W).
        others_xyxy: Boxes of the other pasted objects, shape (N, 4).
    """

    image: Pixels
    box_xyxy: NDArray[np.float64]
    mask: Mask
    others_xyxy: NDArray[np.float64]


def cut_out(image: Pixels, box: tuple[int, int, int, int], box_mask: Mask) -> Cutout | None:
    """The object of a mask; None if it is tiny.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        box: Pixels of the image that the mask is given at, half-open.
        box_mask: The mask there, shape (y1 - y0, x1 - x0).
    """
    if not box_mask.any():
        return None
    tight = _tight(box_mask)
    if min(part.stop - part.start for part in tight) < LEAST_SIDE:
        return None
    pixels = image[box[1] : box[3], box[0] : box[2]][tight]
    return Cutout(pixels=pixels.copy(), mask=box_mask[tight].copy())


def compose(
    ground: Pixels, objects: Sequence[Cutout], generator: np.random.Generator
) -> Composite | None:
    """Paste an object as hard to tell from its surroundings as real ones are.

    It may be made of two objects, lack parts of its outline, have others behind and before it,
    and its colors move towards those of its new place.

    Args:
        ground: The photo, RGB, uint8, shape (H, W, 3).
        objects: `PLACES_NEEDED` cutouts, the object itself first.
        generator: Decides everything else.

    Returns:
        The composite; None where hardly anything stays visible.
    """
    image = ground.copy()
    mask = np.zeros(ground.shape[:2], dtype=bool)
    first = _resized(objects[0], _side(objects[0], generator), generator)
    side = max(first.mask.shape)
    height, width = mask.shape
    center = generator.uniform(0.1, 0.9) * width, generator.uniform(0.1, 0.9) * height
    others = []
    if generator.random() < CROWDED:
        kind = objects[0] if generator.random() < TWIN else objects[2]
        behind = _resized(kind, side * generator.uniform(0.5, 1.3), generator)
        others.append(_paste(image, behind, _near(center, first.mask, 0.5, generator), generator))
    if generator.random() < BITTEN:
        first = _bitten(first, generator)
    mask |= _paste(image, first, center, generator)
    if generator.random() < JOINED:
        part = _resized(objects[1], side * generator.uniform(0.4, 0.8), generator)
        mask |= _paste(image, part, _near(center, first.mask, 0.4, generator), generator)
    whole = np.count_nonzero(mask)
    while generator.random() < HIDDEN and len(others) < MOST_OTHERS:
        kind = objects[0] if generator.random() < TWIN else objects[3]
        front = _resized(kind, side * generator.uniform(0.3, 1.0), generator)
        others.append(_paste(image, front, _near(center, first.mask, 0.5, generator), generator))
        mask &= ~others[-1]
    if np.count_nonzero(mask) < max(LEAST_VISIBLE * whole, LEAST_SIDE**2):
        return None
    boxes = [_corners(other) for other in others if other.any()]
    return Composite(
        image=image,
        box_xyxy=np.array(_corners(mask)),
        mask=mask,
        others_xyxy=np.array(boxes, dtype=np.float64).reshape(len(boxes), 4),
    )


def _tight(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _corners(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = _tight(mask)
    return float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)


def _side(cutout: Cutout, generator: np.random.Generator) -> float:
    """Longer side of an object in its new place."""
    return float(max(cutout.mask.shape) * np.exp(generator.uniform(*np.log(SCALES))))


def _resized(cutout: Cutout, side: float, generator: np.random.Generator) -> Cutout:
    """Another size, perhaps mirrored."""
    rows, columns = cutout.mask.shape
    scale = side / max(rows, columns)
    size = max(2, round(columns * scale)), max(2, round(rows * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = cv2.resize(cutout.pixels, size, interpolation=method)
    mask = cv2.resize(cutout.mask.astype(np.float32), size, interpolation=method) >= 0.5
    if generator.random() < 0.5:
        pixels, mask = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    return Cutout(pixels=pixels, mask=mask)


def _bitten(cutout: Cutout, generator: np.random.Generator) -> Cutout:
    """Without some ellipses around its outline, where the ground shows, as between legs."""
    mask = cutout.mask.copy()
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    for _ in range(int(generator.integers(*BITES))):
        angle = generator.uniform(0, 2 * np.pi)
        reach = generator.uniform(0.5, 1.1)
        middle_y = (0.5 + 0.5 * reach * np.sin(angle)) * mask.shape[0]
        middle_x = (0.5 + 0.5 * reach * np.cos(angle)) * mask.shape[1]
        half_y, half_x = generator.uniform(*BITE_SIDES, 2) * mask.shape + 0.5
        mask &= ((y - middle_y) / half_y) ** 2 + ((x - middle_x) / half_x) ** 2 > 1
    if np.count_nonzero(mask) < LEAST_LEFT * np.count_nonzero(cutout.mask):
        return cutout
    return Cutout(pixels=cutout.pixels, mask=mask)


def _near(
    center_xy: tuple[float, float], mask: Mask, share: float, generator: np.random.Generator
) -> tuple[float, float]:
    angle = generator.uniform(0, 2 * np.pi)
    return (
        float(center_xy[0] + share * mask.shape[1] * np.cos(angle)),
        float(center_xy[1] + share * mask.shape[0] * np.sin(angle)),
    )


def _paste(
    image: Pixels, cutout: Cutout, center_xy: tuple[float, float], generator: np.random.Generator
) -> Mask:
    """Paste in place, borders as soft as a camera's; returns what of it lies in the image."""
    rows, columns = cutout.mask.shape
    height, width = image.shape[:2]
    x0, y0 = round(center_xy[0] - columns / 2), round(center_xy[1] - rows / 2)
    seen_y, seen_x = (
        slice(max(0, y0), min(height, y0 + rows)),
        slice(max(0, x0), min(width, x0 + columns)),
    )
    pasted = np.zeros((height, width), dtype=bool)
    blended = generator.uniform(0, 1)
    if seen_y.start >= seen_y.stop or seen_x.start >= seen_x.stop or not cutout.mask.any():
        return pasted
    cut = slice(seen_y.start - y0, seen_y.stop - y0), slice(seen_x.start - x0, seen_x.stop - x0)
    under = image[seen_y, seen_x].astype(np.float32)
    shift = blended * (under.mean((0, 1)) - cutout.pixels[cutout.mask].mean(0))
    alpha = cv2.GaussianBlur(cutout.mask.astype(np.float32), (3, 3), 0.7)[cut][..., None]
    mixed = alpha * (cutout.pixels[cut] + shift) + (1 - alpha) * under
    image[seen_y, seen_x] = mixed.clip(0, 255).astype(np.uint8)
    pasted[seen_y, seen_x] = cutout.mask[cut]
    return pasted
