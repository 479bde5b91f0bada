"""YouTube-VIS: boxes per frame in, masks per frame out."""

import json

import numpy as np
import pytest

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from tests.mal_core.formats.drawn_formats import write_json

YTVIS = FORMATS["ytvis"]
FRAMES = 3


def content():
    return {
        "info": {"version": "1.0"},
        "videos": [
            {
                "id": 7,
                "width": 20,
                "height": 16,
                "length": FRAMES,
                "file_names": [f"v/{frame:05d}.jpg" for frame in range(FRAMES)],
            }
        ],
        "annotations": [
            {
                "id": 1,
                "video_id": 7,
                "category_id": 3,
                "bboxes": [[1, 1, 5, 5], None, [3, 1, 5, 5]],
                "iscrowd": 0,
            },
            {"id": 2, "video_id": 7, "category_id": 3, "bboxes": [[8, 4, 6, 6]] * 3, "iscrowd": 0},
        ],
        "categories": [{"id": 3, "name": "owl"}],
    }


def test_every_box_of_every_frame_is_an_annotation(tmp_path):
    normal = YTVIS.to_coco(tmp_path, write_json(tmp_path / "y.json", content()))
    assert [image["file_name"] for image in normal["images"]] == [
        "v/00000.jpg",
        "v/00001.jpg",
        "v/00002.jpg",
    ]
    found = [(a["track_id"], a["frame"], a["bbox"]) for a in normal["annotations"]]
    assert found == [
        (1, 0, [1, 1, 5, 5]),
        (1, 2, [3, 1, 5, 5]),
        *((2, frame, [8, 4, 6, 6]) for frame in range(FRAMES)),
    ]
    assert len({a["id"] for a in normal["annotations"]}) == 5


def test_masks_return_to_their_frames(tmp_path):
    path = write_json(tmp_path / "y.json", content())
    normal = YTVIS.to_coco(tmp_path, path)
    for entry in normal["annotations"]:
        x, y, w, h = entry["bbox"]
        mask = np.zeros((16, 20), np.uint8)
        mask[y : y + h, x : x + w] = 1
        entry["segmentation"], entry["area"] = mask_to_rle(mask), w * h
    skipped = normal["annotations"].pop()
    YTVIS.write_masks(normal, path, tmp_path, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    first, second = written["annotations"]
    assert first["areas"] == [25, None, 25]
    assert first["segmentations"][1] is None
    assert segmentation_to_mask(first["segmentations"][2], 16, 20)[1:6, 3:8].all()
    assert skipped["frame"] == 2
    assert [mask is None for mask in second["segmentations"]] == [False, False, True]
    assert {**written, "annotations": []} == {**content(), "annotations": []}
    again = YTVIS.to_coco(tmp_path, tmp_path / "out.json")
    assert sum("segmentation" in a for a in again["annotations"]) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("videos"), "the list 'videos' is missing"),
        (
            lambda c: c.update(annotations=None),  # as in the files of splits for the server
            "the list 'annotations' is missing. Give the file of a split with annotations.",
        ),
        (lambda c: c["annotations"][0].update(video_id=8), "annotation 1 has video_id=8"),
        (lambda c: c["annotations"][0]["bboxes"].pop(), "annotation 1 has 2 bboxes, but .* 3"),
        (lambda c: c["annotations"][1].update(segmentations=[]), "annotation 2 has segmentations"),
        (lambda c: c["annotations"][1].pop("bboxes"), "annotation 2 has no bboxes"),
        (lambda c: c["videos"][0].update(width="20"), "video 7 has width='20'"),
        (lambda c: c["videos"][0].update(file_names=[]), "video 7 has no file_names"),
    ],
)
def test_what_is_wrong_is_said_with_its_id(change, said, tmp_path):
    broken = content()
    change(broken)
    with pytest.raises(DatasetError, match=said):
        YTVIS.to_coco(tmp_path, write_json(tmp_path / "y.json", broken))


def test_keys_of_a_track_that_we_use_ourselves_have_no_meaning_and_return(tmp_path):
    own = {"track_id": "mine", "frame": [7], "origin": {"tool": 1}}
    track = {"id": 1, "video_id": 1, "category_id": 1}
    content = {
        "videos": [{"id": 1, "width": 40, "height": 30, "file_names": ["a.jpg", "b.jpg"]}],
        "annotations": [{**track, **own, "bboxes": [[1, 1, 5, 5], None]}, {**track, "id": 2}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    content["annotations"][1]["bboxes"] = [None, [2, 2, 6, 6]]
    path = write_json(tmp_path / "ytvis.json", content)
    normal = YTVIS.to_coco(tmp_path, path)
    assert [(one["track_id"], one["frame"]) for one in normal["annotations"]] == [(1, 0), (2, 1)]
    for entry in normal["annotations"]:
        entry.update(segmentation={"size": [30, 40], "counts": "x"}, area=1)
    YTVIS.write_masks(normal, path, tmp_path, tmp_path / "new.json")
    first, second = json.loads((tmp_path / "new.json").read_text())["annotations"]
    assert own.items() <= first.items()
    assert [mask is None for mask in first["segmentations"]] == [False, True]
    assert [mask is None for mask in second["segmentations"]] == [True, False]


MASK = {"size": [30, 40], "counts": [125, 10, 1065]}


@pytest.mark.parametrize(
    ("boxes", "masks", "count", "first"),
    [
        ([[4, 5, 1, 10], None], [None, MASK], 1, 1),
        ([None, None], [MASK, MASK], 2, 0),
        ([None, [4, 5, 1, 10]], [[[4, 5, 9, 5, 9, 9]], MASK], 1, 0),
    ],
)
def test_a_mask_in_a_frame_without_a_box_is_not_lost_in_silence(
    boxes, masks, count, first, tmp_path
):
    video = {"id": 1, "width": 40, "height": 30, "file_names": ["a.jpg", "b.jpg"]}
    track = {"id": 9, "video_id": 1, "category_id": 1, "bboxes": boxes, "segmentations": masks}
    content = {"videos": [video], "annotations": [track], "categories": [{"id": 1, "name": "cat"}]}
    with pytest.raises(DatasetError) as caught:
        YTVIS.to_coco(tmp_path, write_json(tmp_path / "x.json", content))
    assert caught.value.problems == (
        f"annotation 9 has a mask and no box in {count} of its frames, the first is frame {first} "
        "(counted from 0). Write the box around the mask, or null for both.",
    )


def test_an_empty_mask_in_a_frame_without_a_box_is_none(tmp_path):
    video = {"id": 1, "width": 40, "height": 30, "file_names": ["a.jpg", "b.jpg"]}
    track = {"id": 9, "video_id": 1, "category_id": 1, "bboxes": [[4, 5, 1, 10], None]}
    track["segmentations"] = [MASK, []]
    content = {"videos": [video], "annotations": [track], "categories": [{"id": 1, "name": "cat"}]}
    found = YTVIS.to_coco(tmp_path, write_json(tmp_path / "x.json", content))
    assert [one["frame"] for one in found["annotations"]] == [0]
