"""How large the objects of a training file are in their images: what recipes are sized by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.view import CocoView

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSizes:
    """Quantiles (10, 25, 50, 75, 90 %) over the boxes of a file; crowds are left out.

    Attributes:
        sides: Square root of a box's area, in longer sides of its image: 0 to 1.
        ratios: Height of a box divided by its width.
        per_image: Objects on an image that has any.
    """

    sides: tuple[float, ...]
    ratios: tuple[float, ...]
    per_image: tuple[float, ...]


def measure_sizes(content: Mapping[str, Any]) -> ObjectSizes | None:
    """Sizes of the boxes of a COCO file; None where it has none.

    Args:
        content: Only boxes and image sizes are read, no masks: whatever the labels of a
            file are, its sizes are the same.
    """
    longer = {image["id"]: max(image["width"], image["height"]) for image in content["images"]}
    kept = [ann for ann in content["annotations"] if not ann.get("iscrowd")]
    sides = np.array([ann["bbox"][2:] for ann in kept], dtype=np.float64).reshape(-1, 2)
    return _sizes(sides, [ann["image_id"] for ann in kept], longer)


def view_sizes(view: CocoView) -> ObjectSizes | None:
    """Sizes of the boxes of a file that has been read and checked; None where it has none."""
    longer = {image.image_id: max(image.width, image.height) for image in view.images}
    sides = [columns.corners_xyxy[:, 2:] - columns.corners_xyxy[:, :2] for columns in view.columns]
    images = chain.from_iterable(columns.image_ids for columns in view.columns)
    return _sizes(np.concatenate(sides) if sides else np.zeros((0, 2)), list(images), longer)


def _sizes(
    sides: NDArray[np.float64], images: Sequence[Any], longer: Mapping[Any, int]
) -> ObjectSizes | None:
    """Of boxes with these widths and heights (N, 2) on these images, px."""
    whole = sides.min(1, initial=np.inf) > 0
    if not whole.any():
        return None
    reach = np.array([longer[image] for image in images], dtype=np.float64)
    widths, heights = sides[whole].T
    return ObjectSizes(
        sides=_quantiles(np.sqrt(widths * heights) / reach[whole]),
        ratios=_quantiles(heights / widths),
        per_image=_quantiles([*Counter(images).values()]),
    )


def _quantiles(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in np.quantile(values, QUANTILES))
