"""What a reviewer sees of an object: its part of the photo, and the mask as a layer of its own."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mal_core.data.images.loading import load_image
from mal_core.data.rotated_boxes import corners_of_entry
from mal_core.formats.exports.labeled import LabeledObject
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.geometry.rotated import drawn_corners

CONTEXT = 1.0
"""Total growth of the shown part, as a fraction of the box."""
LEAST_PX = 48
"""Of the photo on each side of a tiny object: what it is can only be seen in its place."""
LARGEST_PX = 720
"""Longer side of a picture; details of larger ones are left out."""
LEAST_LAYER_PX = 500
"""Of the longer side of the mask's layer."""
JPEG_QUALITY = 85
PALETTE = [0, 0, 0, 255, 90, 40, 255, 60, 0]
"""Of a layer, RGB: nothing, mask, outline."""
ALPHAS = bytes([0, 110, 255])
FILL, OUTLINE = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An object in its place.

    Attributes:
        photo: JPEG as a data URL.
        layer: The mask as a PNG of a whole multiple of its size, transparent where it is not; a
            data URL.
        width, height: Of the photo, px.
        box: Corners x, y of the box, which may be rotated, as shares of the picture.
    """

    photo: str
    layer: str
    width: int
    height: int
    box: tuple[tuple[float, float], ...]


class Painter:
    """Cuts objects out of photos; the last photo is kept, since its objects often follow."""

    def __init__(self, images: Path) -> None:
        self.images = images
        self._last: tuple[str, NDArray[np.uint8]] | None = None

    def paint(self, instance: LabeledObject) -> Picture:
        """The picture of an object.

        Raises:
            DatasetError: The photo is absent or cannot be decoded.
        """
        photo = self._photo(str(instance.image["file_name"]))
        x0, y0, x1, y1 = _view(instance)
        scale = min(1.0, LARGEST_PX / max(x1 - x0, y1 - y0))
        size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        crop = cv2.resize(photo[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(instance.mask()[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)
        wide, high = x1 - x0, y1 - y0
        return Picture(
            photo=_jpeg(np.asarray(crop, dtype=np.uint8)),
            layer=_layer(np.asarray(mask, dtype=np.uint8)),
            width=size[0],
            height=size[1],
            box=tuple(((x - x0) / wide, (y - y0) / high) for x, y in _corners(instance)),
        )

    def _photo(self, name: str) -> NDArray[np.uint8]:
        if self._last is None or self._last[0] != name:
            self._last = name, load_image(self.images / name)
        return self._last[1]


def _corners(instance: LabeledObject) -> list[tuple[float, float]]:
    x, y, w, h = (float(value) for value in instance.entry["bbox"])
    corners = drawn_corners((x, y, x + w, y + h), corners_of_entry(instance.entry))
    return [(x, y) for x, y in corners.tolist()]


def _view(instance: LabeledObject) -> tuple[int, int, int, int]:
    """The part of the photo that is shown, whole px, half-open."""
    height, width = instance.size
    x, y, w, h = (float(value) for value in instance.entry["bbox"])
    grown = expand_box(np.array([x, y, x + w, y + h]), fixed_margins(CONTEXT))
    least = np.array([x - LEAST_PX, y - LEAST_PX, x + w + LEAST_PX, y + h + LEAST_PX])
    start = np.minimum(grown[:2], least[:2]).clip(0, [width - 1, height - 1])
    end = np.maximum(grown[2:], least[2:]).clip(1, [width, height])
    x0, y0 = np.floor(start).astype(int).tolist()
    x1, y1 = np.ceil(end).astype(int).tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return _data_url("image/jpeg", encoded.tobytes())


def _layer(mask: NDArray[np.uint8]) -> str:
    # Enlarged, so that the outline of a tiny mask is a line and not half of it.
    times = max(1, -(-LEAST_LAYER_PX // max(mask.shape)))
    mask = mask.repeat(times, axis=0).repeat(times, axis=1)
    solid = cv2.erode(
        mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1
    )
    values = np.where(mask > 0, np.where(solid > 0, FILL, OUTLINE), 0).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette(PALETTE)
    stream = io.BytesIO()
    image.save(stream, format="PNG", transparency=ALPHAS, optimize=True)
    return _data_url("image/png", stream.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
