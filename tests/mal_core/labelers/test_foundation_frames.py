"""What labeling promises of foundation models: moved things move masks, kills change no byte."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import mal_core
from mal_core.config.labelers import FOUNDATIONS
from mal_core.labelers.foundations import Foundation
from mal_core.labeling import work as labeling
from tests.builders import write_coco
from tests.mal_core.labelers.test_foundations import foundation, full_masks, iou
from tests.mal_core.labelers.tiny_foundations import SIDE, write_tiny

pytest.importorskip("transformers", reason="the extra `sam` is not installed")

HEIGHT, WIDTH = 96, 128
STAR_BOX = (20.0, 16.0, 60.0, 56.0)
MOVES = [(0, 0), (8, 0), (0, 24), (40, 20), (60, 38)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    return {name: write_tiny(name, root / name) for name in FOUNDATIONS}


def star(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]:
    """A bright star on dark ground, its mask and its box, moved by whole pixels."""
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 9, 20)
    x, y = 40 + dx + radii * np.sin(angles), 36 + dy - radii * np.cos(angles)
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(inside, [np.stack([x, y], 1).round().astype(np.int32)], 1)
    photo = np.where(inside[..., None] > 0, (230, 220, 210), (20, 30, 40)).astype(np.uint8)
    x0, y0, x1, y1 = STAR_BOX
    return photo, inside > 0, (x0 + dx, y0 + dy, x1 + dx, y1 + dy)


def sees_what_is_bright(drawer: Foundation) -> None:
    """Put in place of the decoder: bright pixels of the encoder's input, in the prompted box.

    So a mask is right only if photo and prompt arrive in the same frame, and leaves by the same.
    """
    seen: list[torch.Tensor] = []
    drawer.model.vision_encoder.register_forward_pre_hook(
        lambda _module, args, given: seen.append([*args, given.get("pixel_values")][0]),
        with_kwargs=True,
    )
    real = drawer.model.forward

    def decoded(**given: torch.Tensor) -> object:
        found = real(**given)
        fine = torch.nn.functional.interpolate(seen[-1], scale_factor=4, mode="bilinear")
        bright = fine[0].mean(0) > 0.3
        cells = (torch.arange(4 * SIDE) + 0.5) / 4
        x0, y0, x1, y1 = given["input_boxes"][0].T[..., None]
        rows = ((cells > y0) & (cells < y1))[:, :, None]
        columns = ((cells > x0) & (cells < x1))[:, None, :]
        found.pred_masks = torch.where(rows & columns & bright, 5.0, -5.0)[None, :, None]
        return found

    drawer.model.forward = decoded


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_a_moved_photo_with_its_box_moves_the_mask(folders, name):
    drawer = foundation(name, folders[name], cut_to_box=False)
    sees_what_is_bright(drawer)
    for dx, dy in MOVES:
        photo, wanted, box = star(dx, dy)
        (mask,) = full_masks(drawer, photo, [box])
        assert iou(mask, wanted) > 0.8, (dx, dy)


@pytest.mark.parametrize("name", FOUNDATIONS)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda boxes: boxes + 6,
        lambda boxes: boxes / SIDE,
        lambda boxes: boxes[..., [1, 0, 3, 2]],
        lambda boxes: boxes * WIDTH / SIDE,
    ],
    ids=["shifted", "normalised", "transposed", "unscaled"],
)
def test_a_prompt_in_another_frame_would_be_noticed(folders, name, wrong):
    """The check above fails for each of the mistakes that it is there to find."""
    drawer = foundation(name, folders[name], cut_to_box=False)
    sees_what_is_bright(drawer)
    right = drawer.model.forward
    drawer.model.forward = lambda **given: right(
        **{**given, "input_boxes": wrong(given["input_boxes"])}
    )
    agreement = []
    for dx, dy in MOVES:
        photo, wanted, box = star(dx, dy)
        (mask,) = full_masks(drawer, photo, [box])
        agreement.append(iou(mask, wanted))
    assert min(agreement) < 0.8


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_what_was_killed_continues_with_the_same_bytes(folders, name, tmp_path, monkeypatch):
    monkeypatch.setattr(labeling, "IMAGES_PER_BATCH", 1)
    files = write_coco(tmp_path, num_images=3, with_crowd=True)
    weights = str(folders[name])
    whole = mal_core.load_labeler(labeler=name, weights=weights)
    counted = whole.label_file(files.images, files.annotations, tmp_path / "whole.json")
    assert counted.num_boxes == counted.num_masks + counted.num_crowds + sum(
        counted.num_skipped.values()
    )
    drawn: list[int] = []
    original = Foundation._drawing

    def killed(self: Foundation, *given: object) -> object:
        drawn.append(1)
        if len(drawn) == 4:
            raise _KilledError
        return original(self, *given)

    monkeypatch.setattr(Foundation, "_drawing", killed)
    output = tmp_path / "halves.json"
    with pytest.raises(_KilledError):
        mal_core.load_labeler(labeler=name, weights=weights).label_file(
            files.images, files.annotations, output
        )
    assert not output.exists()
    mal_core.load_labeler(labeler=name, weights=weights).label_file(
        files.images, files.annotations, output
    )
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
    boxes = counted.num_boxes - counted.num_crowds
    assert len(drawn) < 4 + boxes  # what was finished was not drawn again
