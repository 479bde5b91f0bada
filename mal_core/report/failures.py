"""Where training on pseudo-labels cost most: validation objects, side by side in both arms."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.data.results import read_results
from mal_core.evaluation.masked import MaskedObject, read_masked
from mal_core.report.gallery import GalleryItem, GalleryRow, Painter
from mal_core.types import Rle

SHOWN = 6
TITLES = {"human": "trained on human masks", "pseudo": "trained on pseudo-labels"}
Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The prediction that fits an object best; no mask and 0 where nothing overlaps."""

    rle: Rle | None
    iou: float


def build_failures(
    annotations: Path, images: Path, predictions: Mapping[str, Path], *, shown: int = SHOWN
) -> tuple[GalleryRow, ...]:
    """Objects whose best prediction lost most against the other arm, or fits worst.

    An image's candidates are its best-scored predictions, two for each of its objects of the
    class, so that no object is found by something that nobody would keep.

    Args:
        annotations: Validation file with human masks.
        images: Folder of its photos.
        predictions: Results list by arm; with "human" and "pseudo" the loss between them
            decides, with one arm its own IoU.
        shown: Rows.

    Returns:
        A row per object: the human mask, then one picture per arm.
    """
    objects = [
        dataclasses.replace(each, segmentation=each.rle())
        for each in read_masked(annotations).objects
        if each.has_mask and not each.crowd
    ]
    found = {
        arm: _best(objects, read_results(path, ["segmentation"]))
        for arm, path in predictions.items()
    }
    order = sorted(range(len(objects)), key=lambda index: (_gain(found, index), index))
    painter = Painter(images, {each.annotation_id: each.segmentation for each in objects})
    return tuple(_row(objects[index], found, index, painter) for index in order[:shown])


def _gain(found: Mapping[str, Sequence[Found]], index: int) -> float:
    """What pseudo-labels did better than human masks; alone, how well they did."""
    ours = found["pseudo"][index].iou
    return ours - found["human"][index].iou if "human" in found else ours


def _best(objects: Sequence[MaskedObject], results: Sequence[Entry]) -> list[Found]:
    candidates: dict[tuple[int, int], list[Entry]] = defaultdict(list)
    for result in sorted(results, key=lambda entry: -entry["score"]):
        candidates[result["image_id"], result["category_id"]].append(result)
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for each in objects:
        counts[each.image.image_id, each.category_id] += 1
    found = []
    for each in objects:
        key = each.image.image_id, each.category_id
        rles = [result["segmentation"] for result in candidates[key][: 2 * counts[key]]]
        ious = coco_mask.iou(rles, [each.segmentation], [0])[:, 0] if rles else [0.0]
        place = max(range(len(ious)), key=lambda index: ious[index])
        hit = ious[place] > 0
        found.append(Found(rle=rles[place] if hit else None, iou=float(ious[place])))
    return found


def _row(
    human: MaskedObject, found: Mapping[str, Sequence[Found]], index: int, painter: Painter
) -> GalleryRow:
    items = [GalleryItem(caption="human mask", jpeg=painter.paint(human))]
    for arm, of in found.items():
        best = of[index]
        shown = dataclasses.replace(human, segmentation=best.rle)
        text = "nothing found" if best.rle is None else f"IoU {best.iou:.2f}"
        items.append(GalleryItem(caption=f"{TITLES[arm]}: {text}", jpeg=painter.paint(shown)))
    title = f"{human.category}, image {human.image.image_id}, annotation {human.annotation_id}"
    return GalleryRow(title=title, items=tuple(items))
