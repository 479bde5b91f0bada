"""Masks of many annotations at once: which are there, what is wrong, where they lie.

Sound masks pass in a few numpy operations per thousand annotations; an entry that looks
unusual goes through the exact reader by itself, which also finds the words.
"""

import reprlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.validation import column
from mal_core.errors import MaskError
from mal_core.geometry.box_forms import CORNERS, TO_XYWH, XYWH, FormEvidence
from mal_core.geometry.mask_forms import (
    MAX_IMAGE_PIXELS,
    MIN_POLYGON_NUMBERS,
    MaskForm,
    mask_form,
    read_mask,
)
from mal_core.geometry.masks import segmentation_to_rle
from mal_core.geometry.misfits import ENCLOSED, REACHING, num_enclosing, reach_far
from mal_core.geometry.runs import compressed_runs_fit, numbers_of, plain_runs_fit, starts_of
from mal_core.geometry.short_parts import without_short_parts

Entry = Mapping[str, Any]
Floats = NDArray[np.float64]
Label = Callable[[int], str]

NO_AREA = "annotations have no area, or 0: that of the mask is taken"
NO_CROWD = "annotations have no iscrowd, as in LVIS: they are objects, not crowds"
CROWD_FORM = "annotations have true, false, 0.0 or 1.0 as iscrowd: it is taken as 0 or 1"
NO_POINTS = "masks are shorter than three points or empty: they are no masks"
SHORT_PARTS = "masks have parts of fewer than three points, which are left out"
NO_PIXELS = "masks cover no pixel (all ground, or points on a line): nothing can match them"
IGNORED = (
    "annotations have ignore=1, which mmdet alone would leave out: they are objects like all "
    "others; iscrowd=1 keeps one out of trainings and scores"
)
LONGEST_DRAWN = 512
"""Px: a longer thin polygon is taken as a mask, since drawing many of them takes minutes."""
BESIDE = 1.0
"""Px between a mask and its box that rounding explains."""
LEAST_BOX_IOU = 0.2
"""Of masks with their boxes on average; eroded ones still have 0.5, those of another file 0.05."""
SHARE_BOX = 4.0
"""Px: a box larger than this with a polygon inside one pixel means shares of the size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCensus:
    """Which annotations of a file carry a mask; the masks themselves are gone.

    Attributes:
        num_masks: Non-crowd annotations with a usable mask.
        without: Ids of non-crowd annotations with a box of positive size and no mask:
            polygons of fewer than three points are none, as mmdet drops them too.
        problems: Masks that are there and wrong.
        unusual: What pycocotools or mmdet would stumble over, counted by what it is.
        notes: What else a user would want to know, counted likewise.
    """

    num_masks: int
    without: tuple[object, ...]
    problems: tuple[str, ...] = ()
    unusual: Mapping[str, int]
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether masks can stand for the boxes of the file."""
        return self.num_masks > 0 and not self.without and not self.problems


