"""Whatever stands in a file: a dataset, or a `MalCoreError`."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mal_core.errors import MalCoreError
from mal_core.formats import FORMATS
from mal_core.formats.detections import detections_to_coco
from tests.mal_core.formats.drawn_formats import coco, draw, write_voc, write_yolo

WORDS = ["0", "1", "nan", "-inf", "1e400", "0.5", "0x1", "\0", "x", "9" * 400, "\n", "{", ","]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3), max_leaves=6)
KEYS = ["id", "video_id", "file_names", "width", "height", "bboxes", "segmentations", "image_id"]
ENTRIES = st.lists(
    VALUES | st.dictionaries(st.sampled_from([*KEYS, "category_id", "bbox", "score"]), VALUES),
    max_size=3,
)
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(WORDS)).map(
    lambda w: " ".join(w).encode()
)
LIMITS = settings(max_examples=600, deadline=5000, derandomize=True)


def read(function, *arguments) -> None:
    try:
        content = function(*arguments)
    except MalCoreError:
        return
    assert {"images", "annotations", "categories"} <= content.keys()
    json.dumps(content)


@pytest.mark.slow
@LIMITS
@given(
    data=BYTES,
    place=st.sampled_from(["a.txt", "classes.txt", "data.yaml"]),
    kind=st.sampled_from(["yolo", "yolo_obb", "dota"]),
)
def test_any_yolo_and_dota(data, place, kind):
    with tempfile.TemporaryDirectory() as folder:
        images, labels = draw(Path(folder) / "images"), write_yolo(Path(folder) / "labels")
        (labels / place).write_bytes(data)
        if kind != "yolo":
            (labels / "b.txt").unlink()  # rows of boxes
        read(FORMATS[kind].to_coco, images, labels)


@pytest.mark.slow
@LIMITS
@given(data=BYTES, old=st.sampled_from([b"cat", b"40", b"<name>", b"5", b"a.jpg", b"<annotation>"]))
def test_any_voc(data, old):
    with tempfile.TemporaryDirectory() as folder:
        path = write_voc(Path(folder) / "Annotations") / "a.xml"
        path.write_bytes(path.read_bytes().replace(old, data))
        read(FORMATS["voc"].to_coco, Path(folder), path.parent)


@pytest.mark.slow
@LIMITS
@given(videos=ENTRIES, tracks=ENTRIES, whole=VALUES | BYTES.map(repr))
def test_any_ytvis_and_detections(videos, tracks, whole):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        content = {"videos": videos, "annotations": tracks, "categories": []}
        for value in (content, whole, tracks):
            path.write_text(json.dumps(value))
            read(FORMATS["ytvis"].to_coco, Path(folder), path)
            read(detections_to_coco, path, coco())
