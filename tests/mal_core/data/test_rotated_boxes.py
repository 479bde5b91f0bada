"""Rotated boxes in a COCO file: checked, told from upright ones, kept through noise."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mal_core.data.coco import parse_coco, read_boxes, strip_masks
from mal_core.data.crops import TrainBatches
from mal_core.data.inspection.oddities import oddities
from mal_core.data.inspection.repair import repair
from mal_core.data.rotated_boxes import CROSSED
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.formats.detections import detections_to_coco
from mal_core.geometry.rotated import Turn, cross
from mal_core.types import SkipReason
from tests.builders import CATEGORIES
from tests.mal_core.drawn import tiny_mal

DIAMOND = [40.0, 20.0, 70.0, 50.0, 40.0, 80.0, 10.0, 50.0]
AROUND = [10.0, 20.0, 60.0, 60.0]


def written(folder: Path, **changes: Any) -> Path:
    """One image of 100 x 90 px with a rotated and an upright box."""
    common = {"image_id": 1, "category_id": CATEGORIES[0]["id"], "iscrowd": 0}
    rotated = {"id": 7, "bbox": AROUND, "rotated_box": DIAMOND, **common, **changes}
    upright = {"id": 8, "bbox": [1.0, 1.0, 9.0, 9.0], **common}
    image = {"id": 1, "file_name": "a.png", "width": 100, "height": 90}
    path = folder / "boxes.json"
    content = {"images": [image], "annotations": [rotated, upright], "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return path


def problems(path: Path) -> tuple[str, ...]:
    return read_view(path).problems


def test_only_the_box_with_corners_is_rotated(tmp_path):
    view = read_view(written(tmp_path))
    assert view.problems == ()
    rotated, upright = view.dataset(tmp_path).boxes
    assert rotated.corners == tuple(DIAMOND)
    assert rotated.area == pytest.approx(1800)
    assert upright.corners is None
    assert upright.area == 81


@pytest.mark.parametrize(
    "given",
    [
        [1, 2, 3, 4, 5],
        "1 2 3 4 5 6 7 8",
        [1, 2, 3, 4, 5, 6, 7, None],
        [1, 2, 3, 4, 5, 6, 7, True],
        [1, 2, 3, 4, 5, 6, 7, 1e300],
    ],
)
def test_what_is_no_four_corners_is_refused(given, tmp_path):
    (problem,) = problems(written(tmp_path, rotated_box=given))
    assert problem.startswith("annotation 7 has rotated_box=")
    assert "it must be the four corners [x1, y1, x2, y2, x3, y3, x4, y4] in px" in problem


def test_a_box_that_is_not_around_its_corners_is_refused(tmp_path):
    (problem,) = problems(written(tmp_path, bbox=[10.0, 20.0, 60.0, 50.0]))
    assert problem == (
        "annotation 7 has bbox=[10.0, 20.0, 60.0, 50.0], but its rotated_box reaches over "
        "[10.0, 20.0, 60.0, 60.0] of the image. `bbox` is what lies around the rotated box; "
        "correct one of them."
    )


def test_a_box_whose_middle_is_outside_of_its_image_is_refused(tmp_path):
    beyond = [90.0, 20.0, 170.0, 20.0, 170.0, 60.0, 90.0, 60.0]
    path = written(tmp_path, rotated_box=beyond, bbox=[90.0, 20.0, 10.0, 40.0])
    (problem,) = problems(path)
    assert problem == (
        "annotation 7 has a rotated box around (130.0, 40.0), outside of its image of 100 x 90 px. "
        "Are its corners those of a photo of another size? Correct or drop the box."
    )
    repaired = repair(parse_coco(path), {}, need_masks=False)
    assert [change.what for change in repaired.changes] == ["dropped"]


def test_crossed_boxes_are_no_copies_of_one_another(tmp_path):
    path = written(tmp_path)
    content = json.loads(path.read_text())
    square = [10.0, 20.0, 70.0, 20.0, 70.0, 80.0, 10.0, 80.0]
    content["annotations"] += [
        {**content["annotations"][0], "id": 9, "rotated_box": square},
        {**content["annotations"][0], "id": 10, "rotated_box": square},
    ]
    path.write_text(json.dumps(content))
    found = {odd.kind: odd.count for odd in oddities("train", read_view(path))}
    assert found["box-twice"] == 1


def test_detections_may_be_rotated(tmp_path):
    coco = json.loads(written(tmp_path).read_text())
    entry = {"image_id": 1, "category_id": CATEGORIES[0]["id"], "bbox": AROUND, "score": 0.5}
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{**entry, "rotated_box": DIAMOND}, entry]))
    rotated, upright = detections_to_coco(path, coco)["annotations"]
    assert rotated["rotated_box"] == DIAMOND
    assert "rotated_box" not in upright
    path.write_text(json.dumps([{**entry, "rotated_box": [1, 2, 3, 4, 5]}]))
    with pytest.raises(DatasetError, match=r"detection 0 \(counted from 0\) has rotated_box="):
        detections_to_coco(path, coco)


def test_null_means_an_upright_box(tmp_path):
    assert read_view(written(tmp_path, rotated_box=None)).dataset(tmp_path).boxes[0].corners is None


def test_corners_on_a_line_are_a_counted_skip(tmp_path):
    line = [10.0, 20.0, 70.0, 80.0, 70.0, 80.0, 10.0, 20.0]
    view = read_view(written(tmp_path, rotated_box=line))
    (skipped,) = view.skipped
    assert (skipped.annotation_id, skipped.reason) == (7, SkipReason.ZERO_SIZE_BOX)


def test_noise_moves_the_sides_along_the_axes_of_the_box(tmp_path):
    path = written(tmp_path)
    strip_masks(path, tmp_path / "noisy.json", box_noise=0.1, seed=3)
    assert problems(tmp_path / "noisy.json") == ()
    entry = json.loads((tmp_path / "noisy.json").read_text())["annotations"][0]
    before, after = Turn.of(tuple(DIAMOND)), Turn.of(tuple(entry["rotated_box"]))
    assert after.angle == pytest.approx(before.angle, abs=1e-3)
    change = np.abs(np.array(after.size) / before.size - 1)
    assert 0 < change.max() < 0.2


def test_a_training_crop_stands_as_its_box_does(tmp_path):
    image = np.zeros((90, 100, 3), np.uint8)
    cv2.fillConvexPoly(image, np.array(DIAMOND, np.int32).reshape(4, 2), (255, 255, 255))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    dataset = read_boxes(tmp_path, written(tmp_path))
    config = tiny_mal(crop_size=64, batch_size=4, min_box_area=500)
    batch = TrainBatches(dataset, config, seed=0)[0]
    for crop, box_mask, box in zip(
        batch.teacher_image.numpy(), batch.box_mask.numpy(), batch.boxes_xyxy.numpy(), strict=True
    ):
        filled = cv2.resize(crop[..., 0], box_mask.shape[::-1], interpolation=cv2.INTER_AREA) / 255
        assert np.abs(filled - box_mask).mean() < 0.06, "the diamond fills its box, side by side"
        assert (box[2:] - box[:2]) == pytest.approx(np.full(2, 42.43), abs=0.1)


@pytest.mark.parametrize("rotation", [30, 359.5, -12.0])
@pytest.mark.parametrize("odd", [{}, {"area": "x"}])
def test_rectangles_that_cvat_has_turned_are_counted(rotation, odd, tmp_path):
    path = written(tmp_path, rotated_box=None, attributes={"rotation": rotation}, **odd)
    (what,) = read_view(path).notes
    assert what.startswith("boxes have attributes.rotation, as CVAT writes turned rectangles")
    assert read_view(path).notes == {what: 1}


@pytest.mark.parametrize("rotation", [0, 360.0, "30", None, True])
def test_rectangles_that_are_not_turned_are_not(rotation, tmp_path):
    path = written(tmp_path, rotated_box=None, attributes={"rotation": rotation})
    assert read_view(path).notes == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rotated_box": [1, 2]}, "rotated_box is no four corners: without"),
        ({"bbox": [0, 0, 9, 9]}, f"its bbox is not around its rotated_box: bbox={AROUND}"),
        ({"bbox": "?"}, f"its bbox is not around its rotated_box: bbox={AROUND}"),
    ],
)
def test_a_repaired_rotated_box_passes_the_check(changes, why, tmp_path):
    repaired = repair(parse_coco(written(tmp_path, **changes)), {}, need_masks=False)
    assert [change.why for change in repaired.changes] == [why]
    (tmp_path / "boxes.json").write_text(json.dumps(repaired.content))
    assert problems(tmp_path / "boxes.json") == ()


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 1, 3, 2), (1, 0, 2, 3)])
def test_corners_in_the_order_of_a_bow_tie_are_one_box(order, tmp_path):
    points = np.array(DIAMOND).reshape(4, 2)[list(order)]
    view = read_view(written(tmp_path, rotated_box=points.ravel().tolist()))
    box, _ = view.dataset(tmp_path).boxes
    assert box.area == pytest.approx(1800)
    assert not cross(box.corners)
    assert {tuple(one) for one in np.reshape(box.corners, (4, 2))} == set(map(tuple, points))
    assert view.notes[CROSSED] == 1


def test_corners_in_turn_stay_in_their_order(tmp_path):
    backwards = np.array(DIAMOND).reshape(4, 2)[::-1].ravel().tolist()
    view = read_view(written(tmp_path, rotated_box=backwards))
    assert view.dataset(tmp_path).boxes[0].corners == tuple(backwards)
    assert CROSSED not in view.notes
