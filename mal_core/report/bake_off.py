"""The page of a bake-off: one file that opens offline, the same objects drawn by each labeler."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from mal_core.data.images.loading import load_image
from mal_core.evaluation.ranking import Truth
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.processes.own_file import own_path
from mal_core.report.gallery import (
    BOX_COLOR,
    CONTEXT,
    HUMAN_COLOR,
    JPEG_QUALITY,
    MASK_COLOR,
    MASK_OPACITY,
)
from mal_core.types import ImageRecord, Rle

TEMPLATE = "bake_off_template.html"
TILE_PX = 190


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One mask, as a JPEG, with the line below it."""

    jpeg: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One object: as it is, and as each labeler drew it."""

    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An object to be shown.

    Attributes:
        image: File of its photo.
        box_xyxy: Its box, px, shape (4,).
        corners: Of its box, which may be rotated, px, shape (4, 2).
        masks: One per labeler; None where it found nothing.
        captions: One per labeler.
        human: Its human mask, where there is one.
    """

    title: str
    image: Path
    record: ImageRecord
    box_xyxy: NDArray[np.float64]
    corners: NDArray[np.float64]
    masks: tuple[Rle | None, ...]
    captions: tuple[str, ...]
    human: Rle | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page says.

    Attributes:
        names: The labelers, in the order of the subjects' masks.
        table: The ranking's numbers as text, a row per labeler, the best first.
        advice: The recommendation.
        truth: What human masks say of the ranking, if they were given.
        subjects: Objects to show.
        notes: What the numbers were made from.
    """

    names: Sequence[str]
    table: Sequence[Mapping[str, str]]
    advice: str
    truth: Truth | None
    subjects: Sequence[Subject]
    notes: Sequence[str]


def write_page(page: Page, output: Path) -> None:
    """Write the page atomically."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template(TEMPLATE).render(
        advice=page.advice,
        table=page.table,
        truth=page.truth,
        names=page.names,
        lines=[_line(subject) for subject in page.subjects],
        notes=page.notes,
    )
    with own_path(output) as temporary:
        temporary.write_text(text)


def _line(subject: Subject) -> Line:
    image = load_image(subject.image)
    plain = Tile(jpeg=_jpeg(image, subject, None, subject.human), caption="box")
    drawn = [
        Tile(jpeg=_jpeg(image, subject, mask, subject.human), caption=caption)
        for mask, caption in zip(subject.masks, subject.captions, strict=True)
    ]
    return Line(title=subject.title, tiles=(plain, *drawn))


def _jpeg(image: NDArray[np.uint8], subject: Subject, mask: Rle | None, human: Rle | None) -> str:
    """The surroundings of a box with its mask, as base64."""
    height, width = subject.record.height, subject.record.width
    around = expand_box(subject.box_xyxy, fixed_margins(CONTEXT))
    x0, y0, x1, y1 = around.clip(0, [width, height, width, height]).tolist()
    scale = TILE_PX / max(x1 - x0, y1 - y0)
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(np.ascontiguousarray(image[y0:y1, x0:x1]), size, interpolation=method)
    if mask is not None:
        inside = _resized(mask, subject.record, (x0, y0, x1, y1), size)
        color = np.array(MASK_COLOR, dtype=np.float32)
        tile[inside] = (1 - MASK_OPACITY) * tile[inside] + MASK_OPACITY * color
        _outline(tile, inside, MASK_COLOR)
    if human is not None:
        _outline(tile, _resized(human, subject.record, (x0, y0, x1, y1), size), HUMAN_COLOR)
    corners = (subject.corners - [x0, y0]) * scale
    inner = np.floor(corners - np.sign(corners - corners.mean(0)) / 2).astype(np.int32)
    cv2.polylines(tile, [inner], isClosed=True, color=BOX_COLOR)
    flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(tile[..., ::-1]), flags)
    return base64.b64encode(encoded.tobytes()).decode()


def _resized(
    mask: Rle, record: ImageRecord, part: tuple[int, int, int, int], size: tuple[int, int]
) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = part
    whole = segmentation_to_mask(mask, record.height, record.width)
    cut = np.ascontiguousarray(whole[y0:y1, x0:x1]).astype(np.float32)
    return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_LINEAR) >= 0.5)


def _outline(
    tile: NDArray[np.uint8], inside: NDArray[np.bool_], color: tuple[int, int, int]
) -> None:
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, color, 1)
