"""The two ends of labeling around the network: crops out of a photo, a mask out of logits.

Shape letters: S crop side, G = S/4 side of the logits, H W pixels of a box in its image.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.config import MalConfig, RefinementConfig
from mal_core.data.crops import resize_crop, wrap_crop
from mal_core.geometry.boxes import box_mask_in_crop, expand_box, fixed_margins, pixel_box, size_bin
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.labeling.refinement import refine_logits
from mal_core.quality.beliefs import Beliefs, Tokens
from mal_core.quality.cleaning import clean_mask
from mal_core.quality.evidence import components_of
from mal_core.quality.patch import sigmoid
from mal_core.quality.regression import QualityModel
from mal_core.quality.score import quality_of
from mal_core.types import (
    BoxAnnotation,
    ImageRecord,
    Outcome,
    PseudoLabel,
    Rle,
    SkippedBox,
    SkipReason,
)

SMALLEST_PROBABILITY = 1e-6
CONTEXT = 0.6
"""Growth of the box within which a photo's colors refine its mask, whatever the network saw."""
PixelBox = tuple[int, int, int, int]
Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One crop of a box as the network sees it.

    Attributes:
        crop_xyxy: Crop box in px of the image, may leave it.
        crop: The crop at network size, uint8 RGB, (S, S, 3).
    """

    crop_xyxy: NDArray[np.int64]
    crop: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxViews:
    """A box waiting for its mask: its views, the widest one first, and its photo.

    Attributes:
        others_xyxy: The other boxes of the photo in px, shape (N, 4).
    """

    annotation: BoxAnnotation
    record: ImageRecord
    image: NDArray[np.uint8]
    views: tuple[View, ...]
    others_xyxy: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a network makes of one view.

    Attributes:
        logits: Float32, shape (G, G).
        unaware: Those of before anyone told it where the box lies, shape (S/4, S/4); None: nobody
            has.
        features: Of its encoder, shape (E, h, w); None: not known.
        unlike: How unlike the training crops it is (see `FamiliarCrops`); None: not known.
    """

    logits: Map
    unaware: Map | None = None
    features: Map | None = None
    unlike: float | None = None


def views_of(photo: Photo, config: MalConfig) -> Iterator[BoxViews]:
    """Cut every view of every box from a photo, which is decoded once.

    Raises:
        DatasetError: The photo is absent or cannot be decoded.
    """
    image = photo.pixels()
    side = config.label_crop_size or config.crop_size
    expansions = sorted({config.test_expansion, *config.extra_expansions}, reverse=True)
    corners = corners_of(photo.boxes)
    for index, annotation in enumerate(photo.boxes):
        crops_xyxy = [expand_box(corners[index], fixed_margins(one)) for one in expansions]
        yield BoxViews(
            annotation=annotation,
            record=photo.record,
            image=image,
            views=tuple(_view(image, crop_xyxy, side) for crop_xyxy in crops_xyxy),
            others_xyxy=np.concatenate([np.delete(corners, index, axis=0), photo.company_xyxy]),
        )