class MaskTable:
    """Takes the annotations of a file, some at a time.

    Args:
        label: How messages call an entry.
    """

    def __init__(self, label: Callable[[int, Entry], str]) -> None:
        self._label = label
        self._num_masks = 0
        self._without: list[object] = []
        self._problems: list[str] = []
        self._first = 0
        self._unusual: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._evidence = FormEvidence()

    def add(
        self,
        first: int,
        entries: Sequence[Entry],
        boxes_xywh: Floats,
        sizes_wh: Floats,
        *,
        only_numbers: bool = False,
    ) -> None:
        """Take entries whose boxes are sound.

        Args:
            first: Place of the first one in its list.
            boxes_xywh: Their boxes, px, shape (N, 4).
            sizes_wh: Width and height of their images, px, shape (N, 2).
            only_numbers: Their text has no texts, no `true`, no `false` and no `null`.
        """
        self._first = first
        masks = column(entries, "segmentation")
        found, cut = _quick_extents(masks, sizes_wh, only_numbers)
        found[_is_beside(found, boxes_xywh)] = np.nan
        # The exact reader counts those that it sees itself.
        self._unusual[SHORT_PARTS] += int((cut & np.isfinite(found[:, 0])).sum())
        sound = (np.isfinite(found[:, 0]) & ~cut).tolist()
        several = [
            m for m, ok in zip(masks, sound, strict=True) if ok and type(m) is list and m[1:]
        ]
        self._notes[ENCLOSED] += num_enclosing(several)
        for index in np.flatnonzero(np.isnan(found[:, 0])).tolist():
            label = self._label(first + index, entries[index])
            found[index] = self._exact(label, masks[index], boxes_xywh[index], sizes_wh[index])
        self._count(entries, found, boxes_xywh)

    def census(self, *, federated: bool = False) -> MaskCensus:
        """What was seen; in a file of LVIS `ignore` has the meaning that lvis-api gives it."""
        if federated:
            del self._unusual[IGNORED]
        problems = list(self._problems) or list(_form_problems(self._evidence))
        return MaskCensus(
            num_masks=self._num_masks,
            without=tuple(self._without),
            problems=tuple(problems),
            unusual=dict(sorted((+self._unusual).items())) if self._num_masks else {},
            notes=dict(sorted((+self._notes).items())),
        )

    def _exact(self, label: str, mask: object, box: Floats, size: Floats) -> Floats:
        """Extent of one mask, xyxy; infinities where there is none or it is wrong.

        NaN where it covers no pixel.
        """
        width, height = (int(side) for side in size)
        try:
            sound = read_mask(mask, height, width)
        except MaskError as error:
            self._problems.append(f"{label} {error}")
            return _WRONG
        if sound is None:
            self._notes[NO_POINTS] += mask not in (None, [], {})
            return _ABSENT
        extent = _extent(sound, height, width)
        if mask_form(mask) is MaskForm.FLAT_POLYGON:
            self._unusual["masks are one flat polygon"] += 1
        elif isinstance(sound, list) and isinstance(mask, list) and len(sound) < len(mask):
            self._unusual[SHORT_PARTS] += 1
        problem = _place_problem(extent, box, is_polygon=isinstance(sound, list))
        if problem is not None:
            self._problems.append(f"{label} {problem}")
            return _WRONG
        if not coco_mask.area(segmentation_to_rle(sound, height, width)):
            self._notes[NO_PIXELS] += 1
            return _BLANK
        return extent

    def _count(self, entries: Sequence[Entry], found: Floats, boxes_xywh: Floats) -> None:
        crowds, areas = column(entries, "iscrowd"), column(entries, "area")
        crowd = np.array([bool(one) for one in crowds], bool)
        there = np.isfinite(found[:, 0])
        absent = found[:, 0] == np.inf
        has_size = (boxes_xywh[:, 2:] > 0).all(1)
        self._num_masks += int((there & ~crowd).sum())
        self._without += [
            entries[index].get("id") for index in np.flatnonzero(absent & ~crowd & has_size)
        ]
        self._unusual["crowds have no mask: their boxes stand for them"] += int(
            (absent & crowd & has_size).sum()
        )
        self._unusual["objects have neither size nor mask"] += int((absent & ~has_size).sum())
        self._count_fields(entries, crowds, areas, there)
        judged = there & ~crowd & has_size
        self._notes[REACHING] += int(reach_far(found[judged], boxes_xywh[judged]).sum())
        self._evidence.add_masks(found[judged], boxes_xywh[judged])
        bare = np.flatnonzero(absent & ~crowd & has_size).tolist()
        self._evidence.add_areas([areas[i] for i in bare], boxes_xywh[bare])

    def _count_fields(
        self,
        entries: Sequence[Entry],
        crowds: Sequence[Any],
        areas: Sequence[Any],
        there: NDArray[np.bool_],
    ) -> None:
        """Look at what stands beside a mask and both libraries compute with."""
        self._unusual[IGNORED] += sum("ignore" in one and bool(one["ignore"]) for one in entries)
        numbers = {*map(type, areas)} <= {int, float}
        if {*map(type, crowds)} == {int} and numbers and min(areas) > 0 and max(areas) < np.inf:
            return
        for index, (entry, area) in enumerate(zip(entries, areas, strict=True)):
            if area is None or (type(area) in (int, float) and area == 0):
                # An object without a mask trains and scores nothing, whatever its area.
                self._unusual[NO_AREA] += bool(there[index] or entry.get("iscrowd"))
            elif there[index] and (type(area) not in (int, float) or not 0 <= area < np.inf):
                self._problems.append(
                    f"{self._label(self._first + index, entry)} has area={reprlib.repr(area)}, "
                    "but it must be a number of pixels. Correct or drop the value."
                )
            if "iscrowd" not in entry:
                self._unusual[NO_CROWD] += 1
            elif type(entry["iscrowd"]) is not int:
                self._unusual[CROWD_FORM] += 1


