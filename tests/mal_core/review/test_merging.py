"""One object in several tasks and annotations: merged mask by mask, and never mixed."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mal_core.formats.exports.brush_rle import mask_to_brush
from mal_core.review.corrections import Imported, import_corrections
from tests.mal_core.review.reviewed import Review, annotated, masks_in, shifted

Json = dict[str, Any]


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def exported(review: Review, changed: list[int], rows: int = 2) -> list[Json]:
    """Label Studio's export with some masks moved down by `rows` px."""
    tasks: Any = annotated(review.queue, review.labeled, changed)
    for task in tasks:
        for region in task["annotations"][0]["result"]:
            kind, key = region["id"].split("_")
            if kind == "mask" and int(key) in changed:
                region["value"]["rle"] = mask_to_brush(moved(review, int(key), rows))
    return list(tasks)


def moved(review: Review, key: int, rows: int) -> np.ndarray:
    return np.roll(shifted(review.labeled, key), rows - 2, axis=0)


def put(review: Review, tasks: list[Json]) -> Imported:
    out = review.folder / "out.json"
    return import_corrections(review.files.annotations, review.save(tasks), out)


def masks_after(review: Review) -> dict[int, np.ndarray]:
    return masks_in(review.folder / "out.json")


def with_annotations(review: Review, *given: tuple[list[int], int, str | None]) -> list[Json]:
    """One export whose tasks have an annotation for each (changed ids, rows, time)."""
    tasks = exported(review, [])
    for task in tasks:
        task["annotations"] = []
    for changed, rows, time in given:
        for task, other in zip(tasks, exported(review, changed, rows), strict=True):
            annotation = {**other["annotations"][0], "updated_at": time}
            task["annotations"].append(annotation)
    return tasks


@pytest.mark.parametrize("first", ["untouched", "corrected"])
def test_an_untouched_copy_of_a_task_adds_nothing(first, review):
    key = review.ids[0]
    copies = [exported(review, []), exported(review, [key])]
    found = put(review, [*copies[first == "corrected"], *copies[first == "untouched"]])
    assert set(found.corrected) == {key}
    assert (masks_after(review)[key] == moved(review, key, 2)).all()
    assert found.unchanged == len(review.ids) - 1


def test_corrections_of_two_tasks_that_differ_are_refused_with_the_id(review):
    key, other = review.ids[:2]
    one, two = exported(review, [key, other]), exported(review, [key], rows=3)
    for task in two:
        task["id"] += 100
    said = review.refused(review.save([*one, *two]))
    assert "1 problem\n" in said
    number = next(task["id"] for task in one if key in task["data"]["annotation_ids"])
    assert said.endswith(
        f"annotation {key} was corrected in 2 tasks, and the masks differ: task {number}, region "
        f"mask_{key}; task {number + 100}, region mask_{key}. Undo all but one of them there, or "
        "leave the other tasks out."
    )


def test_tasks_of_one_number_are_named_by_their_place(review):
    key = review.ids[0]
    one, two = exported(review, [key]), exported(review, [key], rows=3)
    place = next(i for i, task in enumerate(one) if key in task["data"]["annotation_ids"])
    said = review.refused(review.save([*one, *two]))
    for position in (place, place + len(one)):
        assert f"task {place + 1} at position {position} (from 0), region mask_{key}" in said


def test_the_same_correction_of_two_tasks_is_taken_once(review):
    key = review.ids[0]
    found = put(review, [*exported(review, [key]), *exported(review, [key])])
    assert set(found.corrected) == {key}
    assert found.notes == []
    assert (masks_after(review)[key] == moved(review, key, 2)).all()


def test_a_mask_drawn_anew_in_each_of_two_tasks_finds_its_label(review):
    key = review.ids[0]
    tasks = exported(review, [key])
    for task in tasks:
        for region in task["annotations"][0]["result"]:
            if region["id"] == f"mask_{key}":
                region["id"] = "Xy9_aQ"
    found = put(review, [*tasks, *copy.deepcopy(tasks)])
    assert set(found.corrected) == {key}
    assert (masks_after(review)[key] == moved(review, key, 2)).all()


@pytest.mark.parametrize("times", [("2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z"), (None, None)])
def test_each_annotator_of_a_task_keeps_what_they_corrected(times, review):
    mine, theirs = review.ids[:2]
    found = put(review, with_annotations(review, ([mine], 2, times[0]), ([theirs], 3, times[1])))
    assert set(found.corrected) == {mine, theirs}
    masks = masks_after(review)
    assert (masks[mine] == moved(review, mine, 2)).all()
    assert (masks[theirs] == moved(review, theirs, 3)).all()
    shared = len(json.loads((review.queue / "label_studio" / "tasks.json").read_text()))
    assert found.notes == [
        f"{shared} tasks have several annotations, which are put together mask by mask"
    ]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-11-28T11:00:00+02:00", "2026-11-28T10:00:00Z"),
        ("2026-11-28T10:00:00.5Z", "2026-11-28T10:00:00.500001Z"),
        ("2026-11-28T10:00:00", "2026-11-28T09:30:00-01:00"),
        ("no time", "2026-11-28T10:00:00Z"),
        (None, "1990-11-28T10:00:00Z"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_annotators_of_one_mask_the_last_by_time_is_taken_and_told(
    earlier, later, turned, review
):
    key = review.ids[0]
    given = [([key], 2, earlier), ([key], 3, later)]
    found = put(review, with_annotations(review, *(reversed(given) if turned else given)))
    assert (masks_after(review)[key] == moved(review, key, 3)).all()
    assert (
        "1 masks were corrected differently by annotators of one task, and the last correction "
        f"is taken: annotations {key}"
    ) in found.notes
