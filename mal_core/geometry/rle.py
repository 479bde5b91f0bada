"""Encode a mask that is known inside a small box without touching the full image."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.types import Rle


def crop_mask_to_rle(
    mask: NDArray[np.bool_], origin_xy: tuple[int, int], height: int, width: int
) -> Rle:
    """Full-image RLE of a mask given inside a box.

    COCO counts pixels column by column, so every column of the box contributes
    its runs at a fixed offset; the cost does not depend on the size of the image.

    Args:
        mask: Foreground inside the box, shape (h, w).
        origin_xy: Top-left corner of the box in the image, px.
        height, width: Size of the image in px; the box lies inside it.

    Returns:
        Compressed RLE of the image, `str` counts.
    """
    x0, y0 = origin_xy
    rows = mask.shape[0]
    # Columns end to end, each behind one empty pixel, so that every run starts and ends.
    columns = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8))
    flat = cv2.copyMakeBorder(columns, 0, 1, 1, 0, cv2.BORDER_CONSTANT, value=0).ravel()
    column_of, row_of = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows + 1)
    edges = (x0 + column_of) * height + y0 + row_of
    # A run that reaches the bottom of the image continues at the top of the next
    # column: its end and the next start are one position, and both cancel.
    kept = _drop_equal_neighbours(edges)
    counts = np.diff(np.concatenate([[0], kept, [height * width]]))
    uncompressed = {"size": [height, width], "counts": counts.tolist()}
    rle = coco_mask.frPyObjects(uncompressed, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _drop_equal_neighbours(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    same = edges[1:] == edges[:-1]
    keep = np.ones(len(edges), dtype=bool)
    keep[1:] &= ~same
    keep[:-1] &= ~same
    return edges[keep]
