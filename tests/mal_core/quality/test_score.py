"""Scores of masks, whoever drew them."""

import numpy as np
import pytest
import torch

import mal_core
from mal_core.quality.beliefs import Beliefs
from mal_core.quality.score import default_model

BOX = np.array([20.0, 10.0, 60.0, 50.0])


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bright disk on a dark ground, and its mask."""
    generator = np.random.default_rng(0)
    image = generator.integers(20, 60, (80, 100, 3), dtype=np.uint8)
    y, x = np.mgrid[:80, :100]
    mask = np.hypot(y - 29.5, x - 39.5) <= 20
    image[mask] = generator.integers(160, 220, (80, 100, 3), dtype=np.uint8)[mask]
    return image, mask


def wrong_masks(mask: np.ndarray) -> dict[str, np.ndarray]:
    inside = np.zeros_like(mask)
    inside[10:50, 20:60] = True
    half = mask.copy()
    half[:, :40] = False
    return {"filled box": inside, "half": half, "ring around": inside & ~mask}


@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_a_right_mask_scores_above_wrong_ones_of_the_same_box(kind):
    image, mask = scene()
    final = np.where(mask[10:50, 20:60], 3, -3).astype(np.float32)
    beliefs = Beliefs(final=final, network=final, spill=0.05)
    known = None if kind == "masks" else [beliefs]
    (right,) = mal_core.score_masks(image, BOX[None], [mask], beliefs=known)
    for name, wrong in wrong_masks(mask).items():
        (found,) = mal_core.score_masks(image, BOX[None], [wrong], beliefs=known)
        assert found.score < right.score - 0.05, name
    assert 0 <= right.interval[0] <= right.score <= right.interval[1] <= 1


def test_an_empty_mask_scores_nothing():
    image, mask = scene()
    empty, full = mal_core.score_masks(image, np.stack([BOX, BOX]), [mask & False, mask])
    assert empty.score == 0
    assert full.score > 0


def test_no_mask_is_no_error():
    image, _ = scene()
    assert mal_core.score_masks(image, np.zeros((0, 4)), []) == []


def test_components_are_enough_to_score_again():
    image, mask = scene()
    (found,) = mal_core.score_masks(image, BOX[None], [mask])
    again = default_model("masks").predict([found.components])[0]
    assert found.score == pytest.approx(float(again), abs=1e-4)


def broken(what: str) -> tuple:
    """Arguments of which one is wrong."""
    image, mask = scene()
    boxes, masks = BOX[None], mask[None]
    wrong: dict[str, tuple] = {
        "float image": (image / 255, boxes, masks),
        "image as tensor": (torch.from_numpy(image), boxes, masks),
        "no image": ("photo.jpg", boxes, masks),
        "xywh": (image, [[60, 50, 40, 30]], masks),
        "outside": (image, [[60, 50, 140, 70]], masks),
        "NaN": (image, [[np.nan, 1, 2, 3]], masks),
        "ragged boxes": (image, [[1, 2, 3, 4], [1, 2]], masks),
        "boxes of words": (image, [["a", "b", "c", "d"]], masks),
        "more boxes": (image, np.stack([BOX, BOX]), masks),
        "one mask": (image, np.stack([BOX, BOX]), mask),
        "other size": (image, boxes, mask[None, ::2, ::2]),
        "turned": (image, boxes, mask.T[None]),
        "probabilities": (image, boxes, masks * 0.5),
        "NaN mask": (image, boxes, np.where(masks, np.nan, 0)),
        "a map": (image, boxes, masks * 7),
        "RLE": (image, boxes, [{"size": [80, 100], "counts": "abc"}]),
        "one RLE": (image, boxes, {"size": [80, 100], "counts": "abc"}),
        "ragged mask": (image, boxes, [[[1, 0], [1]]]),
        "nothing": (image, boxes, None),
        "gradient": (image, boxes, torch.ones(1, 80, 100, requires_grad=True)),
    }
    return wrong[what]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("float image", r"image has dtype float64; wanted .*np\.uint8"),
        ("image as tensor", "image is of type Tensor; wanted an array of RGB"),
        ("no image", "image is of type str"),
        ("xywh", r"box 0 .* x, y, width, height\?"),
        ("outside", r"box 0 .* reaches 40 px over the border of the image of 100 x 80 px"),
        ("NaN", "box 0 .* NaN"),
        ("ragged boxes", "boxes_xyxy has rows of different lengths"),
        ("boxes of words", "boxes_xyxy has dtype <U1"),
        ("more boxes", "masks holds 1 masks for 2 boxes; .* one for each box in order"),
        ("one mask", r"masks holds one mask of shape \(80, 100\) for 2 boxes"),
        ("other size", r"masks\[0\] has shape \(40, 50\), but the image has \(80, 100\)"),
        ("turned", r"masks\[0\] has shape \(100, 80\), but the image has \(80, 100\)"),
        ("probabilities", r"masks\[0\] holds 0\.5; .*masks > 0\.5"),
        ("NaN mask", r"masks\[0\] holds nan"),
        ("a map", r"masks\[0\] holds 7; .*map == 7"),
        ("RLE", r"masks\[0\] is of dict; wanted full-image masks"),
        ("one RLE", "masks is of type dict; wanted full-image masks"),
        ("ragged mask", r"masks\[0\] has rows of different lengths"),
        ("nothing", "masks is of type NoneType"),
        ("gradient", r"masks\[0\] is of type Tensor .*\.detach\(\)\.cpu\(\)"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(what, words):
    with pytest.raises(mal_core.ArgumentError, match=words) as caught:
        mal_core.score_masks(*broken(what))
    assert "\n" not in str(caught.value)


def test_beliefs_are_as_many_as_the_boxes():
    image, mask = scene()
    with pytest.raises(mal_core.ArgumentError, match="beliefs holds 0 for 1 boxes"):
        mal_core.score_masks(image, BOX[None], [mask], beliefs=[])


@pytest.mark.parametrize("form", ["uint8", "255", "float", "tensor", "nested lists"])
def test_one_mask_in_any_form_has_one_score(form):
    image, mask = scene()
    forms = {
        "uint8": mask[None].astype(np.uint8),
        "255": [mask.astype(np.uint8) * 255],
        "float": (mask.astype(np.float32),),
        "tensor": torch.from_numpy(mask)[None],
        "nested lists": [mask.tolist()],
    }
    found = mal_core.score_masks(image, BOX[None], forms[form])
    assert found == mal_core.score_masks(image, torch.from_numpy(BOX)[None], [mask])
