"""Pseudo-masks drawn over their photos: the best, the median and the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.loading import load_image
from mal_core.evaluation.masked import MaskedObject, masks_by_id, read_masked
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.types import LabelQuality

TILE_PX = 180
CONTEXT = 1.0
"""Total growth of the shown region, as a fraction of the box."""
MASK_COLOR = (255, 90, 40)
BOX_COLOR = (60, 220, 255)
HUMAN_COLOR = (90, 255, 120)
MASK_OPACITY = 0.4
JPEG_QUALITY = 88


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryItem:
    """One drawn object: a JPEG and the line below it."""

    caption: str
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryRow:
    """Objects of one kind."""

    title: str
    items: tuple[GalleryItem, ...]


def build_gallery(
    labeled: Path, images: Path, quality: LabelQuality | None, *, human: Path, per_row: int = 8
) -> tuple[GalleryRow, ...]:
    """Best, median and worst pseudo-masks over their photos.

    Args:
        labeled: Pseudo-label file.
        images: Folder of its photos.
        quality: IoU with human masks decides what is good; without it, the labels'
            own score does.
        human: File with the human masks, whose outlines are drawn when there is a quality.
        per_row: Objects per row.
    """
    labels = [each for each in read_masked(labeled).objects if not each.crowd]
    named = "score" if quality is None else "IoU"
    values = _values(labels, quality)
    ranked = sorted(
        (each for each in labels if each.annotation_id in values),
        key=lambda each: (-values[each.annotation_id], each.annotation_id),
    )
    painter = Painter(images, masks_by_id(human) if quality is not None else {})
    return tuple(
        GalleryRow(
            title=f"{title} {named}",
            items=tuple(
                GalleryItem(
                    caption=f"{each.category}, {named} {values[each.annotation_id]:.2f}",
                    jpeg=painter.paint(each),
                )
                for each in chosen
            ),
        )
        for title, chosen in _choose(ranked, per_row).items()
        if chosen
    )


def _values(labels: Sequence[MaskedObject], quality: LabelQuality | None) -> dict[int, float]:
    if quality is None:
        return {each.annotation_id: each.score for each in labels if each.score is not None}
    ids = (each.annotation_id for each in labels)
    return {key: quality.iou_of[key] for key in ids if key in quality.iou_of}


def _choose(ranked: Sequence[MaskedObject], per_row: int) -> dict[str, Sequence[MaskedObject]]:
    """Disjoint rows from a ranking, best first."""
    per_row = min(per_row, max(len(ranked) // 3, 1))
    if len(ranked) < 3:
        return {"Highest": ranked}
    middle = (len(ranked) - per_row) // 2
    return {
        "Highest": ranked[:per_row],
        "Median": ranked[middle : middle + per_row],
        "Lowest": ranked[-per_row:][::-1],
    }


class Painter:
    """Draws objects over their photos, human outlines beside them.

    Args:
        images: Folder of the photos.
        human_of: Masks in any form, by annotation id.
    """

    def __init__(self, images: Path, human_of: Mapping[int, object]) -> None:
        self.images = images
        self.human_of = human_of

    def paint(self, shown: MaskedObject) -> bytes:
        """The object with some context: mask in orange, box in blue, human outline in green.

        A `segmentation` of None leaves the mask out.
        """
        height, width = shown.image.height, shown.image.width
        x, y, w, h = shown.box_xywh
        box = np.array([x, y, x + w, y + h], dtype=np.float64)
        view = expand_box(box, fixed_margins(CONTEXT)).clip(0, [width, height] * 2)
        window = slice(int(view[1]), int(view[3])), slice(int(view[0]), int(view[2]))
        scale = TILE_PX / max(view[2] - view[0], view[3] - view[1])
        tile = _enlarge(load_image(self.images / shown.image.file_name)[window], scale)
        if shown.segmentation is not None:
            _fill(tile, _enlarge(shown.mask()[window], scale))
        human = self.human_of.get(shown.annotation_id)
        if human is not None:
            _outline(tile, _enlarge(segmentation_to_mask(human, height, width)[window], scale))
        corners = np.round((box - [view[0], view[1]] * 2) * scale).astype(int)
        cv2.rectangle(tile, corners[:2].tolist(), corners[2:].tolist(), BOX_COLOR, 1)
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), options)
        return encoded.tobytes()


def _enlarge(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    method = (
        cv2.INTER_NEAREST if pixels.ndim == 2 else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    return np.ascontiguousarray(cv2.resize(pixels, size, interpolation=method))


def _fill(tile: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    inside = mask > 0
    color = np.array(MASK_COLOR, dtype=np.float32)
    tile[inside] = (tile[inside] * (1 - MASK_OPACITY) + color * MASK_OPACITY).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, MASK_COLOR, 1)


def _outline(tile: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, HUMAN_COLOR, 1)
