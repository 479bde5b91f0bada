"""Whatever stands in a file of corrections, it is taken or refused by name; no traceback."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mal_core.errors import DatasetError
from mal_core.review.corrections import import_corrections
from tests.mal_core.review.reviewed import Review, annotated, corrected_xml, decisions

ROUNDS = 60
JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, float("nan"), 10**30, 3.5),
    *("", "x", "\ud800", [], {}, [[]], [None], {"id": 1}, [1, 2]),
)


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Review:
    return Review(tmp_path_factory.mktemp("review"))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(min(len(value), 6))
        for key in keys:
            yield from places(value[key], (*place, key))


def spoiled(value: Any, rng: random.Random) -> Any:
    """A copy in which one thing is gone or something else."""
    value = copy.deepcopy(value)
    *parents, last = rng.choice(list(places(value))[1:])
    node = value
    for key in parents:
        node = node[key]
    if rng.random() < 0.3:
        del node[last]
    else:
        node[last] = rng.choice(JUNK)
    return value


def torn(text: str, rng: random.Random) -> str:
    """Text with parts lost or overwritten."""
    for _ in range(rng.choice([1, 2, 5])):
        at, length = rng.randrange(len(text)), rng.choice([0, 1, 10, 200])
        text = (
            text[:at] + rng.choice(["", "<", ">", '"', "&", "9" * 12, "<a>"]) + text[at + length :]
        )
    return text


def content(review: Review, kind: str) -> Any:
    if kind == "label_studio":
        return annotated(review.queue, review.labeled, review.ids[:2])
    if kind == "coco":
        return json.loads((review.queue / "cvat" / "instances.json").read_text())
    return decisions(review, {review.ids[0]: "reject", review.ids[1]: "accept"})


@pytest.mark.parametrize("kind", ["label_studio", "coco", "decisions", "xml"])
def test_spoiled_files_are_taken_or_refused_by_name(kind, review, tmp_path):
    path, out = tmp_path / f"back.{'xml' if kind == 'xml' else 'json'}", tmp_path / "out.json"
    if kind == "xml":
        corrected_xml(review.queue, review.labeled, review.ids[:2]).write(path)
        whole: Any = path.read_text()
    else:
        whole = content(review, kind)
    said = []
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        text = torn(whole, rng) if kind == "xml" else json.dumps(spoiled(whole, rng))
        Path(path).write_text(text)
        try:
            import_corrections(review.files.annotations, path, out)
        except DatasetError as error:
            said.append(str(error))
    assert said
    assert [text for text in said if not text.startswith(f"{path}: ")] == []
