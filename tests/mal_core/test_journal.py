"""The journal: whole batches, from any number of processes, whatever a kill cut short."""

from pathlib import Path

from mal_core.journal import LabelJournal
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