def _view(image: NDArray[np.uint8], crop_xyxy: NDArray[np.int64], side: int) -> View:
    return View(crop_xyxy=crop_xyxy, crop=resize_crop(wrap_crop(image, crop_xyxy), side))


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnMask:
    """The mask of a box before it is scored and encoded.

    Attributes:
        box: The pixels that the box touches.
        mask: The mask at these pixels.
        beliefs: Log-odds relative to the threshold that the mask was cut at.
        dropped: Pixels of stray fragments that are gone (`mal.drop_fragments`).
        filled: Pixels of holes that are mask now (`mal.fill_holes`).
    """

    item: BoxViews
    box: PixelBox
    mask: NDArray[np.bool_]
    beliefs: Beliefs
    dropped: int
    filled: int

    @property
    def rle(self) -> Rle:
        """The mask in its whole image."""
        record = self.item.record
        return crop_mask_to_rle(self.mask, self.box[:2], record.height, record.width)

    def components(self, mask: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """What speaks for and against this mask, or another one of the same box, shape (h, w)."""
        corners = np.array(self.item.annotation.box_xyxy)
        chosen = self.mask if mask is None else mask
        return components_of(self.item.image, corners, chosen, self.item.others_xyxy, self.beliefs)


def draw_mask(item: BoxViews, seen: Sequence[Seen], config: MalConfig) -> DrawnMask:
    """Average the views in the box's own pixels and threshold (spec 6).

    Args:
        item: The box and its views.
        seen: One per view, in the order of `item.views`.
        config: Threshold and refinement.
    """
    annotation, record = item.annotation, item.record
    box = pixel_box(np.array(annotation.box_xyxy), record.height, record.width)
    to_pixels = _official_logits if config.compat_official else resize_logits
    in_box = [
        _cut(to_pixels(one.logits, view.crop_xyxy, annotation.box_xyxy), view.crop_xyxy, box)
        for one, view in zip(seen, item.views, strict=True)
    ]
    network = in_box[0] if len(in_box) == 1 else np.asarray(np.mean(in_box, axis=0))
    final = _refine(item, network, config) if config.refinement.enabled else network
    cut = np.float32(_threshold(annotation.area, config))
    unaware = seen[0].unaware
    beliefs = Beliefs(
        final=final - cut,
        network=network - cut,
        spill=_spill(seen[0].logits if unaware is None else unaware, item, box),
        tokens=_tokens(seen[0], item, box),
        unlike=seen[0].unlike,
    )
    clean = clean_mask(final > cut, fragments=config.drop_fragments, holes=config.fill_holes)
    return DrawnMask(
        item=item,
        box=box,
        mask=clean.mask,
        beliefs=beliefs,
        dropped=clean.dropped,
        filled=clean.filled,
    )


def to_label(drawn: DrawnMask, model: QualityModel) -> Outcome:
    """Score and encode a mask; a box is skipped where there is none."""
    annotation = drawn.item.annotation
    area = int(np.count_nonzero(drawn.mask))
    if area == 0:
        return SkippedBox(
            annotation_id=annotation.annotation_id,
            image_id=annotation.image_id,
            reason=SkipReason.EMPTY_MASK,
        )
    quality = quality_of(drawn.components(), model)
    return PseudoLabel(
        annotation_id=annotation.annotation_id,
        rle=drawn.rle,
        mask_area=area,
        score=quality.score,
        interval=quality.interval,
        components=quality.components,
        dropped=drawn.dropped,
        filled=drawn.filled,
    )


def _tokens(seen: Seen, item: BoxViews, box: PixelBox) -> Tokens | None:
    """The widest view's features, with the place of the box among them."""
    if seen.features is None:
        return None
    crop = item.views[0].crop_xyxy
    scale = np.array(seen.features.shape[:0:-1] * 2) / np.tile(crop[2:] - crop[:2], 2)
    place = (np.array(box) - np.tile(crop[:2], 2)) * scale
    return Tokens(features=seen.features, box_xyxy=place)


def _spill(logits: Map, item: BoxViews, box: PixelBox) -> float:
    """Foreground that the widest view sees in the photo around the box, relative to that in it."""
    crop = item.views[0].crop_xyxy
    grid = logits.shape[0]
    scale = grid / (crop[2:] - crop[:2])
    prob = sigmoid(logits)
    own = np.array(box)
    around = own + np.array([-1, -1, 1, 1])  # a pixel beside a small box is rounding, no spill
    inside, near = (_cells(area, crop, scale, grid) for area in (own, around))
    photo = _cells(np.array([0, 0, item.record.width, item.record.height]), crop, scale, grid)
    in_box = float(prob[inside].sum())
    return max(0.0, float(prob[photo].sum()) - float(prob[near].sum())) / max(in_box, 1.0)


def _cells(
    area_xyxy: NDArray[np.int64],
    crop_xyxy: NDArray[np.int64],
    scale: NDArray[np.float64],
    grid: int,
) -> tuple[slice, slice]:
    """Rows and columns of a crop's grid that lie in an area of the photo."""
    start = np.round((area_xyxy[:2] - crop_xyxy[:2]) * scale).astype(int).clip(0, grid)
    end = np.round((area_xyxy[2:] - crop_xyxy[:2]) * scale).astype(int).clip(0, grid)
    return slice(start[1], end[1]), slice(start[0], end[0])


def _threshold(area: float, config: MalConfig) -> float:
    """The cut for a box of this area in px^2, in log-odds."""
    by_size = config.mask_thresholds
    cut = config.mask_threshold if by_size is None else by_size[int(size_bin(area))]
    return math.log(cut / (1 - cut))


def _refine(item: BoxViews, logits: Map, config: MalConfig) -> Map:
    """Let the colors around the box speak; logits of the box in, logits of the box out."""
    corners = np.array(item.annotation.box_xyxy)
    return refined_in_photo(item.image, item.record, corners, logits, config.refinement)


def refined_in_photo(
    image: NDArray[np.uint8],
    record: ImageRecord,
    box_xyxy: NDArray[np.float64],
    logits: Map,
    config: RefinementConfig,
) -> Map:
    """Log-odds of a box after the colors in it and around it have been heard.

    Args:
        image: RGB, shape (H, W, 3).
        record: Its size.
        box_xyxy: The box in px of the image, shape (4,).
        logits: Log-odds at the pixels that the box touches, shape (h, w).
        config: How loud the colors are.

    Returns:
        Float32, shape (h, w).
    """
    height, width = record.height, record.width
    box = pixel_box(box_xyxy, height, width)
    around_box = expand_box(box_xyxy, fixed_margins(CONTEXT))
    x0, y0, x1, y1 = around_box.clip(0, [width, height, width, height])
    inside = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    around = np.zeros(inside.shape, dtype=np.float32)
    rows, columns = slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0)
    inside[rows, columns] = True
    around[rows, columns] = logits
    pixels = np.ascontiguousarray(image[y0:y1, x0:x1])
    return refine_logits(pixels, around, inside, config)[rows, columns]


