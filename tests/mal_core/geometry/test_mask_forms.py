"""What a `segmentation` may be, and the sentence for everything else."""

import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.errors import MaskError
from mal_core.geometry.mask_forms import is_mask, mask_problem, read_mask
from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle

HEIGHT, WIDTH = 30, 40
DROP = "Correct or drop the mask."
SQUARE = [5, 4, 15, 4, 15, 12, 5, 12]
NO_RLE = "which is no compressed RLE: characters or runs are impossible, or its end is missing."
FORMS = "but a mask is a list of polygons [[x, y, ...], ...] or RLE with size and counts."


def rle(counts: object, size: object = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


def square() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:12, 5:15] = 1
    return mask


def compressed() -> str:
    return str(coco_mask.encode(np.asfortranarray(square()))["counts"].decode())


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ("text", f"has segmentation='text', {FORMS} Correct or drop it."),
        (5, f"has segmentation=5, {FORMS} Correct or drop it."),
        (True, f"has segmentation=True, {FORMS} Correct or drop it."),
        (
            {"size": [30, 40]},
            f"has segmentation={{'size': [30, 40]}}, {FORMS} Correct or drop it.",
        ),
        (
            rle(3),
            f"has segmentation={{'counts': 3, 'size': [30, 40]}}, {FORMS} Correct or drop it.",
        ),
        ([SQUARE, 7], f"has segmentation=[7], {FORMS} Correct or drop it."),
        (
            [[1, 1, None, 4, 9, 9]],
            f"has a polygon with null for a coordinate, which must be a finite number. {DROP}",
        ),
        (
            [[1, 1, math.nan, 4, 9, 9]],
            f"has a polygon with nan for a coordinate, which must be a finite number. {DROP}",
        ),
        (
            [[1, 1, -math.inf, 4, 9, 9]],
            f"has a polygon with -inf for a coordinate, which must be a finite number. {DROP}",
        ),
        (
            [[1, 1, True, 4, 9, 9]],
            f"has a polygon with True for a coordinate, which must be a finite number. {DROP}",
        ),
        (
            [[1, 1, "8", 4, 9, 9]],
            f"has a polygon with '8' for a coordinate, which must be a finite number. {DROP}",
        ),
        (
            [[1, 1, 8, 4, 9, 9, 7]],
            f"has a polygon of 7 numbers, but points are pairs x, y. {DROP}",
        ),
        (
            [1, 1, 8, 4, 9, 9, 7],
            f"has a polygon of 7 numbers, but points are pairs x, y. {DROP}",
        ),
        (
            [[1, 1, 1e9, 4, 9, 9]],
            f"has a polygon with the coordinate 1e+09, far outside the image of 40 x 30 px. {DROP}",
        ),
        (
            [[1, -90, 8, 4, 9, 9]],
            f"has a polygon with the coordinate -90, far outside the image of 40 x 30 px. {DROP}",
        ),
        (
            [[1, 1], [8, 4], [9, 9]],
            "has a list of points [[x, y], ...] as its mask, but COCO wants the numbers of a "
            "polygon in one list [[x, y, x, y, ...]]. Flatten it.",
        ),
        (
            [rle([1200], (30, 40))],
            "has RLE in a list, as pycocotools encodes arrays of three dimensions. Write the one "
            "in it, or merge several.",
        ),
        (
            [[1, 1, 8, 4, 9, 9], rle([1200], (30, 40))],
            "has RLE in a list, as pycocotools encodes arrays of three dimensions. Write the one "
            "in it, or merge several.",
        ),
        (
            rle([1200], (40, 30)),
            f"has a mask of [40, 30] (height, width) px, but its image has [30, 40]. {DROP}",
        ),
        (
            rle([300], (15, 20)),
            f"has a mask of [15, 20] (height, width) px, but its image has [30, 40]. {DROP}",
        ),
        (
            rle([1200], None),
            f"has a mask of None (height, width) px, but its image has [30, 40]. {DROP}",
        ),
        (
            rle([100, 50]),
            "has an RLE whose counts add up to 150 px, but its image of 40 x 30 px has 1200. "
            f"{DROP}",
        ),
        (
            rle([10**400]),
            "has an RLE whose counts add up to more than 10^20 px, but its image of 40 x 30 px has "
            f"1200. {DROP}",
        ),
        (
            rle([1210, -10]),
            f"has an RLE with -10 among its counts, which must be whole numbers of pixels. {DROP}",
        ),
        (
            rle([600.0, 600]),
            "has an RLE with 600.0 among its counts, which must be whole numbers of pixels. "
            f"{DROP}",
        ),
        (rle("é"), f"has counts='é', {NO_RLE} {DROP}"),
        (rle("o"), f"has counts='o', {NO_RLE} {DROP}"),
        (rle("N"), f"has counts='N', {NO_RLE} {DROP}"),
        (rle("oooooooooo0"), f"has counts='oooooooooo0', {NO_RLE} {DROP}"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_with_the_reason(
    segmentation: object, problem: str
) -> None:
    assert mask_problem(segmentation, HEIGHT, WIDTH) == problem
    with pytest.raises(MaskError):
        segmentation_to_rle(segmentation, HEIGHT, WIDTH)


def test_text_of_bytes_comes_with_the_way_out() -> None:
    problem = mask_problem(rle("b'1111'"), HEIGHT, WIDTH)
    assert problem == (
        "has counts=\"b'1111'\", which is the text of Python bytes. Write "
        "counts.decode('ascii') when exporting."
    )


@pytest.mark.parametrize(
    "segmentation",
    [None, [], {}, [[]], [[], []], [[1, 2, 3, 4]], [1, 2, 3, 4], rle(""), rle([]), rle([], None)],
)
def test_what_is_empty_of_points_and_runs_is_no_mask(segmentation: object) -> None:
    assert read_mask(segmentation, HEIGHT, WIDTH) is None
    assert not is_mask(segmentation)


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        SQUARE,
        [SQUARE, [1, 2, 3, 4]],
        [[1, 2, 3, 4], SQUARE],
        rle([154, 8, *[22, 8] * 9, 768]),
        rle(compressed()),
        rle(compressed().encode()),
    ],
)
def test_every_form_is_the_same_mask(segmentation: object) -> None:
    """A part of four numbers in front would make pycocotools take all parts for boxes."""
    assert is_mask(segmentation)
    np.testing.assert_array_equal(segmentation_to_mask(segmentation, HEIGHT, WIDTH), square())


def test_a_polygon_over_the_border_is_cut_there() -> None:
    over = segmentation_to_mask([[-20, -10, 10, -10, 10, 50, -20, 50]], HEIGHT, WIDTH)
    assert over[:, :10].all()
    assert not over[:, 10:].any()


def test_an_image_of_more_pixels_than_rle_counts_has_no_mask() -> None:
    problem = mask_problem([SQUARE], 10**6, 10**6)
    assert problem == "has a mask in an image of 1000000 x 1000000 px, more than masks can count."
