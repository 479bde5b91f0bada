"""A bake-off looks at rotated boxes along their axes, and shows what came of it in the photo."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.rotated import inside_corners
from mal_core.labelers.bake_off import BakeOff, Entrant
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.registry import DRAWERS
from mal_core.types import BoxDataset
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
