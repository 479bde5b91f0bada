"""Whatever bytes or JSON a file holds: a dataset, or an error that names the file."""

import contextlib
import copy
import json
import math
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mal_core.data.adopted import adopt_labels
from mal_core.data.coco import parse_coco, read_boxes, strip_masks
from mal_core.data.inspection.second_ruler import check_second_ruler
from mal_core.data.normal_masks import write_normal_masks
from mal_core.data.view import read_view
from mal_core.errors import DatasetError, MalCoreError, MaskError
from mal_core.evaluation.agreement import measure_agreement
from mal_core.geometry.mask_forms import is_mask, mask_problem, read_mask
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.jobs.segmenter import check_segmenter_data
from tests.builders import HEIGHT, WIDTH, CocoFiles, write_coco

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SLOWEST_MS = 5000
MEMORY_BYTES = 1 << 30

odd_numbers = st.sampled_from(
    [0, -1, 1, 0.5, -0.0, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 2**70, 10**400, -(10**400), 1e308,
     -1e308, 1e9, 5e-324, math.nan, math.inf, -math.inf, True, False, None]
)  # fmt: skip
texts = st.text(max_size=5) | st.sampled_from(
    ["\0", "\ud800", "../x.png", "/etc/passwd", ".", "", "b'11'", "annotations", "11", "oooooooo",
     "a" * 300, "train/0.png", "\\"]
)  # fmt: skip
scalars = odd_numbers | st.integers(-5, 100) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
points = st.lists(st.integers(-5, 70) | st.floats(-5, 70) | odd_numbers, max_size=12)
letters = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12)
counts = letters | st.lists(st.integers(-3, 4000) | odd_numbers, max_size=6)
sizes = st.sampled_from([[HEIGHT, WIDTH], [WIDTH, HEIGHT], [float(HEIGHT), WIDTH], None, 5, []])
masks = (
    values
    | points
    | st.lists(points | scalars, max_size=3)
    | st.fixed_dictionaries({"size": sizes, "counts": counts})
    | st.fixed_dictionaries({"counts": counts | values})
)
FIELDS = ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "file_name",
          "width", "height", "name", "score", "origin", "note"]  # fmt: skip
changes = st.lists(
    st.tuples(
        st.sampled_from(["images", "annotations", "categories", "info", "kept"]),
        st.integers(0, 6),
        st.sampled_from(FIELDS),
        values | masks | st.lists(odd_numbers | st.integers(-5, 70), min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=4,
)
quick = settings(
    deadline=SLOWEST_MS,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CocoFiles:
    return write_coco(tmp_path_factory.mktemp("any"), with_crowd=True)


@pytest.fixture(scope="module", autouse=True)
def within_memory() -> Iterator[None]:
    """No input takes a gigabyte more than what the test began with."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert after - before < MEMORY_BYTES


def changed(content: dict[str, Any], several: list[tuple[str, int, str, Any]]) -> dict[str, Any]:
    content = copy.deepcopy(content)
    for key, index, field, value in several:
        part = content[key]
        entry = part[index % len(part)] if isinstance(part, list) and part else part
        if isinstance(entry, dict):
            entry[field] = value
        else:
            content[key] = value
    return content


def readers(path: Path, good: CocoFiles) -> list[Callable[[], object]]:
    """Everything that reads a COCO file that a user names."""
    folder = good.annotations.parent
    return [
        lambda: read_boxes(good.images, path),
        lambda: read_boxes(good.images, path, strict=True),
        lambda: measure_agreement(path, good.annotations),
        lambda: measure_agreement(good.annotations, path),
        lambda: check_second_ruler(path, good.annotations),
        lambda: check_segmenter_data(path, good.annotations),
        lambda: strip_masks(path, folder / "stripped.json"),
        lambda: adopt_labels(
            good.annotations,
            path,
            images=good.images,
            strict=False,
            output=folder / "adopted.json",
            ledger=folder / "ledger.json",
        ),
    ]


def assert_read_or_refused(path: Path, good: CocoFiles) -> None:
    for read in readers(path, good):
        try:
            read()
        except MalCoreError as error:
            said = str(error)
        else:
            continue
        assert str(path) in said or str(good.annotations) in said
    view = None
    with contextlib.suppress(DatasetError):
        view = read_view(path)
    if view is None or view.all_problems:
        return
    # What is called sound can be used.
    copied = path.with_name("normal.json")
    write_normal_masks(path, copied)
    assert read_view(copied).masks.unusual == {}
    for entry in parse_coco(path)["annotations"]:
        if is_mask(entry.get("segmentation")) and read_mask(entry["segmentation"], HEIGHT, WIDTH):
            segmentation_to_mask(entry["segmentation"], HEIGHT, WIDTH)


@settings(quick, max_examples=300)
@given(several=changes)
def test_any_value_in_any_place(several: list[tuple[str, int, str, Any]], files: CocoFiles) -> None:
    path = files.annotations.with_name("changed.json")
    path.write_text(json.dumps(changed(files.content(), several)))
    assert_read_or_refused(path, files)


@settings(quick, max_examples=150)
@given(value=values)
def test_any_json_at_all(value: Any, files: CocoFiles) -> None:
    path = files.annotations.with_name("json.json")
    path.write_text(json.dumps(value))
    assert_read_or_refused(path, files)


@settings(quick, max_examples=200)
@given(data=st.data())
def test_any_damage_to_the_bytes(data: st.DataObject, files: CocoFiles) -> None:
    text = bytearray(files.annotations.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(st.binary(max_size=4) | st.sampled_from([b"[", b"}", b'"', b",\\"]))
        text[place : place + data.draw(st.integers(0, 40))] = new
    path = files.annotations.with_name("damaged.json")
    path.write_bytes(bytes(text))
    assert_read_or_refused(path, files)


@settings(quick, max_examples=150)
@given(text=st.binary(max_size=80))
def test_any_bytes(text: bytes, files: CocoFiles) -> None:
    path = files.annotations.with_name("bytes.json")
    path.write_bytes(text)
    assert_read_or_refused(path, files)


@settings(quick, max_examples=3000)
@given(mask=masks)
def test_any_mask_is_read_or_refused(mask: Any) -> None:
    problem = mask_problem(mask, HEIGHT, WIDTH)
    try:
        pixels = segmentation_to_mask(mask, HEIGHT, WIDTH)
    except MaskError:
        assert problem is not None or read_mask(mask, HEIGHT, WIDTH) is None
        return
    assert problem is None
    assert pixels.shape == (HEIGHT, WIDTH)
    again = coco_mask.encode(np.asfortranarray(pixels))
    np.testing.assert_array_equal(coco_mask.decode(again), pixels)
