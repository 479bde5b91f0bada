"""Images with very many objects: which limits follow, and what is said where none can."""

from typing import Any

import pytest

from mal_core.data.crowding import (
    COCO_LIMIT,
    MOST_COUNTED,
    MOST_KEPT,
    counted_detections,
    followed,
    measure_reach,
    most_objects,
)


def content(*images: dict[int, int], crowds: int = 0, federated: bool = False) -> dict[str, Any]:
    """A file with that many objects of each class on each image; crowds on the first."""
    fields = {"neg_category_ids": [], "not_exhaustive_category_ids": []} if federated else {}
    classes = sorted({1} | {one for image in images for one in image})
    entries = [
        {"image_id": number, "category_id": one, "iscrowd": 0}
        for number, image in enumerate(images)
        for one, count in image.items()
        for _ in range(count)
    ]
    entries += [{"image_id": 0, "category_id": 1, "iscrowd": 1} for _ in range(crowds)]
    return {
        "images": [{"id": number, **fields} for number in range(len(images))],
        "categories": [{"id": one, **({"frequency": "f"} if federated else {})} for one in classes],
        "annotations": entries,
    }


@pytest.mark.parametrize(
    ("usual", "most", "limit"),
    [
        (100, 0, 100),
        (100, 100, 100),
        (100, 101, 130),
        (50, 51, 70),
        (100, 500, 630),
        (100, 1900, MOST_KEPT),
        (3000, 2500, 3000),
        (3000, 9000, 3000),
    ],
)
def test_a_limit_follows_with_a_quarter_to_spare_and_never_falls(usual, most, limit):
    assert followed(usual, most, MOST_KEPT) == limit


@pytest.mark.parametrize(
    ("file", "counted"),
    [
        (content(), 100),
        (content({1: 100}), 100),
        (content({1: 7}, {1: 120}), 150),
        (content({1: 90, 2: 90}), 100),  # COCO counts each class of an image
        (content({1: 90, 2: 90}, federated=True), 300),
        (content({1: 200, 2: 200}, federated=True), 500),  # LVIS counts the image
        (content({1: 80}, crowds=50), 100),
        (content({1: 12_000}), MOST_COUNTED),
    ],
)
def test_detections_that_ap_counts(file, counted):
    assert counted_detections(file) == counted


def test_crowds_are_no_objects_to_find():
    assert most_objects(content({1: 3, 2: 2}, crowds=9)) == 5


CUT = ". Cut such images into tiles"
RAISE = ", or raise the limits in segmenter.options.model.test_cfg"


@pytest.mark.parametrize(
    ("file", "kept", "lines"),
    [
        (content({1: 40}), 50, []),
        (content({1: 100}, {2: 100}), 100, []),
        (content(), None, []),
        (
            content({1: 120}),
            150,
            [
                "AP counts 150 detections per image and class instead of 100, because one image "
                "has 120 objects: compare it with no AP by the usual limit"
            ],
        ),
        (
            content({1: 60}, {1: 40, 2: 30}),
            50,
            [
                "no prediction can reach 30 of 130 objects: of the detections on an image 50 are "
                f"kept, and one image has 70 objects{CUT}{RAISE}"
            ],
        ),
        (
            content({1: 200, 2: 200}, federated=True),
            300,
            [
                "AP counts 500 detections per image instead of 300, because one image has 400 "
                "objects: compare it with no AP by the usual limit",
                "no prediction can reach 100 of 400 objects: of the detections on an image 300 "
                f"are kept, and one image has 400 objects{CUT}{RAISE}",
            ],
        ),
        (
            content({1: 12_000}),
            None,
            [
                "AP counts 10000 detections per image and class instead of 100, because one image "
                "has 12000 objects: compare it with no AP by the usual limit",
                "no prediction can reach 2000 of 12000 objects: of the detections on an image AP "
                f"counts 10000, and one image has 12000 objects{CUT}",
            ],
        ),
        (
            content({1: 2500}),
            2000,
            [
                "AP counts 3130 detections per image and class instead of 100, because one image "
                "has 2500 objects: compare it with no AP by the usual limit",
                "no prediction can reach 500 of 2500 objects: of the detections on an image 2000 "
                f"are kept, and one image has 2500 objects{CUT}{RAISE}",
            ],
        ),
    ],
)
def test_what_a_reader_of_an_ap_is_told(file, kept, lines):
    assert measure_reach(file, kept).lines() == lines


def test_only_what_is_beyond_both_limits_is_out_of_reach():
    reach = measure_reach(content({1: 120, 2: 30}, {1: 10}), kept=140)
    assert (reach.objects, reach.most_objects, reach.unreachable) == (160, 150, 10)
    assert (reach.counted, reach.usual) == (150, COCO_LIMIT)


def test_a_copy_of_lvis_that_is_scored_as_coco_says_so():
    file = content({1: 3}, {1: 2}, federated=True)
    assert measure_reach(file, None).lines() == []
    del file["images"][1]["not_exhaustive_category_ids"]
    (line,) = measure_reach(file, None).ruler_lines()
    assert line.startswith("1 images lack neg_category_ids or not_exhaustive_category_ids")
    assert "AP on it is COCO's" in line
    assert "Copy both fields" in line
