"""Masks that are there already, made better; all else in their file as it was."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.commands.cli import main
from mal_core.errors import DatasetError
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.labelers import refined_file
from mal_core.labelers.recipes import labeler_recipe
from mal_core.labelers.refined_file import refine_file
from mal_core.labelers.refining import Refiner, mask_log_odds
from tests.mal_core.labelers.test_mal import write_checkpoint
from tests.mal_core.labelers.test_scoring import write_labels

RECIPE = labeler_recipe("cpu")


def iou_of(entry: dict[str, object], truth: np.ndarray) -> float:
    mask = segmentation_to_mask(entry["segmentation"], *truth.shape) > 0
    return float((mask & truth).sum() / (mask | truth).sum())


def disk(left: int) -> np.ndarray:
    y, x = np.mgrid[:100, :160]
    return np.hypot(y - 50, x - left - 30) < 30


def rough_labels(folder: Path) -> Path:
    """The masks of `write_labels`, the right one with a bite; and a box without a mask."""
    path = write_labels(folder)
    content = json.loads(path.read_text())
    first, _, crowd = content["annotations"]
    bitten = disk(10)
    bitten[20:45, 30:70] = False
    first["segmentation"] = mask_to_rle(bitten)
    empty = {**crowd, "id": 4, "iscrowd": 0, "bbox": [5, 5, 20, 20], "segmentation": []}
    outside = {**empty, "id": 5, "segmentation": [[100, 80, 120, 80, 120, 95]]}
    content["annotations"] += [empty, outside]
    content["info"] = {"year": 2026}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return rough_labels(tmp_path)


def test_wrong_masks_move_to_the_edges_and_every_annotation_is_accounted_for(labels, tmp_path):
    output = tmp_path / "out.json"
    found = refine_file(labels, tmp_path / "images", output, mal=RECIPE)
    old, new = (json.loads(path.read_text()) for path in (labels, output))
    bitten, filled, crowd, empty, outside = new["annotations"]
    assert iou_of(bitten, disk(10)) > iou_of(old["annotations"][0], disk(10)) + 0.05
    assert iou_of(filled, disk(80)) > iou_of(old["annotations"][1], disk(80)) + 0.05
    assert [crowd, empty, outside] == old["annotations"][2:]
    changed = {"segmentation", "area", "score", "score_before"}
    changed |= {"score_interval", "score_components"}
    for entry, before in zip((bitten, filled), old["annotations"], strict=False):
        kept = {key: value for key, value in before.items() if key not in changed}
        assert {key: value for key, value in entry.items() if key not in changed} == kept
        assert entry["area"] == segmentation_to_mask(entry["segmentation"], 100, 160).sum()
        assert entry["score"] > entry["score_before"]
    assert new["info"] == old["info"]
    assert (found.refined, found.emptied, found.without, found.crowds) == (2, 1, 1, 1)
    assert found.after > found.before
    assert "annotations 5 = refined 2 + crowds 1" in found.summary()


def test_trust_holds_a_mask_where_it_is(labels, tmp_path):
    moved = []
    for trust in (0.2, 0.97):
        refine_file(labels, tmp_path / "images", tmp_path / "o.json", mal=RECIPE, trust=trust)
        old, new = (json.loads(p.read_text())["annotations"] for p in (labels, tmp_path / "o.json"))
        given = segmentation_to_mask(old[1]["segmentation"], 100, 160) > 0
        moved.append(1 - iou_of(new[1], given))
    assert moved[0] > moved[1] + 0.05


def test_a_mask_is_surest_far_from_its_outline():
    mask = np.zeros((40, 40), bool)
    mask[:, :20] = True
    odds = mask_log_odds(mask, 0.5)
    assert (np.diff(odds[:, 10:], axis=1) <= 0).all()
    assert odds[5, 19] > 0 > odds[5, 20]
    assert odds.max() == -odds.min() == 3
    filled = mask_log_odds(np.ones((40, 40)), 0.5)
    assert filled[20, 20] == 3
    assert 0 < filled[0].max() < 1
    assert (mask_log_odds(np.zeros((3, 3)), 0.5) < 0).all()


def test_a_killed_call_continues_with_the_same_bytes(labels, tmp_path, monkeypatch):
    photo = cv2.imread(str(tmp_path / "images" / "a.png"))
    content = json.loads(labels.read_text())
    for number in range(2, 12):  # more than a batch of photos
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), photo)
        content["images"].append(
            {**content["images"][0], "id": number, "file_name": f"{number}.png"}
        )
        entry = {**content["annotations"][1], "id": 100 + number, "image_id": number}
        content["annotations"].append(entry)
    labels.write_text(json.dumps(content))
    images, whole, halves = tmp_path / "images", tmp_path / "whole.json", tmp_path / "halves.json"
    refine_file(labels, images, whole, mal=RECIPE)
    seen: list[int] = []
    original = Refiner._outcome

    def killed(self, image, record, box, *rest):
        seen.append(box.annotation_id)
        if len(seen) == 11:
            raise KeyboardInterrupt
        return original(self, image, record, box, *rest)

    monkeypatch.setattr(Refiner, "_outcome", killed)
    with pytest.raises(KeyboardInterrupt):
        refine_file(labels, images, halves, mal=RECIPE)
    assert not halves.exists()
    refine_file(labels, images, halves, mal=RECIPE)
    assert halves.read_bytes() == whole.read_bytes()
    assert len(seen) < 2 * 13  # the first batch was not done again
    assert not list(tmp_path.glob(".*.refining"))


def test_the_command_asks_the_network_too(labels, tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path)
    data = [f"pseudo_labels={labels}", f"images={tmp_path / 'images'}"]
    told = [*data, f"workdir={tmp_path / 'w'}", f"store={tmp_path / 's'}", "mal.label_crop_size=64"]
    alone, both = tmp_path / "alone.json", tmp_path / "both.json"
    assert main(["refine", *told, f"output={alone}"]) == 0
    assert "mean score before" in capsys.readouterr().out
    assert main(["refine", *told, f"output={both}", f"checkpoint={checkpoint}"]) == 0
    masks = [json.loads(path.read_text())["annotations"][0] for path in (alone, both)]
    assert masks[0]["segmentation"] != masks[1]["segmentation"]


def test_what_cannot_be_refined_is_refused_in_a_sentence(labels, tmp_path, capsys):
    assert main(["refine", f"pseudo_labels={labels}", f"images={tmp_path}"]) == 2
    assert "needs pseudo_labels=FILE images=DIR output=FILE" in capsys.readouterr().err
    given = [f"pseudo_labels={labels}", f"images={tmp_path / 'images'}"]
    assert main(["refine", *given, f"output={labels}"]) == 2
    assert main(["refine", *given, f"output={tmp_path / 'o'}", "trust=1"]) == 2
    assert "trust=1.0 is not possible" in capsys.readouterr().err
    none = [*given, f"output={tmp_path / 'o'}", "mal.refinement.enabled=false"]
    assert main(["refine", *none]) == 2
    assert "nothing to refine with" in capsys.readouterr().err
    content = json.loads(labels.read_text())
    content["annotations"][1]["segmentation"] = {"size": [10, 10], "counts": [0, 100]}
    labels.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="annotation 2 has a mask of"):
        refine_file(labels, tmp_path / "images", tmp_path / "o.json", mal=RECIPE)


def test_the_default_of_the_library_is_that_of_the_command():
    from flows.settings import composing

    assert composing.compose([]).trust == refined_file.TRUST


def test_labels_and_a_network_go_together_in_this_verb_only(labels, tmp_path, capsys):
    checkpoint = write_checkpoint(tmp_path)
    given = [f"pseudo_labels={labels}", f"checkpoint={checkpoint}"]
    data = [f"data.train.images={tmp_path / 'images'}", f"data.train.annotations={labels}"]
    assert main(["label", *given, *data, f"workdir={tmp_path / 'w'}"]) == 2
    assert "give no checkpoint with it" in capsys.readouterr().err


def test_masks_of_rotated_boxes_are_refined_along_the_axes_of_the_box(labels, tmp_path):
    content = json.loads(labels.read_text())
    bitten = content["annotations"][0]
    bitten["rotated_box"] = [40, 8, 82, 50, 40, 92, -2, 50]
    bitten["bbox"] = [0, 8, 82, 84]
    labels.write_text(json.dumps(content))
    output = tmp_path / "out.json"
    found = refine_file(labels, tmp_path / "images", output, mal=RECIPE)
    new = json.loads(output.read_text())["annotations"][0]
    assert iou_of(new, disk(10)) > iou_of(bitten, disk(10)) + 0.05
    assert new["rotated_box"] == bitten["rotated_box"]
    assert (found.refined, found.emptied, found.without, found.crowds) == (2, 1, 1, 1)


def test_masks_of_humans_are_not_refined(labels, tmp_path):
    content = json.loads(labels.read_text())
    corrected = content["annotations"][0]
    corrected |= {"source": "human", "score": 1.0}
    labels.write_text(json.dumps(content))
    output = tmp_path / "out.json"
    found = refine_file(labels, tmp_path / "images", output, mal=RECIPE)
    new = {ann["id"]: ann for ann in json.loads(output.read_text())["annotations"]}
    assert new[1] == corrected
    assert new[2]["segmentation"] != content["annotations"][1]["segmentation"]
    assert found.summary().startswith(
        "annotations 5 = refined 1 + crowds 1 + without a mask 1 "
        "+ kept, nothing of them lies in their box 1 + kept, of humans 1\n"
    )
