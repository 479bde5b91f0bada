"""Boxes grow where the network is sure, and nowhere else."""

import dataclasses

import numpy as np
import pytest

from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.tightening import REACH, SURROUNDINGS, grown_box
from mal_core.models.labeler import Sight, build_labeler
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal

IMAGE = (200, 160)
OBJECT = (40, 30, 120, 90)


def grown(box: tuple[float, float, float, float], level: float = 5.0) -> list[float]:
    """The box after the network saw the object at this level, and ground everywhere else."""
    corners = np.array(box)
    crop = expand_box(corners, fixed_margins(SURROUNDINGS))
    whole = np.full((400, 400), -5.0, np.float32)
    whole[100 + OBJECT[1] : 100 + OBJECT[3], 100 + OBJECT[0] : 100 + OBJECT[2]] = level
    seen = whole[100 + crop[1] : 100 + crop[3], 100 + crop[0] : 100 + crop[2]]
    return grown_box(seen, crop, corners, IMAGE).tolist()


def test_a_side_that_cuts_the_object_off_moves_to_its_end():
    assert grown((50.0, 30.0, 120.0, 80.0)) == [40, 30, 120, 90]


@pytest.mark.parametrize("box", [OBJECT, (35.5, 20.25, 130.0, 99.0)])
def test_a_box_that_holds_its_object_stays_bit_by_bit(box):
    assert grown(tuple(map(float, box))) == list(map(float, box))


def test_who_is_not_sure_moves_nothing():
    assert grown((50.0, 40.0, 110.0, 80.0), level=1.5) == [50, 40, 110, 80]


def test_no_side_moves_further_than_a_quarter_of_the_box_or_out_of_the_image():
    x0, _, x1, _ = grown((70.0, 30.0, 100.0, 90.0))
    assert (x0, x1) == (70 - int(REACH * 30), 100 + int(REACH * 30))
    crop = np.array([-20, -20, 60, 60])
    sure = np.full((80, 80), 9.0, np.float32)
    assert grown_box(sure, crop, np.array([2.0, 2.0, 38.0, 38.0]), (40, 40)).tolist() == [
        0, 0, 40, 40,
    ]  # fmt: skip


def test_no_box_grows_into_the_box_of_another_object_but_into_one_that_holds_both(
    tmp_path, monkeypatch
):
    dataset, truth = draw_ellipses(tmp_path, 1)
    record, (box,) = dataset.images[0], dataset.boxes
    x0, y0, x1, y1 = box.box_xyxy
    cut = dataclasses.replace(box, box_xyxy=(x0, y0, x1 - round(0.15 * (x1 - x0)), y1))
    beside = dataclasses.replace(box, annotation_id=99, box_xyxy=(cut.box_xyxy[2], y0, x1, y1))
    around = dataclasses.replace(box, annotation_id=99, box_xyxy=(-300.0, -300.0, 500.0, 500.0))
    labeler, _ = build_labeler(TINY_ENCODER, tiny_mal())
    monkeypatch.setattr(MaskWriter, "see", _sees(truth[box.annotation_id], cut.box_xyxy))
    writer = MaskWriter(labeler, tiny_mal(tighten=True, label_batch_size=1))
    ends = [
        next(
            writer.views([Photo(record=record, boxes=(cut, other), source=tmp_path)])
        ).annotation.box_xyxy[2]
        for other in (beside, around)
    ]
    assert ends[0] == cut.box_xyxy[2]
    assert ends[1] == pytest.approx(x1, abs=2)


def test_labeling_draws_in_grown_boxes_where_it_is_asked_to(tmp_path, monkeypatch):
    dataset, truth = draw_ellipses(tmp_path, 1)
    record, (box,) = dataset.images[0], dataset.boxes
    x0, y0, x1, y1 = box.box_xyxy
    cut = dataclasses.replace(box, box_xyxy=(x0, y0, x1 - round(0.15 * (x1 - x0)), y1))
    photo = Photo(record=record, boxes=(cut,), source=tmp_path)
    plain, tight = tiny_mal(), tiny_mal(tighten=True)
    labeler, _ = build_labeler(TINY_ENCODER, plain)
    monkeypatch.setattr(MaskWriter, "see", _sees(truth[box.annotation_id], cut.box_xyxy))
    widths = [
        next(MaskWriter(labeler, config).views([photo])).annotation.box_xyxy[2]
        for config in (plain, tight)
    ]
    assert widths[0] == cut.box_xyxy[2]
    assert widths[1] == pytest.approx(x1, abs=2)


def _sees(mask: np.ndarray, box_xyxy: tuple[float, ...]):
    """A network that knows the object, in the crop around this box."""
    import cv2
    import torch

    def see(self, crops, boxes, box_masks=None) -> Sight:
        crop = expand_box(np.array(box_xyxy), fixed_margins(SURROUNDINGS))
        padded = np.pad(mask.astype(np.float32), 200)
        part = padded[crop[1] + 200 : crop[3] + 200, crop[0] + 200 : crop[2] + 200]
        grid = cv2.resize(part, (64, 64), interpolation=cv2.INTER_AREA)
        logits = torch.from_numpy(grid * 12 - 6)[None]
        return Sight(logits, logits, logits[:, None])

    return see
