"""The journal: whole batches, from any number of processes, whatever a kill cut short."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mal_core.labeling.journal import LabelJournal
from mal_core.types import PseudoLabel, SkippedBox, SkipReason

LABEL = PseudoLabel(annotation_id=1, rle={"size": [1, 1], "counts": "01"}, mask_area=1, score=0.5)
SKIP = SkippedBox(annotation_id=2, image_id=7, reason=SkipReason.EMPTY_MASK)
OUTCOMES = {7: [SKIP, LABEL], 3: [LABEL], 5: []}


def test_masks_and_skips_come_back_in_order(tmp_path: Path) -> None:
    LabelJournal(tmp_path).add((7, 3, 5), OUTCOMES)
    assert LabelJournal(tmp_path).read() == {(7, 3, 5): OUTCOMES}
    assert list(LabelJournal(tmp_path).read()[7, 3, 5]) == [7, 3, 5]


def test_processes_do_not_write_into_each_others_files(tmp_path: Path) -> None:
    journals = [LabelJournal(tmp_path) for _ in range(3)]
    for number, journal in enumerate(journals):
        journal.add((number,), {number: [LABEL]})
    assert len(list(tmp_path.iterdir())) == 3
    assert all(journal.batches() == {(0,), (1,), (2,)} for journal in journals)


def test_a_batch_that_two_processes_labeled_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        LabelJournal(tmp_path).add((7, 3, 5), OUTCOMES)
    assert LabelJournal(tmp_path).read() == {(7, 3, 5): OUTCOMES}


def test_a_line_cut_short_is_as_if_it_were_not_there_and_stays(tmp_path: Path) -> None:
    journal = LabelJournal(tmp_path)
    journal.add((1,), {1: [LABEL]})
    journal.add((2,), {2: [LABEL]})
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-9])
    before = file.read_bytes()

    again = LabelJournal(tmp_path)
    assert again.batches() == {(1,)}
    again.add((2,), {2: [LABEL]})
    assert again.batches() == {(1,), (2,)}
    assert file.read_bytes() == before


def damaged_lines() -> list[tuple[str, Callable[[bytes], bytes]]]:
    """What a disk, an editor or an older version makes of a line."""
    return [
        ("a byte that is no UTF-8", lambda line: line.replace(b"01", b"0\xff")),
        ("another score", lambda line: line.replace(b"0.5", b"0.9")),
        ("another mask", lambda line: line.replace(b'"01"', b'"10"')),
        ("another image", lambda line: line.replace(b"[2]", b"[9]")),
        ("no digest", lambda line: line.partition(b" ")[2]),
        ("another digest", lambda line: b"0" * 64 + line[64:]),
        ("nothing but zeros, as after a power cut", lambda line: b"\0" * len(line)),
        ("an empty line", lambda line: b""),
        ("JSON of something else", lambda line: b'{"batch": [2]}'),
        ("a line break inside", lambda line: line.replace(b'"score"', b'"sc\nore"')),
    ]


@pytest.mark.parametrize(
    "damage", [pytest.param(change, id=name) for name, change in damaged_lines()]
)
def test_a_line_that_does_not_verify_ends_its_file_and_is_done_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    journal = LabelJournal(tmp_path)
    for number in (1, 2, 3):
        journal.add((number,), {number: [LABEL]})
    (file,) = tmp_path.iterdir()
    first, second, third = file.read_bytes().splitlines()
    changed = damage(second)
    assert changed != second
    file.write_bytes(b"\n".join([first, changed, third, b""]))

    again = LabelJournal(tmp_path)
    assert again.batches() == {(1,)}
    assert caplog.messages == [f"{file}: a line does not verify; labeled again from there"]
    for number in (2, 3):
        again.add((number,), {number: [LABEL]})
    assert again.read() == {(number,): {number: [LABEL]} for number in (1, 2, 3)}
