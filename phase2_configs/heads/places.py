"""Mask logits relative to a place of their own: a slope and a window around it.

The logit at pixel p of a mask whose place is c, with d = p - c in units of the mask, gets
a d - softplus(s) |d|^2 + b more, from four numbers (a_x, a_y, s, b) that a head predicts: as
CondInst's relative coordinates (Tian et al., "Conditional Convolutions for Instance
Segmentation", ECCV 2020), with the squared distance besides. Linear in (x, y, x^2 + y^2, 1),
it is four channels more of mask features and kernels.
"""

import torch
from torch import Tensor
from torch.nn import functional

PLACES = 4
"""Channels that places take: x, y, x^2 + y^2, 1."""
UNIT_CELLS = 1.6
"""Cells in the length in which a head counts: about the side of the smallest objects."""
GAIN = 4.0
"""The four numbers are learned so much faster than other weights, from zero."""


def centers(count: int, extent: float, like: Tensor) -> Tensor:
    """Centers of `count` equal parts of 0 to `extent` px, float32.

    Args:
        count: How many.
        extent: Where the last part ends.
        like: Of any shape, on the device that is wanted.

    Returns:
        The centers in px, shape (count,).
    """
    steps = torch.arange(count, device=like.device, dtype=torch.float32) + 0.5
    return steps * (extent / count)


def place_features(shape: tuple[int, int], stride: int, like: Tensor) -> Tensor:
    """What the logits are linear in, at each pixel of a map.

    Args:
        shape: Height and width of the map.
        stride: Pixels of the image per pixel of the map.
        like: Of any shape, on the device that is wanted.

    Returns:
        x, y, x^2 + y^2 and 1, with x and y in px of the image, shape (4, h, w).
    """
    y, x = (centers(side, stride * side, like) for side in shape)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, columns**2 + rows**2, torch.ones_like(rows)])


def place_kernels(said: Tensor, x: Tensor, y: Tensor, unit: float) -> Tensor:
    """Weights of `place_features` that give each mask its slope and its window.

    Args:
        said: What the head says of each mask, a_x, a_y, s and b on its last axis, shape (..., 4).
        x: Where the masks' places are, px, shape (...,), or one that broadcasts to it.
        y: As x, any shape that it may have.
        unit: Length in which the head counts, px.

    Returns:
        The weights, shape (..., 4).
    """
    slope_x, slope_y, sharpness, height = (GAIN * said.float()).unbind(-1)
    slope_x, slope_y = slope_x / unit, slope_y / unit
    sharpness = functional.softplus(sharpness) / unit**2
    weights = [
        slope_x + 2 * sharpness * x,
        slope_y + 2 * sharpness * y,
        -sharpness,
        height - slope_x * x - slope_y * y - sharpness * (x**2 + y**2),
    ]
    return torch.stack(weights, -1)
