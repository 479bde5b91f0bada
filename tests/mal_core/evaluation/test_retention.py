"""Retention: what is undefined stays undefined, and numbers survive every format."""

import dataclasses
import json
import math

import pytest

from mal_core.data.crowding import measure_reach
from mal_core.errors import RecordError
from mal_core.evaluation.retention import (
    METRICS,
    Accounting,
    RetentionReport,
    SecondRuler,
    SegmenterResult,
    report_from_json,
    retention_rate,
)
from mal_core.processes.files import write_json
from mal_core.report.tables import (
    quality_rows,
    retention_markdown,
    retention_rows,
    retention_text,
    verdict_lines,
)
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans


def metrics(ap: float | None = 0.4, **changes: float | None) -> MaskMetrics:
    """Metrics that all equal `ap` but for the changes."""
    return MaskMetrics(**{**dict.fromkeys(METRICS, ap), **changes})


def quality() -> LabelQuality:
    """Some label quality."""
    means = SizeMeans(all=0.7, small=0.6, medium=0.75, large=None)
    return LabelQuality(
        mask_iou=means, box_fill=means, ellipse=means, counts={"all": 3}, iou_of={1: 0.7}
    )


def report(*results: SegmenterResult, with_quality: bool = True) -> RetentionReport:
    """A report over some segmenters."""
    return RetentionReport(
        segmenters=results,
        quality=quality() if with_quality else None,
        accounting=Accounting(boxes=5, masks=3, crowds=1, skipped={"zero-size box": 1}),
        context={"encoder": "vit <tiny> | x"},
    )


@pytest.mark.parametrize(
    ("pseudo", "human", "rate"),
    [
        (0.3, 0.4, 0.75),
        (0.4, 0.4, 1.0),
        (0.0, 0.5, 0.0),
        (0.3, 0.0, None),
        (0.0, 0.0, None),
        (None, 0.4, None),
        (0.3, None, None),
    ],
)
def test_a_rate_is_a_quotient_or_undefined_and_never_infinite(pseudo, human, rate):
    """Spec S16."""
    seen = retention_rate(pseudo, human)
    assert seen == (None if rate is None else pytest.approx(rate))


def test_equal_arms_keep_exactly_everything():
    """Spec S16."""
    result = SegmenterResult(name="s", human=metrics(0.37), pseudo=metrics(0.37))
    assert set(result.retention().values()) == {1.0}


def test_only_the_damaged_metric_loses():
    damaged = metrics(0.4, ap_small=0.1)
    result = SegmenterResult(name="s", human=metrics(0.4), pseudo=damaged)
    assert result.retention() == {**dict.fromkeys(METRICS.values(), 1.0), "APs": 0.25}


def test_without_human_masks_everything_relative_is_null():
    content = report(SegmenterResult(name="s", human=None, pseudo=metrics()))
    segmenter = content.to_json()["segmenters"]["s"]
    assert segmenter["human"] is None
    assert set(segmenter["retention"].values()) == {None}
    assert segmenter["pseudo"]["AP"] == 0.4


def test_the_file_is_strict_json_and_reads_back_as_the_same_report(tmp_path):
    original = report(
        SegmenterResult(name="a", human=metrics(0.0), pseudo=metrics(0.1)),
        SegmenterResult(name="b", human=metrics(ap_large=None), pseudo=metrics(0.2)),
    )
    write_json(tmp_path / "retention.json", original.to_json())
    content = json.loads((tmp_path / "retention.json").read_text(), parse_constant=pytest.fail)
    without_single_labels = dataclasses.replace(quality(), iou_of={})
    assert report_from_json(content) == dataclasses.replace(original, quality=without_single_labels)
    assert content["segmenters"]["a"]["retention"]["AP"] is None


