"""The HTML report and its gallery, from drawn scenes and ellipses as pseudo-labels."""

import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from mal_core.evaluation.compared_arms import compare_arms, match_run
from mal_core.evaluation.costs import Cost, StageCost
from mal_core.evaluation.retention import Accounting, RetentionReport, SecondRuler
from mal_core.evaluation.scores import label_quality, score_histogram
from mal_core.geometry.masks import ellipse_to_rle
from mal_core.processes.files import write_json
from mal_core.report.gallery import build_gallery
from mal_core.report.page import ReportSources, write_report
from mal_core.report.plots import read_curve, smooth
from mal_core.report.tables import quality_rows, retention_rows
from scenes.write import write_scenes

VOID = {"meta", "img", "br", "link", "input", "hr"}


class PageParser(HTMLParser):
    """Collects links, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def scene_files(tmp_path_factory) -> tuple[Path, Path]:
    """Drawn scenes and a file in which every mask is the ellipse of its box."""
    folder = tmp_path_factory.mktemp("report")
    write_scenes(folder / "scenes", num_train=1, num_val=12, size=120, seed=0)
    human = folder / "scenes" / "val" / "annotations.json"
    content = json.loads(human.read_text())
    content["categories"][0]["name"] = "<script>alert(1)</script>"
    write_json(human, content)
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        box = np.array([x, y, x + w, y + h])
        annotation["segmentation"] = ellipse_to_rle(box, 120, 120)
        annotation["score"] = 0.5
    labeled = folder / "labeled.json"
    write_json(labeled, content)
    return human, labeled


def predictions_of(labeled: Path, output: Path) -> Path:
    """The masks of a labeled file as perfect-score predictions."""
    content = json.loads(labeled.read_text())
    keys = ("image_id", "category_id", "segmentation", "bbox", "score")
    write_json(output, [{key: a[key] for key in keys} for a in content["annotations"]])
    return output


def make_report(
    scene_files, folder: Path, *, human_masks: bool = True
) -> tuple[RetentionReport, str]:
    """Numbers and page of a run whose segmenter predicts ellipses."""
    human, labeled = scene_files
    quality = label_quality(labeled, human) if human_masks else None
    matches = match_run(human, predictions_of(labeled, folder / "predictions.json"))
    result = compare_arms("solo", (0,), [matches] if human_masks else [], [matches])
    predictions = {("solo", "pseudo"): folder / "predictions.json"}
    if human_masks:
        predictions["solo", "human"] = folder / "predictions.json"
    report = RetentionReport(
        segmenters=(result,),
        quality=quality,
        accounting=Accounting(boxes=30, masks=29, crowds=0, skipped={"zero-size box": 1}),
        context={"encoder": "none"},
        second=SecondRuler(file="rem.json", segmenters=(result,)) if human_masks else None,
        scores=score_histogram(labeled),
        cost=Cost(
            stages=(StageCost(stage="train-mal", hours=0.5, devices=2, device="CPU"),),
            masks=29,
            seconds_per_mask=79.2,
        ),
    )
    curve = folder / "scalars.jsonl"
    curve.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    sources = ReportSources(
        labeled=labeled,
        human=human,
        images=human.parent / "images",
        mal_scalars=curve,
        curves={("solo", "human"): curve, ("solo", "pseudo"): curve},
        val_annotations=human,
        val_images=human.parent / "images",
        predictions=predictions,
        config_diffs={"solo": "-ann_file = 'a'\n+ann_file = 'b'"},
        settings="seed: 0",
    )
    write_report(report, quality, sources, folder / "report.html")
    return report, (folder / "report.html").read_text()


def test_the_page_is_well_formed_and_needs_nothing_from_outside(scene_files, tmp_path):
    _, page = make_report(scene_files, tmp_path)
    parser = PageParser()
    parser.feed(page)
    assert parser.stack == []
    assert all(target.startswith(("data:", "#")) for target in parser.targets)
    assert "{{" not in page
    assert "script" not in parser.tags


def test_the_page_shows_every_number_of_the_tables(scene_files, tmp_path):
    report, page = make_report(scene_files, tmp_path)
    for row in [*retention_rows(report.segmenters), *quality_rows(report)]:
        for cell in row.values():
            assert f"<td>{cell}</td>" in page
    assert "boxes in 30 = masks 29 + crowds 0 + skipped 1" in page
    assert "+ann_file = &#39;b&#39;" in page


def test_the_page_says_how_far_the_rate_can_be_trusted(scene_files, tmp_path):
    _, page = make_report(scene_files, tmp_path)
    assert "solo: not distinguishable by AP (one seed" in page
    assert "95 % of resamples" in page
    assert "AP of each class" in page
    _, page = make_report(scene_files, tmp_path, human_masks=False)
    assert "95 % of resamples" not in page


def test_the_page_shows_curves_costs_losses_and_the_second_ruler(scene_files, tmp_path):
    _, page = make_report(scene_files, tmp_path)
    assert "Precision over recall of both arms, solo" in page
    assert "How many labels have which score" in page
    assert "AP of small, medium and large objects in both arms, solo" in page
    assert "cost: 1.0 h of CPU; 29 masks drawn by hand at 79.2 s each: 38.3 min" in page
    assert "<h3>By rem.json</h3>" in page
    assert "trained on pseudo-labels: IoU" in page
    assert "trained on human masks: IoU" in page


def test_names_from_files_are_escaped(scene_files, tmp_path):
    _, page = make_report(scene_files, tmp_path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_without_human_masks_the_page_says_so_and_ranks_by_score(scene_files, tmp_path):
    _, page = make_report(scene_files, tmp_path, human_masks=False)
    assert "without human masks" in page
    assert "Highest score" in page
    assert "n/a" in page


def test_the_same_run_gives_the_same_page(scene_files, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (make_report(scene_files, tmp_path / name)[1] for name in "ab")
    assert first == second


def test_the_gallery_goes_from_the_best_to_the_worst_mask(scene_files):
    human, labeled = scene_files
    quality = label_quality(labeled, human)
    rows = build_gallery(labeled, human.parent / "images", quality, human=human, per_row=4)
    assert [row.title for row in rows] == ["Highest IoU", "Median IoU", "Lowest IoU"]
    shown = [float(item.caption.rsplit(" ", 1)[1]) for row in rows for item in row.items]
    highest, lowest = max(quality.iou_of.values()), min(quality.iou_of.values())
    assert shown[0] == pytest.approx(highest, abs=0.005)
    assert min(shown) == pytest.approx(lowest, abs=0.005)
    tile = cv2.imdecode(np.frombuffer(rows[0].items[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert max(tile.shape[:2]) == pytest.approx(180, abs=1)


def test_a_curve_keeps_its_steps_and_its_level(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 3, "lr": 0.1}\n{"step": 5, "loss": 2.0}\n')
    assert smooth(read_curve(path, "loss")) == [(1, 2.0), (5, pytest.approx(2.0))]
    assert read_curve(tmp_path / "absent.jsonl", "loss") == []


def test_the_page_says_what_a_review_of_the_labels_would_give(scene_files, tmp_path):
    human, labeled = scene_files
    _, page = make_report(scene_files, tmp_path)
    assert "mal review" not in page  # all labels have one score here
    content = json.loads(labeled.read_text())
    for number, entry in enumerate(content["annotations"]):
        entry["score"] = number / len(content["annotations"])
    write_json(tmp_path / "scored.json", content)
    _, page = make_report((human, tmp_path / "scored.json"), tmp_path)
    assert "Redrawing the labels with the largest expected loss (`mal review`)" in page