def _form_problems(evidence: FormEvidence) -> Iterator[str]:
    """Whether masks and areas say that boxes are written in another way, in words."""
    means = evidence.mean_ious
    best, own = max(means, key=means.__getitem__), means[XYWH]
    if evidence.masks_say(best):
        yield (
            f"its boxes look like {best}, but COCO wants {XYWH}: with the boxes around its masks "
            f"they have a mean IoU of {means[best]:.2f} if read so, else of {own:.2f}. "
            f"{TO_XYWH[best]}"
        )
    elif own < LEAST_BOX_IOU:
        yield (
            f"its masks are not where its boxes are: the boxes around them have a mean IoU of "
            f"{own:.2f} with the boxes of the same annotations. Are both in px of the same images?"
        )
    if evidence.areas_say_corners():
        yield (
            f"its boxes look like {CORNERS}, but COCO wants {XYWH}: if read so they have the "
            f"`area` that all {evidence.num_areas} of them state. {TO_XYWH[CORNERS]}"
        )


_ABSENT, _WRONG, _BLANK = (np.full(4, value) for value in (np.inf, -np.inf, np.nan))


def _extent(sound: Any, height: int, width: int) -> Floats:
    """Xyxy of a mask in px; NaN for an RLE without a pixel."""
    if isinstance(sound, list):
        numbers = np.array(list(chain.from_iterable(sound)), np.float64).reshape(-1, 2)
        return np.concatenate([numbers.min(0), numbers.max(0)])
    x, y, w, h = coco_mask.toBbox(segmentation_to_rle(sound, height, width))
    return np.array([x, y, x + w, y + h]) if w > 0 and h > 0 else _BLANK


def _place_problem(extent: Floats, box: Floats, *, is_polygon: bool) -> str | None:
    shown = [float(value) for value in box]
    if is_polygon and extent[2:].max() <= 1 and extent.min() >= 0 and box[2:].max() > SHARE_BOX:
        return (
            "has a mask with coordinates from 0 to 1, which are shares of the image's size; COCO "
            "wants px. Multiply x by the width and y by the height."
        )
    if not _is_beside(extent[None], box[None])[0]:
        return None
    x0, y0, x1, y1 = extent
    return (
        f"has a mask from x={x0:g} to {x1:g} and y={y0:g} to {y1:g} px, which is beside its "
        f"bbox={shown}. Correct one of them or drop the annotation."
    )


def _is_beside(found: Floats, boxes_xywh: Floats) -> NDArray[np.bool_]:
    """Whether a mask does not touch its box, or lies within one pixel where the box does not."""
    low, high = boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]
    apart = (found[:, :2] > high + BESIDE) | (found[:, 2:] < low - BESIDE)
    shares = (found[:, 2:] <= 1).all(1) & (boxes_xywh[:, 2:].max(1, initial=0) > SHARE_BOX)
    return np.asarray(apart.any(1) | shares)


def _quick_extents(
    masks: Sequence[object], sizes_wh: Floats, only_numbers: bool
) -> tuple[Floats, NDArray[np.bool_]]:
    """Extent of each mask that is sound beyond doubt, xyxy, (N, 4); NaN elsewhere.

    Also which of them have parts of fewer than three points, which are left out, (N,).
    """
    found, cut = np.full((len(masks), 4), np.nan), np.zeros(len(masks), bool)
    lists = [i for i, mask in enumerate(masks) if type(mask) is list and mask]
    small = sizes_wh.prod(1) <= MAX_IMAGE_PIXELS
    whole, cut[lists] = without_short_parts(
        [masks[i] for i in lists], sizes_wh[lists], only_numbers
    )
    found[lists] = _polygon_extents(whole, sizes_wh[lists], only_numbers)
    runs = [i for i, mask in enumerate(masks) if type(mask) is dict and small[i]]
    found[runs] = _rle_extents([masks[i] for i in runs], sizes_wh[runs])
    found[~small] = np.nan
    return found, cut


