"""A bake-off looks at rotated boxes along their axes, and shows what came of it in the photo."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.rotated import inside_corners
from mal_core.labelers.bake_off import BakeOff, Entrant
from mal_core.labelers.drawing import Drawing, flat
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.registry import DRAWERS
from mal_core.types import BoxAnnotation, BoxDataset
from tests.mal_core.labeling.test_upright import BOXES, HEIGHT, WIDTH, photo


def rotated_dataset(folder: Path) -> BoxDataset:
    photos = [photo(number) for number in (1, 2)]
    boxes = []
    for number, one in enumerate(photos):
        record = dataclasses.replace(one.record, file_name=f"{number}.png")
        photos[number] = dataclasses.replace(one, record=record)
        cv2.imwrite(str(folder / record.file_name), one.pixels()[..., ::-1])
        boxes += [
            dataclasses.replace(
                box, annotation_id=10 * number + box.annotation_id, image_id=record.image_id
            )
            for box in BOXES
        ]
    return BoxDataset(
        annotations_path=folder / "a.json",
        image_root=folder,
        categories=(),
        images=tuple(one.record for one in photos),
        boxes=tuple(boxes),
        skipped=(),
        num_crowds=0,
        num_clipped=0,
    )


class Worthless:
    """A labeler whose masks have nothing to do with what is in the photo."""

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        for box in boxes:
            window = pixel_box(np.array(box.box_xyxy), *image.shape[:2])
            x0, y0, x1, y1 = window
            noise = np.random.default_rng(box.annotation_id).normal(size=(y1 - y0, x1 - x0))
            yield Drawing(window_xyxy=window, logits=flat(noise > 0), confidence=0.5)


def test_a_worthless_labeler_does_not_move_what_is_said_of_the_others(tmp_path):
    dataset = rotated_dataset(tmp_path)
    good = [
        Entrant(name=name, drawer=DRAWERS[name](drawer_recipe(name)))
        for name in ("ellipse", "grabcut")
    ]
    alone = BakeOff(good).run(dataset, 8).evidence
    beside = BakeOff([*good, Entrant(name="noise", drawer=Worthless())]).run(dataset, 8).evidence
    assert len(alone.composite_ious) > 10
    assert np.array_equal(beside.composite_ious[:, :2], alone.composite_ious)
    assert np.array_equal(beside.estimate()[:2], alone.estimate())
    assert beside.estimate()[2] < alone.estimate().min()


def test_masks_of_rotated_boxes_end_where_these_do_and_are_told_apart(tmp_path):
    names = ("box", "ellipse", "grabcut")
    entrants = [Entrant(name=name, drawer=DRAWERS[name](drawer_recipe(name))) for name in names]
    drawn = BakeOff(entrants).run(rotated_dataset(tmp_path), 8)
    assert len(drawn.shown) == 8
    for shown in drawn.shown:
        corners = shown.box.corners
        if corners is None:
            continue
        inside = inside_corners(corners, np.array([0, 0, WIDTH, HEIGHT]))
        box, ellipse, _ = (segmentation_to_mask(mask, HEIGHT, WIDTH) > 0 for mask in shown.masks)
        assert not (box & ~inside).any()
        assert (box & inside).sum() > 0.95 * inside.sum()
        assert 0.7 < (ellipse & inside).sum() / inside.sum() < 0.87, "of a rectangle, pi / 4"
