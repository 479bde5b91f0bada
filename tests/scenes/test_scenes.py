"""The embedded dataset: same bytes for a seed, exact boxes, and no gift to any method."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mal_core.evaluation.scores import label_quality
from scenes.draw import draw_scene
from scenes.shapes import SHAPES, draw_shape
from scenes.write import write_scenes


def digest(folder: Path) -> str:
    """SHA-256 over all files of a folder and their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Sixty scenes, so that one image with a crowd is among them."""
    folder = tmp_path_factory.mktemp("drawn") / "scenes"
    write_scenes(folder, num_train=60, num_val=2, size=160, seed=0)
    return folder


def annotations_of(drawn: Path) -> list[dict]:
    """Annotations of the training split."""
    return json.loads((drawn / "train" / "annotations.json").read_text())["annotations"]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_scenes(tmp_path / name, num_train=2, num_val=1, size=96, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_an_existing_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    for num_train in (3, 1):
        write_scenes(tmp_path / "scenes", num_train=num_train, num_val=1, size=64, seed=0)
    assert len(list((tmp_path / "scenes" / "train" / "images").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_boxes_are_tight_around_the_visible_masks(drawn):
    for annotation in annotations_of(drawn):
        mask = coco_mask.decode(annotation["segmentation"])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (columns[0], rows[0])
        assert (x + w, y + h) == (columns[-1] + 1, rows[-1] + 1)
        assert annotation["area"] == mask.sum()


def test_visible_masks_of_one_scene_do_not_overlap(drawn):
    covered: dict[int, np.ndarray] = {}
    for annotation in annotations_of(drawn):
        mask = coco_mask.decode(annotation["segmentation"])
        total = covered.setdefault(annotation["image_id"], np.zeros_like(mask))
        total += mask
    assert max(total.max() for total in covered.values()) == 1


def test_a_ring_has_a_hole():
    coverage = draw_shape(np.random.default_rng(0), "ring", 100, np.array([50.0, 50.0]), 40)
    assert coverage[50, 50] == 0
    assert coverage.max() == 1


def test_nearer_objects_hide_farther_ones():
    scenes = [draw_scene(np.random.default_rng(seed), 160) for seed in range(30)]
    assert any(len(scene.objects) > 1 for scene in scenes)
    assert all(scene.image.shape == (160, 160, 3) for scene in scenes)
    names = {item.name for scene in scenes for item in scene.objects}
    assert names == set(SHAPES)


def test_boxes_say_little_about_masks(drawn):
    human = drawn / "train" / "annotations.json"
    quality = label_quality(human, human)
    assert quality.box_fill.all < 0.55
    assert quality.ellipse.all < 0.62


def test_colour_alone_does_not_tell_objects_from_ground(drawn):
    """Textures vary more inside objects and ground than a threshold could separate."""
    content = json.loads((drawn / "train" / "annotations.json").read_text())
    spreads = []
    for annotation in content["annotations"]:
        record = content["images"][annotation["image_id"] - 1]
        image = cv2.imread(str(drawn / "train" / "images" / record["file_name"]))
        mask = coco_mask.decode(annotation["segmentation"]) > 0
        spreads.append(image[mask].std(0).mean())
    assert np.median(spreads) > 8


def test_the_files_are_complete_coco_and_hold_a_crowd(drawn):
    coco = COCO(str(drawn / "train" / "annotations.json"))
    assert {"info", "licenses", "images", "categories", "annotations"} <= coco.dataset.keys()
    assert len(coco.getAnnIds(iscrowd=True)) == 1
    assert all(isinstance(a["segmentation"]["counts"], str) for a in annotations_of(drawn))
