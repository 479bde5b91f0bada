"""Boxes drawn too small grow where the network is sure that the object goes on.

A box that cuts an object off costs its mask the part outside; one that is too large costs little,
as a mask need not fill it. So sides move outwards only, and only through rows or columns in which
the network, which has not been told the box, is sure of foreground that lies in no other box.

Shape letters: H W px of the crop around a box.
"""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.config import MalConfig
from mal_core.labeling.protocol import Photo
from mal_core.labeling.views import resize_logits, views_of
from mal_core.models.labeler import Sight
from mal_core.quality.evidence import LARGER
from mal_core.types import BoxAnnotation

SURROUNDINGS = 1.2
"""Expansion of the crop in which a box may grow."""
SURE = 2.197
"""Log-odds of probability 0.9, that a row or column beyond the side has to reach."""
REACH = 0.25
"""How far a side may move, relative to the box."""

Corners = NDArray[np.float64]


def grown_boxes(
    photo: Photo, see: Callable[[Tensor, Tensor], Sight], config: MalConfig
) -> Iterator[BoxAnnotation]:
    """The boxes of a photo, in order; those that cut their object off are larger.

    Args:
        photo: With its boxes.
        see: The network: crops, uint8, and their boxes in px of the photo in, its sight out.
        config: How it labels.
    """
    wide = dataclasses.replace(config, test_expansion=SURROUNDINGS, extra_expansions=())
    waiting = views_of(photo, wide)
    while part := list(islice(waiting, config.label_batch_size)):
        crops = torch.from_numpy(np.stack([item.views[0].crop for item in part]))
        corners = np.array([item.annotation.box_xyxy for item in part], dtype=np.float64)
        unaware = see(crops, torch.from_numpy(corners).float()).unaware.numpy()
        for item, given, logits in zip(part, corners, unaware, strict=True):
            crop_xyxy = item.views[0].crop_xyxy
            at_pixels = resize_logits(logits, crop_xyxy)
            _leave_to_neighbors(at_pixels, crop_xyxy, neighbors(given, item.others_xyxy))
            box = grown_box(at_pixels, crop_xyxy, given, photo.record.size)
            x0, y0, x1, y1 = box.tolist()
            yield dataclasses.replace(item.annotation, box_xyxy=(x0, y0, x1, y1))


def grown_box(
    logits: NDArray[np.float32],
    crop_xyxy: NDArray[np.int64],
    box_xyxy: Corners,
    image_size: tuple[int, int],
) -> Corners:
    """Move the sides of a box outwards while the network is sure of foreground there.

    Args:
        logits: Of a network that has not been told the box, at the crop's pixels, shape (H, W).
        crop_xyxy: The crop in px of the image, shape (4,).
        box_xyxy: The box in px of the image, shape (4,).
        image_size: Width and height of the image, px.

    Returns:
        The box in px, inside the image, shape (4,); sides that do not move stay bit by bit.
    """
    x0, y0, x1, y1 = np.round(box_xyxy - np.tile(crop_xyxy[:2], 2)).astype(int).tolist()
    columns = logits[max(y0, 0) : max(y1, y0 + 1)].max(0) > SURE
    rows = logits[:, max(x0, 0) : max(x1, x0 + 1)].max(1) > SURE
    most_x, most_y = (int(REACH * (box_xyxy[axis + 2] - box_xyxy[axis])) for axis in (0, 1))
    steps = (
        -_steps(columns[:x0][::-1], most_x),
        -_steps(rows[:y0][::-1], most_y),
        _steps(columns[x1:], most_x),
        _steps(rows[y1:], most_y),
    )
    limits = np.array([*image_size, *image_size], dtype=np.float64)
    moved = np.clip(box_xyxy + np.array(steps), 0, limits)
    return np.where(np.array(steps) == 0, box_xyxy, moved)


def neighbors(box_xyxy: Corners, others_xyxy: Corners) -> Corners:
    """Boxes that are not so much larger that this one may lie on or in their object.

    Args:
        box_xyxy: In px, shape (4,).
        others_xyxy: The other boxes of the photo, shape (N, 4).

    Returns:
        Those of them, shape (M, 4).
    """
    area = np.prod(box_xyxy[2:] - box_xyxy[:2])
    return others_xyxy[np.prod(others_xyxy[:, 2:] - others_xyxy[:, :2], axis=1) <= LARGER * area]


def _leave_to_neighbors(
    logits: NDArray[np.float32], crop_xyxy: NDArray[np.int64], others_xyxy: Corners
) -> None:
    """Nobody is sure of what lies in another box: it may be that one's object."""
    corners = np.round(others_xyxy - np.tile(crop_xyxy[:2], 2)).astype(int).clip(0)
    for x0, y0, x1, y1 in corners.tolist():
        logits[y0:y1, x0:x1] = -SURE


def _steps(sure: NDArray[np.bool_], most: int) -> int:
    """Lines from the side on, up to the first that is not sure."""
    unsure = np.flatnonzero(~sure[:most])
    return int(unsure[0]) if len(unsure) else min(most, len(sure))