def test_a_report_of_an_older_version_reads_without_what_came_later():
    content = report(SegmenterResult(name="a", human=metrics(), pseudo=metrics())).to_json()
    later = ("second_ruler", "label_scores", "cost")
    older = {key: value for key, value in content.items() if key not in later}
    for key in ("human_source", "precision", "reach"):
        del older["segmenters"]["a"][key]
    del older["segmenters"]["a"]["pseudo"]["APr"]
    assert report_from_json(older).segmenters[0].pseudo == metrics(ap_rare=None)


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        (("accounting",), "boxes", "7", "accounting.boxes is '7', but must be a whole number"),
        (("segmenters", "a"), "novel", 1, "segmenters.a has unknown fields: novel"),
        (("segmenters", "a", "pseudo"), "AP", [], "segmenters.a.pseudo.AP is"),
        (("segmenters", "a"), "human_source", "guessed", "segmenters.a.human_source is 'guessed'"),
    ],
)
def test_what_is_wrong_in_a_report_is_named_by_its_place(place, key, value, message):
    content = report(SegmenterResult(name="a", human=metrics(), pseudo=metrics())).to_json()
    part = content
    for name in place:
        part = part[name]
    part[key] = value
    with pytest.raises(RecordError, match=message):
        report_from_json(content)


def test_every_cell_of_the_tables_is_a_finite_number_or_na():
    shown = report(
        SegmenterResult(name="a", human=metrics(0.0), pseudo=metrics(0.1)),
        SegmenterResult(name="b", human=None, pseudo=metrics(None)),
    )
    cells = [
        value
        for row in [*retention_rows(shown.segmenters), *quality_rows(shown)]
        for key, value in row.items()
        if key not in ("segmenter", "trained on", "mask IoU")
    ]
    assert cells
    for cell in cells:
        assert cell == "n/a" or math.isfinite(float(cell.removesuffix(" %")))


def test_terminal_and_dashboard_show_the_same_numbers():
    shown = report(SegmenterResult(name="solo", human=metrics(0.4), pseudo=metrics(0.3)))
    for text in (retention_text(shown), retention_markdown(shown)):
        for number in ("0.400", "0.300", "75.0 %", "0.750", "n/a"):
            assert number in text
        assert "boxes in 5 = masks 3 + crowds 1 + skipped 1" in text


def test_names_from_files_cannot_break_the_markdown():
    text = retention_markdown(report(with_quality=False))
    assert "vit &lt;tiny> \\| x" in text


def test_what_no_prediction_can_reach_stands_beside_the_verdict_and_in_the_file():
    classes = [{"image_id": 1, "category_id": 1} for _ in range(120)]
    content = {"images": [], "categories": [], "annotations": classes}
    full, enough = measure_reach(content, 50), measure_reach(content, 150)
    beside = SegmenterResult(name="wide", human=None, pseudo=metrics(), reach=enough)
    shown = report(SegmenterResult(name="narrow", human=None, pseudo=metrics(), reach=full), beside)
    ruler = (
        "AP counts 150 detections per image and class instead of 100, because one image has 120 "
        "objects: compare it with no AP by the usual limit"
    )
    assert verdict_lines(shown) == [
        ruler,
        "narrow: no prediction can reach 70 of 120 objects: of the detections on an image 50 are "
        "kept, and one image has 120 objects. Cut such images into tiles, or raise the limits in "
        "segmenter.options.model.test_cfg",
    ]
    assert all("no prediction can reach 70" in text(shown) for text in TEXTS)
    written = json.loads(json.dumps(shown.to_json()))
    assert written["segmenters"]["narrow"]["reach"]["unreachable"] == 70
    assert report_from_json(written).segmenters == shown.segmenters
    second = dataclasses.replace(
        report(beside), second=SecondRuler(file="clean.json", segmenters=shown.segmenters)
    )
    by_second = verdict_lines(second)[1:]
    assert by_second == [f"by clean.json: {line}" for line in verdict_lines(shown)]


def test_ordinary_data_says_nothing_about_limits():
    content = {
        "images": [{"id": 1}],
        "annotations": [{"image_id": 1, "category_id": 1} for _ in range(50)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    result = SegmenterResult(
        name="s", human=None, pseudo=metrics(), reach=measure_reach(content, 50)
    )
    assert verdict_lines(report(result)) == []


TEXTS = (retention_text, retention_markdown)
