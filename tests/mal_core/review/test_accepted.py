"""An accepted mask is counted as that only where the labels still have it."""

import json
from pathlib import Path

import pytest

from mal_core.formats.exports.labeled import read_labeled
from mal_core.review.corrections import Imported, import_corrections
from mal_core.review.digests import mask_digest
from tests.mal_core.review.reviewed import Review, annotated, decisions

LATER = ", which changes no mask, save the decisions and import them again."


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def decided(review: Review, choices: dict[int, str]) -> Path:
    """As the page saves it: with the digests of the masks that it shows."""
    content = decisions(review, choices)
    digests = {one.id: mask_digest(one.rle) for one in review.labeled.objects}
    for entry in content["decisions"]:
        entry["mask"] = digests[entry["annotation_id"]]
    return review.save(content, "decisions.json")


def put(labels: Path, path: Path, output: Path) -> Imported:
    found = import_corrections(labels, path, output)
    assert found.to_json()["accepted"] == found.accepted
    return found


def test_accepting_what_an_earlier_import_dropped_is_told(review, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    put(review.files.annotations, decided(review, {review.ids[0]: "reject"}), first)
    accepted = decided(review, dict.fromkeys(review.ids, "accept"))
    found = put(first, accepted, second)
    assert (found.accepted, found.accepted_gone) == (len(review.ids) - 1, [review.ids[0]])
    assert found.lines() == [
        "0 masks corrected",
        f"{len(review.ids) - 1} masks accepted, as they are",
        f"1 masks were accepted, but an earlier import has dropped them as rejected: annotations "
        f"{review.ids[0]}. To have them back, import these decisions into the labels from before "
        "it.",
    ]
    assert json.loads(second.read_text()) == json.loads(first.read_text())
    # The advice holds: the labels from before have all of them.
    assert put(review.files.annotations, accepted, second).accepted == len(review.ids)
    assert len(read_labeled(second).objects) == len(review.ids)


def test_accepting_what_is_another_mask_now_is_told(review, tmp_path):
    changed = review.ids[1:3]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    put(
        review.files.annotations,
        review.save(annotated(review.queue, review.labeled, changed)),
        first,
    )
    found = put(first, decided(review, dict.fromkeys(review.ids[:4], "accept")), second)
    assert (found.accepted, sorted(found.accepted_others)) == (2, sorted(changed))
    listed = ", ".join(map(str, sorted(changed)))
    assert (
        f"2 masks are others now than those that were accepted, and stay as they are: annotations "
        f"{listed}"
    ) in found.lines()
    assert json.loads(second.read_text()) == json.loads(first.read_text())


def test_a_refused_rejection_can_be_taken_back_as_the_message_says(review, tmp_path):
    key, first = review.ids[0], tmp_path / "first.json"
    put(
        review.files.annotations, review.save(annotated(review.queue, review.labeled, [key])), first
    )
    with pytest.raises(ValueError, match="fix later") as caught:
        import_corrections(first, decided(review, {key: "reject"}), tmp_path / "no.json")
    assert str(caught.value).endswith(LATER)
    found = put(first, decided(review, {key: "fix"}), tmp_path / "second.json")
    assert (found.to_fix, found.rejected) == (1, [])
    assert json.loads((tmp_path / "second.json").read_text()) == json.loads(first.read_text())