def _polygon_extents(masks: Sequence[Any], sizes_wh: Floats, only_numbers: bool) -> Floats:
    found = np.full((len(masks), 4), np.nan)
    good, chosen = list(range(len(masks))), masks
    if {*map(type, chain.from_iterable(masks))} != {list}:
        good = [i for i, mask in enumerate(masks) if all(type(part) is list for part in mask)]
        chosen = [masks[i] for i in good]
    if not good:
        return found
    parts = list(chain.from_iterable(chosen))
    lengths = np.array([*map(len, parts)])
    values = numbers_of(parts, only_numbers) if lengths.all() else None
    if values is None and len(good) > 1:
        rows = [
            _polygon_extents([mask], size[None], only_numbers)
            for mask, size in zip(masks, sizes_wh, strict=True)
        ]
        return np.concatenate(rows)
    if values is None:
        return found
    counts = np.array([*map(len, chosen)])
    found[good] = _merged_extents(chosen, values, lengths, counts, sizes_wh[good])
    return found


def _merged_extents(
    masks: Sequence[Any],
    values: Floats,
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    sizes_wh: Floats,
) -> Floats:
    """Extents of masks of one or more polygons each, NaN where one of these is unusual.

    NaN as well where none of them covers a pixel.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    bad = np.zeros(len(counts), bool)
    bad[owner[(lengths % 2 == 1) | (lengths < MIN_POLYGON_NUMBERS)]] = True
    first = np.concatenate([[0], np.cumsum(np.add.reduceat(lengths, starts_of(counts)))[:-1]])
    if (lengths % 2 == 1).any():  # x and y change places behind it
        keep = np.repeat(~bad, np.add.reduceat(lengths, starts_of(counts)))
        found = np.full((len(counts), 4), np.nan)
        whole = ~bad[owner]
        if whole.any():
            sound = [mask for mask, wrong in zip(masks, bad, strict=True) if not wrong]
            found[~bad] = _merged_extents(
                sound, values[keep], lengths[whole], counts[~bad], sizes_wh[~bad]
            )
        return found
    points = values.reshape(-1, 2)
    low = np.minimum.reduceat(points, first // 2)
    high = np.maximum.reduceat(points, first // 2)
    reach = sizes_wh.max(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        near = (low >= -reach).all(1) & (high <= sizes_wh + reach).all(1)
    found = np.concatenate([low, high], axis=1)
    found[bad | ~near] = np.nan
    with np.errstate(invalid="ignore"):
        side = (high - low).max(1)
        thin = (_largest_areas(points, lengths // 2, counts) <= side) & (side <= LONGEST_DRAWN)
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in np.flatnonzero(thin & np.isfinite(found[:, 0])).tolist():
        by_size[int(sizes_wh[index][1]), int(sizes_wh[index][0])].append(index)
    for size, chosen in by_size.items():
        parts = list(chain.from_iterable(masks[index] for index in chosen))
        # Not their areas: pycocotools has 8 bits for those of a list.
        widths = coco_mask.toBbox(coco_mask.frPyObjects(parts, *size))[:, 2]
        covered = np.add.reduceat(widths, starts_of(counts[chosen]))
        found[np.array(chosen)[covered == 0]] = np.nan
    return found


def _largest_areas(points: Floats, lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """Area of the largest polygon of each mask, px, (N,); of `lengths` points each."""
    starts = starts_of(lengths)
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    x, y = points.T
    with np.errstate(invalid="ignore", over="ignore"):
        doubled = np.add.reduceat(x * y[following] - x[following] * y, starts)
    return np.asarray(np.maximum.reduceat(np.abs(doubled), starts_of(counts)) / 2)


def _rle_extents(masks: Sequence[Any], sizes_wh: Floats) -> Floats:
    found = np.full((len(masks), 4), np.nan)
    sizes = [[int(h), int(w)] for w, h in sizes_wh]
    fits = [mask.get("size") == size for mask, size in zip(masks, sizes, strict=True)]
    for kind, check in ((str, compressed_runs_fit), (list, plain_runs_fit)):
        chosen = [i for i, mask in enumerate(masks) if fits[i] and type(mask.get("counts")) is kind]
        if not chosen:
            continue
        pixels = sizes_wh[chosen].prod(1).astype(np.int64)
        sound = check([masks[i]["counts"] for i in chosen], pixels)
        for i in (chosen[k] for k in np.flatnonzero(sound)):
            rle = masks[i] if kind is str else coco_mask.frPyObjects(masks[i], *sizes[i])
            x, y, w, h = coco_mask.toBbox(rle)
            if w > 0 and h > 0:
                found[i] = x, y, x + w, y + h
    return found