def resize_logits(
    logits: Map, crop_xyxy: NDArray[np.int64], _box_xyxy: Sequence[float] = ()
) -> Map:
    """Logits of a crop at the crop's size in its image.

    Enlarging interpolates logits; shrinking averages probabilities, so that no
    thin part is stepped over.

    Args:
        logits: Float32, shape (G, G).
        crop_xyxy: The crop in px of the image, shape (4,).

    Returns:
        Float32, shape (y1 - y0, x1 - x0), one value per px of the image.
    """
    width, height = (int(value) for value in crop_xyxy[2:] - crop_xyxy[:2])
    side = logits.shape[0]
    if width < side and height < side:
        prob = cv2.resize(sigmoid(logits), (width, height), interpolation=cv2.INTER_AREA)
        return _logit(prob)
    return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))


def _official_logits(logits: Map, crop_xyxy: NDArray[np.int64], box_xyxy: Sequence[float]) -> Map:
    """The reference's order: probabilities at S x S, times the box mask, then the crop's size.

    For crops larger than S the box mask is blurred with the rest (spec Q33); the ring
    outside the box is cut off here, as no mask of ours may leave its box.
    """
    width, height = (int(value) for value in crop_xyxy[2:] - crop_xyxy[:2])
    side = 4 * logits.shape[0]
    prob = sigmoid(cv2.resize(logits, (side, side), interpolation=cv2.INTER_LINEAR))
    prob *= box_mask_in_crop(np.array(box_xyxy), crop_xyxy, side) > 0
    return _logit(cv2.resize(prob, (width, height), interpolation=cv2.INTER_LINEAR))


def _cut(values: Map, crop_xyxy: NDArray[np.int64], box: PixelBox) -> Map:
    """The part of a crop that lies in the box; both in px of the image."""
    x0, y0 = int(crop_xyxy[0]), int(crop_xyxy[1])
    return values[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0]


def _logit(prob: Map) -> Map:
    prob = prob.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(np.log(prob / (1 - prob)), dtype=np.float32)
