"""Evaluations over time: appended once, readable after a crash, shown with their intervals."""

import dataclasses

from mal_core.evaluation.intervals import Interval
from mal_core.evaluation.retention import Accounting, RetentionReport, SegmenterResult
from mal_core.report.history import history_text, plot_history, read_history, record, write_page
from mal_core.types import MaskMetrics


def report(pseudo: float) -> RetentionReport:
    def metrics(ap: float) -> MaskMetrics:
        rest = dict.fromkeys(("ap50", "ap75", "ap_small", "ap_medium", "ap_large"))
        return MaskMetrics(ap=ap, **rest)

    result = SegmenterResult(
        name="solo",
        human=metrics(0.4),
        pseudo=metrics(pseudo),
        intervals={"ap": Interval(low=pseudo / 0.4 - 0.1, high=pseudo / 0.4 + 0.1)},
    )
    counts = Accounting(boxes=1, masks=1, crowds=0, skipped={})
    return RetentionReport(segmenters=(result,), quality=None, accounting=counts, context={})


def test_a_run_that_finds_the_same_again_adds_nothing(tmp_path):
    path = tmp_path / "history.jsonl"
    for pseudo in (0.2, 0.2, 0.3, 0.3, 0.2):
        record(path, report(pseudo), run="runs/a", data="d")
    record(path, report(0.2), run="runs/b", data="d")
    found = read_history(path)
    assert [(one.run, one.pseudo) for one in found] == [
        ("runs/a", 0.2),
        ("runs/a", 0.3),
        ("runs/a", 0.2),
        ("runs/b", 0.2),
    ]
    assert found[1].retention == 0.3 / 0.4


def test_only_runs_on_the_same_data_are_put_side_by_side(tmp_path):
    path = tmp_path / "history.jsonl"
    record(path, report(0.2), run="a", data="one")
    record(path, report(0.3), run="a", data="two")
    assert [one.pseudo for one in read_history(path, "two")] == [0.3]
    write_page(read_history(path), tmp_path / "history.html")
    page = (tmp_path / "history.html").read_text()
    assert page.count("<svg") == 2
    assert "75.0 %" in page


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    record(path, report(0.2), run="a", data="d")
    with path.open("a") as stream:
        stream.write('{"time": "2026')
    assert len(read_history(path)) == 1
    assert read_history(tmp_path / "absent.jsonl") == ()


def test_names_from_files_are_escaped_and_undefined_numbers_shown_as_such(tmp_path):
    path = tmp_path / "history.jsonl"
    record(path, report(0.2), run="<script>", data="d")
    blank = dataclasses.replace(read_history(path)[0], retention=None, low=None, high=None)
    write_page([blank], tmp_path / "h.html")
    assert "<script>" not in (tmp_path / "h.html").read_text()
    assert "n/a" in history_text([blank])
    assert "<svg" in plot_history([blank])
