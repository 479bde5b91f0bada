"""Boxes and masks out of the wrapping of tables and other tools."""

from typing import Any

import pytest

from mal_core.data.inspection.unpacking import unpacked_box, unpacked_mask

BOX = [4, 5, 20, 16]


@pytest.mark.parametrize(
    "given",
    [
        "[4, 5, 20, 16]",
        [BOX],
        "[[4, 5, 20, 16]]",
        {"x": 4, "y": 5, "w": 20, "h": 16},
        {"height": 16, "width": 20, "x": 4, "y": 5},
        {"left": 4, "top": 5, "width": 20, "height": 16},
        {"xmin": 4, "ymin": 5, "xmax": 24, "ymax": 21},
        {"x_min": 4, "x_max": 24, "y_min": 5, "y_max": 21},
        {"x1": 4, "y1": 5, "x2": 24, "y2": 21},
        {"left": 4, "top": 5, "right": 24, "bottom": 21},
        '{"x": 4, "y": 5, "w": 20, "h": 16}',
        " {'x': 4, 'y': 5, 'w': 20, 'h': 16}",
    ],
)
def test_a_box_has_one_meaning_however_it_is_packed(given: Any) -> None:
    assert unpacked_box(given) == BOX


@pytest.mark.parametrize(
    "given",
    [
        BOX,
        None,
        "4 5 20 16",
        "[4, 5, 20",
        "[" * 100_000,
        {"x": 4, "y": 5, "w": 20},
        {"x": 4, "y": 5, "x2": 24, "y2": 21},
        {"xmin": "4", "ymin": 5, "xmax": 24, "ymax": 21},
        [[4, 5], [24, 21]],
        {"x": 4, "y": 5, "w": 20, "h": 16, "rotation": 30},
    ],
)
def test_a_box_that_is_none_or_could_be_several_stays_as_it_is(given: Any) -> None:
    assert unpacked_box(given) == given


POINTS = [{"x": 1, "y": 2}, {"x": 5, "y": 2}, {"x": 5, "y": 9}]
FLAT = [1, 2, 5, 2, 5, 9]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (POINTS, [FLAT]),
        ([POINTS, POINTS], [FLAT, FLAT]),
        ({"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [2, 2, 9]}, [FLAT]),
        ([{"x": [1, 5, 5], "y": [2, 2, 9]}], [FLAT]),
        ("[[1, 2, 5, 2, 5, 9]]", [FLAT]),
        ('{"size": [9, 9], "counts": [81]}', {"size": [9, 9], "counts": [81]}),
        ([FLAT], [FLAT]),
        ({"size": [9, 9], "counts": "abc"}, {"size": [9, 9], "counts": "abc"}),
        (
            {"all_points_x": [1, 5], "all_points_y": [2]},
            {"all_points_x": [1, 5], "all_points_y": [2]},
        ),
        ([POINTS, FLAT], [POINTS, FLAT]),
        ([], []),
        (None, None),
    ],
)
def test_a_mask_has_one_meaning_however_it_is_packed(given: Any, meant: Any) -> None:
    assert unpacked_mask(given) == meant
