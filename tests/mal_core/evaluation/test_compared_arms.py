"""Two arms over several seeds, from predictions to retention.json."""

import json

import numpy as np
import pytest

from mal_core.evaluation.compared_arms import compare_arms, match_run, mean_metrics
from mal_core.evaluation.intervals import Interval
from mal_core.evaluation.retention import Accounting, RetentionReport, report_from_json
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.processes.files import write_json
from mal_core.report.tables import retention_rows, retention_text
from scenes.write import write_scenes


@pytest.fixture(scope="module")
def human(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms") / "scenes"
    write_scenes(folder, num_train=1, num_val=10, size=120, seed=1)
    return folder / "val" / "annotations.json"


def predicted(human, folder, shift: int, seed: int = 0):
    """Matches of human masks, each shifted by up to some pixels."""
    generator = np.random.default_rng(seed)
    content = json.loads(human.read_text())
    results = []
    for entry in content["annotations"]:
        mask = segmentation_to_mask(entry["segmentation"], 120, 120)
        moved = np.roll(mask, generator.integers(-shift, shift + 1, 2), (0, 1))
        known = {key: entry[key] for key in ("image_id", "category_id")}
        score = float(generator.random())
        box = [entry["bbox"][0] + shift, *entry["bbox"][1:]]
        results.append({**known, "segmentation": mask_to_rle(moved), "bbox": box, "score": score})
    path = folder / f"p{shift}_{seed}.json"
    write_json(path, results)
    return match_run(human, path)


def test_means_intervals_and_classes_of_several_seeds(human, tmp_path):
    ours = [predicted(human, tmp_path, 4, seed) for seed in (1, 2, 3)]
    theirs = [predicted(human, tmp_path, 1, seed) for seed in (1, 2, 3)]
    result = compare_arms("s", (1, 2, 3), theirs, ours)
    assert result.pseudo.ap == pytest.approx(np.mean([one.metrics().ap for one in ours]))
    assert result.human == mean_metrics([one.metrics() for one in theirs])
    rate = result.retention()["AP"]
    assert rate is not None
    interval = result.intervals["ap"]
    assert isinstance(interval, Interval)
    assert interval.holds(rate)
    assert result.verdict() == "pseudo-labels are worse"
    assert {one.name for one in result.classes} == set(ours[0].masks.per_class())
    for one in result.classes:
        expected = np.mean([run.masks.per_class()[one.name] for run in ours])
        assert one.pseudo == pytest.approx(expected)


def test_outlines_lose_more_than_areas(human, tmp_path):
    ours, theirs = predicted(human, tmp_path, 4), predicted(human, tmp_path, 0)
    result = compare_arms("s", (0,), [theirs], [ours])
    assert result.human is not None
    assert result.human.ap_boundary == pytest.approx(1.0)
    rates = result.retention()
    assert rates["APbnd"] < rates["AP"] < 1
    assert result.intervals["ap_boundary"].holds(rates["APbnd"])


def test_the_same_predictions_in_both_arms_keep_exactly_everything(human, tmp_path):
    twin = predicted(human, tmp_path, 3)
    result = compare_arms("s", (0,), [twin], [twin])
    content = result.to_json()
    defined = [name for name, value in content["human"].items() if value is not None]
    assert defined
    for name in defined:
        assert content["retention"][name] == 1.0
        assert content["interval"][name] == [1.0, 1.0]
        assert content["verdict"][name] == "not distinguishable"
    assert {one["retention"] for one in content["classes"].values()} == {1.0}


def test_without_human_masks_there_is_no_interval(human, tmp_path):
    result = compare_arms("s", (0,), [], [predicted(human, tmp_path, 3)])
    assert result.human is None
    assert result.intervals == {}
    assert set(result.to_json()["verdict"].values()) == {"undefined"}


def test_the_file_reads_back_as_the_same_report_and_tables_show_the_interval(human, tmp_path):
    runs = [predicted(human, tmp_path, shift) for shift in (1, 4)]
    report = RetentionReport(
        segmenters=(compare_arms("s", (5,), runs[:1], runs[1:]),),
        quality=None,
        accounting=Accounting(boxes=1, masks=1, crowds=0, skipped={}),
        context={},
    )
    write_json(tmp_path / "retention.json", report.to_json())
    content = json.loads((tmp_path / "retention.json").read_text(), parse_constant=pytest.fail)
    assert report_from_json(content) == report
    row = next(
        row for row in retention_rows(report.segmenters) if row["trained on"] == "95 % interval"
    )
    low, high = content["segmenters"]["s"]["interval"]["AP"]
    assert row["AP"] == f"{100 * low:.0f}-{100 * high:.0f} %"
    assert row["APl"] == "n/a"
    assert "one seed: noise of the trainings is not in the interval" in retention_text(report)
