"""Words to boxes to masks, with detectors of the real classes, small and random, from files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flows.commands import cli
from mal_core.labelers import detecting
from mal_core.labelers.detecting import Detector, main
from tests.mal_core.labelers.tiny_detectors import write_tiny_detector

pytest.importorskip("transformers", reason="the extra `sam` is not installed")

NAMES = ("grounding-dino", "owlv2")
WORDS = ("cat", "dog")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("detectors")
    return {name: write_tiny_detector(name, root / name) for name in NAMES}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "a.png"), pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # held upright: viewers turn it by 90 degrees
    Image.fromarray(pixels).save(folder / "more" / "b.jpg", exif=turned)
    return folder


def arguments(weights: Path, photos: Path, output: Path, **changes: str) -> list[str]:
    given = {"weights": str(weights), "images": str(photos), "output": str(output)}
    given |= {"threshold": "0.01", **changes}
    return [
        *(text for key, value in given.items() for text in (f"--{key}", value)),
        "--words", *WORDS,
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_two_commands_lead_from_words_to_masks(
    name: str, folders: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))
    found, masks = tmp_path / "found", tmp_path / "masks.json"
    assert main(arguments(folders[name], photos, found)) == 0
    status = cli.main(
        [
            "label", "labeler=ellipse", f"boxes={found / 'boxes.json'}",
            f"data.train.images={photos}", f"data.train.annotations={found / 'instances.json'}",
            f"output={masks}", f"workdir={tmp_path / 'work'}",
        ]
    )  # fmt: skip
    assert status == 0
    boxes, labeled = (json.loads(path.read_text()) for path in (found / "boxes.json", masks))
    listed = json.loads((found / "instances.json").read_text())
    assert [one["name"] for one in listed["categories"]] == [*WORDS]
    assert [one["file_name"] for one in listed["images"]] == ["a.png", "more/b.jpg"]
    assert [(one["width"], one["height"]) for one in listed["images"]] == [(90, 60), (60, 90)]
    assert len(boxes) == len(labeled) > 1
    assert [one["bbox"] for one in listed["annotations"]] == [one["bbox"] for one in boxes]
    for box, mask in zip(boxes, labeled, strict=True):
        assert mask["bbox"] == pytest.approx(box["bbox"])
        assert (mask["image_id"], mask["category_id"]) == (box["image_id"], box["category_id"])
        assert mask["segmentation"]["size"] == [[60, 90], [90, 60]][box["image_id"] - 1]


@pytest.mark.parametrize("name", NAMES)
def test_every_word_has_its_own_boxes_and_an_object_has_one(
    name: str, folders: dict[str, Path]
) -> None:
    detector = Detector(str(folders[name]))
    image = np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    both = detector.find(image, WORDS, 0.0)
    alone = [detector.find(image, [word], 0.0) for word in WORDS]
    known = {tuple(box) for one in alone for box in one.boxes_xyxy.tolist()}
    assert known.issuperset(map(tuple, both.boxes_xyxy.tolist()))
    assert len(both.scores) < sum(len(one.scores) for one in alone)
    assert (both.boxes_xyxy >= 0).all()
    assert (both.boxes_xyxy <= [90, 60, 90, 60]).all()
    assert (both.scores[:-1] >= both.scores[1:]).all()
    high = detector.find(image, WORDS, float(np.median(both.scores)))
    assert 0 < len(high.scores) < len(both.scores)


def test_boxes_come_back_in_pixels_of_the_photo(folders: dict[str, Path], monkeypatch) -> None:
    """OWLv2 pads a photo to a square: its boxes are shares of the longer side on both axes."""
    detector = Detector(str(folders["owlv2"]))
    image = np.zeros((60, 90, 3), np.uint8)
    forward = detector.model.forward

    def known(**given):
        outputs = forward(**given)
        outputs.pred_boxes = torch.tensor([[[0.5, 1 / 3, 1.0, 2 / 3]]])
        outputs.logits = torch.full((1, 1, 1), 3.0)
        return outputs

    monkeypatch.setattr(detector.model, "forward", known)
    (box,) = detector.find(image, ["cat"], 0.5).boxes_xyxy
    assert box == pytest.approx([0, 0, 90, 60], abs=0.01)


def test_what_cannot_work_is_one_sentence(
    folders: dict[str, Path], photos: Path, tmp_path: Path, capsys
) -> None:
    def said(*given: str) -> str:
        assert main(list(given)) == 2
        return capsys.readouterr().err

    weights, out = folders["owlv2"], tmp_path / "out"
    none = tmp_path / "none"
    none.mkdir()
    assert "no photo lies there" in said(*arguments(weights, none, out))
    much = arguments(weights, photos, out, threshold=".99999")
    assert "nothing was found in 2 photos" in said(*much)
    assert "wanted different words" in said(*arguments(weights, photos, out), "cat ")
    assert said(*arguments(weights, photos, out), " ") == (
        "--words: one of them is empty. Give what to look for.\n"
    )
    assert "--threshold 3 is not possible" in said(*arguments(weights, photos, out, threshold="3"))
    assert "no name on the hub" in said(*arguments(tmp_path / "absent", photos, out))
    (none / "config.json").write_text('{"model_type": "sam"}')
    assert "has no model.safetensors" in said(*arguments(none, photos, out))
    (none / "model.safetensors").touch()
    assert "a model of type 'sam'; wanted a detector" in said(*arguments(none, photos, out))
    assert not out.exists()


def test_the_module_is_a_command() -> None:
    command = [sys.executable, "-m", detecting.__name__, "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--words" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_phrase_of_more_tokens_than_the_model_reads_is_refused(
    name: str, folders: dict[str, Path], photos: Path, tmp_path: Path, capsys
) -> None:
    phrase = " ".join(["cat"] * 300)
    assert main([*arguments(folders[name], photos, tmp_path / "out"), phrase]) == 2
    told = capsys.readouterr().err
    assert f"--words {phrase!r} is too long: asked as " in told
    limit = {"grounding-dino": 16, "owlv2": 32}[name]  # as tiny_detectors writes them
    assert told.endswith(f"tokens, and this detector reads {limit}. Shorten it.\n")
    assert not (tmp_path / "out").exists()


def test_boxes_of_somebody_else_are_not_replaced(
    folders: dict[str, Path], photos: Path, tmp_path: Path, capsys
) -> None:
    theirs = tmp_path / "out" / "instances.json"
    theirs.parent.mkdir()
    theirs.write_text("{}")
    assert main(arguments(folders["owlv2"], photos, theirs.parent)) == 2
    assert "was not written by `mal`" in capsys.readouterr().err
    assert theirs.read_text() == "{}"


def test_a_detector_with_a_nan_is_refused(
    folders: dict[str, Path], photos: Path, tmp_path: Path, capsys
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders["owlv2"], broken)
    tensors = load_file(broken / "model.safetensors")
    name = max(tensors, key=lambda one: tensors[one].numel())
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    assert main(arguments(broken, photos, tmp_path / "out")) == 2
    assert f"hold a NaN or an infinity in {name}" in capsys.readouterr().err
