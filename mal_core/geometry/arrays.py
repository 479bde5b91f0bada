"""Images, boxes and masks that Python code gives: what is wrong with them, in one sentence.

Letters of shapes: N boxes, H W pixels of the image.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.errors import ArgumentError
from mal_core.geometry.boxes import ALLOWED_OVERHANG, ROUNDING

IMAGE = "wanted an array of RGB pixels, uint8, shape (H, W, 3)"
BOXES = "wanted x0, y0, x1, y1 in px per box, shape (N, 4)"
LEAST_SHARES_SIDE = 4
MASKS = "wanted full-image masks of bool or 0 and 1, shape (N, H, W)"


def checked_image(image: object) -> NDArray[np.uint8]:
    """The pixels of an image, RGB, uint8, shape (H, W, 3), one after the other in memory.

    Raises:
        ArgumentError: It is no such array.
    """
    if not isinstance(image, np.ndarray):
        message = f"image is of type {type(image).__name__}; {IMAGE}."
        raise ArgumentError(message)
    if image.dtype != np.uint8:
        hint = " Floats in [0, 1] become that by (255 * image).round().astype(np.uint8)."
        message = f"image has dtype {image.dtype}; {IMAGE}."
        raise ArgumentError(message + (hint if image.dtype.kind == "f" else ""))
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        message = f"image has shape {image.shape}; {IMAGE}."
        raise ArgumentError(message)
    return np.ascontiguousarray(image)


def checked_boxes(boxes_xyxy: object, width: int, height: int) -> NDArray[np.float64]:
    """Boxes clipped to their image, px, shape (N, 4).

    Args:
        boxes_xyxy: Numbers of any type, shape (N, 4); N may be 0.
        width: Of the image, px.
        height: Of the image, px.

    Raises:
        ArgumentError: They are no such numbers, or one lies more than `ALLOWED_OVERHANG` outside.
    """
    boxes = _as_array(boxes_xyxy, "boxes_xyxy", BOXES)
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        message = f"boxes_xyxy has shape {boxes.shape}; {BOXES}."
        raise ArgumentError(message)
    if boxes.dtype.kind not in "iuf":
        message = f"boxes_xyxy has dtype {boxes.dtype}; {BOXES}, as numbers."
        raise ArgumentError(message)
    corners = boxes.astype(np.float64)
    _refuse_shares(corners, width, height)
    problems = [
        f"box {index} (counted from 0) is {list(box)}, which {problem}."
        for index, box in enumerate(corners.tolist())
        if (problem := _box_problem(box, width, height)) is not None
    ]
    if problems:
        raise ArgumentError("\n".join(problems))
    return corners.clip(0, [width, height, width, height])


def _refuse_shares(corners: NDArray[np.float64], width: int, height: int) -> None:
    """Boxes of a pixel or less, all of them in the first one, are none that anybody draws."""
    in_shares = corners.min() >= 0 and corners.max() <= 1 and bool((corners % 1).any())
    if in_shares and min(width, height) > LEAST_SHARES_SIDE:
        message = (
            "boxes_xyxy holds numbers from 0 to 1 only, which look like shares of the image's "
            "size; wanted px. Multiply x by the width of the image and y by its height."
        )
        raise ArgumentError(message)


def checked_masks(masks: object, count: int, width: int, height: int) -> list[NDArray[np.bool_]]:
    """The masks of boxes, each bool of shape (H, W).

    Args:
        masks: One array (N, H, W), or N arrays (H, W): bool, or 0 and 1 (or 255) of any type.
        count: How many boxes there are.
        width: Of the image, px.
        height: Of the image, px.

    Raises:
        ArgumentError: They are no such arrays, or not as many as the boxes.
    """
    if not isinstance(masks, Iterable) or isinstance(masks, Mapping | str | bytes):
        message = f"masks is of type {type(masks).__name__}; {MASKS}."
        raise ArgumentError(message)
    given = list(masks)
    if len(given) != count:
        shape = tuple(getattr(masks, "shape", ()))
        alone = shape == (height, width)
        seen = f"one mask of shape {shape}" if alone else f"{len(given)} masks"
        message = f"masks holds {seen} for {count} boxes; {MASKS}, one for each box in order."
        raise ArgumentError(message)
    return [
        _checked_mask(mask, f"masks[{index}]", width, height) for index, mask in enumerate(given)
    ]


def _checked_mask(given: object, name: str, width: int, height: int) -> NDArray[np.bool_]:
    mask = _as_array(given, name, MASKS)
    if mask.dtype.kind not in "biuf":
        what = type(given).__name__ if mask.ndim == 0 else f"dtype {mask.dtype}"
        message = f"{name} is of {what}; {MASKS}."
        raise ArgumentError(message)
    if mask.shape != (height, width):
        message = (
            f"{name} has shape {mask.shape}, but the image has {(height, width)} (height, width); "
            f"{MASKS}."
        )
        raise ArgumentError(message)
    if mask.dtype.kind == "b":
        return mask
    inside = mask != 0
    odd = mask[inside & (mask != 1) & (mask != 255)]
    if odd.size:
        hint = "Probabilities become masks by masks > 0.5, logits by masks > 0"
        message = f"{name} holds {odd[0]:g}; {MASKS}. {hint}, instance 7 of a map by map == 7."
        raise ArgumentError(message)
    return np.asarray(inside)


def _as_array(given: object, name: str, wanted: str) -> NDArray[Any]:
    """What is given as an array; tensors and nested lists are taken, too."""
    try:
        return np.asarray(given)
    except ValueError as error:
        message = f"{name} has rows of different lengths; {wanted}."
        raise ArgumentError(message) from error
    except (TypeError, RuntimeError) as error:
        # A tensor on a GPU, or one that knows its gradient.
        message = (
            f"{name} is of type {type(given).__name__} and cannot be read as an array ({error}); "
            f"{wanted}. A tensor becomes one by .detach().cpu().numpy()."
        )
        raise ArgumentError(message) from error


def _box_problem(box_xyxy: list[float], width: int, height: int) -> str | None:
    x0, y0, x1, y1 = box_xyxy
    if not np.isfinite(box_xyxy).all():
        return "holds a NaN or infinite number"
    if x1 < x0 or y1 < y0:
        return "ends before it begins; is it x, y, width, height? Wanted x0, y0, x1, y1"
    reach = max(-x0, -y0, x1 - width, y1 - height)
    inside = min(x1, width) > max(x0, 0) and min(y1, height) > max(y0, 0)
    if reach > ALLOWED_OVERHANG + ROUNDING or not (inside or x0 == x1 or y0 == y1):
        seen = f"reaches {reach:.6g} px over the border of" if inside else "lies wholly outside"
        return (
            f"{seen} the image of {width} x {height} px (width x height); up to "
            f"{ALLOWED_OVERHANG:g} px are clipped"
        )
    return None
