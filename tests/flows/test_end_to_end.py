"""Retention of labels whose worth is known, through real trainings and an independent count."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mal_core.geometry.masks import box_to_rle
from mal_core.processes.files import write_json
from scenes.write import write_scenes

pytestmark = pytest.mark.slow

SIZE = 96
RECOMPUTE = Path(__file__).parent / "recompute.py"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Four scenes that a small segmenter learns by heart: they are its validation images too."""
    folder = tmp_path_factory.mktemp("end_to_end") / "scenes"
    write_scenes(folder, num_train=4, num_val=1, size=SIZE, seed=1)
    return folder / "train"


@pytest.fixture(scope="module")
def filled(scenes, tmp_path_factory) -> Path:
    content = json.loads((scenes / "annotations.json").read_text())
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = box_to_rle(np.array([x, y, x + w, y + h]), SIZE, SIZE)
    target = tmp_path_factory.mktemp("filled") / "boxes.json"
    write_json(target, content)
    return target


@pytest.fixture(scope="module")
def by_heart(scenes) -> list[str]:
    annotations = scenes / "annotations.json"
    return [
        *(f"data.{split}.images={scenes / 'images'}" for split in ("train", "val")),
        *(f"data.{split}.annotations={annotations}" for split in ("train", "val")),
        "segmenters=[solov2_r18]",
        "segmenter.max_steps=100",
        "segmenter.batch_size=2",
        "segmenter.image_size=96",
        "segmenter.learning_rate=2e-3",
        "segmenter.options.default_hooks.logger.interval=5",
        "segmenter_jobs=2",
    ]


def read(workdir: Path) -> dict:
    return json.loads((workdir / "retention.json").read_text())


def recomputed(workdir: Path, val: Path, train: Path) -> str:
    command = [sys.executable, str(RECOMPUTE), str(workdir), str(val), str(train)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr[-2000:]


@pytest.fixture(scope="module")
def same(mal, by_heart, scenes, filled) -> Path:
    """Pseudo-labels that are the human masks; judged by filled boxes as well."""
    annotations = scenes / "annotations.json"
    mal.run("evaluate", *by_heart, f"pseudo_labels={annotations}", f"second_ruler={filled}")
    return Path(shutil.copytree(mal.workdir, mal.root / "same"))


@pytest.fixture(scope="module")
def boxes(mal, same, by_heart) -> Path:
    """Pseudo-labels that are filled boxes, drawn untrained; the human arm comes from the store."""
    output = mal.run("evaluate", *by_heart, "labeler=box")
    assert "solov2_r18 on human masks: cached" in output
    return Path(shutil.copytree(mal.workdir, mal.root / "boxes"))


def test_human_masks_as_labels_keep_exactly_everything(same):
    content = read(same)
    for part in (content, content["second_ruler"]):
        result = part["segmenters"]["solov2_r18"]
        assert result["human"] == result["pseudo"]
        rates = [rate for rate in result["retention"].values() if rate is not None]
        assert set(rates) == {1.0}
        assert result["interval"]["AP"] == [1.0, 1.0]
        assert result["verdict"]["AP"] == "not distinguishable"
    assert content["segmenters"]["solov2_r18"]["human"]["AP"] > 0.3
    assert content["label_quality"]["mask_iou"]["all"] == 1.0


def test_the_second_ruler_measures_otherwise(same):
    content = read(same)
    assert content["second_ruler"]["file"] == "boxes.json"
    first, second = (
        part["segmenters"]["solov2_r18"]["human"] for part in (content, content["second_ruler"])
    )
    assert second["AP"] < 0.5 * first["AP"]
    assert second["APbox"] == first["APbox"]


def test_filled_boxes_keep_clearly_less(boxes):
    content = read(boxes)
    result = content["segmenters"]["solov2_r18"]
    assert result["retention"]["AP"] < 0.5
    assert result["verdict"]["AP"] == "pseudo-labels are worse"
    assert result["retention"]["APbox"] > 0.7, "their boxes are right"


def test_a_labeler_that_needs_no_training_has_a_report_without_a_training_curve(boxes, mal):
    content = read(boxes)
    assert content["context"]["phase 1"] == "none: masks of box"
    assert content["context"]["encoder"] == "none"
    assert "train-mal" not in {one["stage"] for one in content["cost"]["stages"]}
    page = (boxes / "report.html").read_text()
    assert "Phase 2: solov2_r18" in page
    assert "Phase 1: mask auto-labeler" not in page
    card = json.loads((boxes / "labels" / "train.manifest.json").read_text())
    assert list(card["phase_1_read"]) == ["labeling"]


@pytest.mark.parametrize("name", ["same", "boxes"])
def test_an_independent_count_finds_every_number(name, request, scenes):
    annotations = scenes / "annotations.json"
    workdir = request.getfixturevalue(name)
    assert recomputed(workdir, annotations, annotations) == "all numbers are right\n"


def test_the_independent_count_notices_a_wrong_number(boxes, scenes, tmp_path):
    annotations = scenes / "annotations.json"
    altered = Path(shutil.copytree(boxes, tmp_path / "altered"))
    content = read(altered)
    content["segmenters"]["solov2_r18"]["pseudo"]["APm"] += 1e-6
    write_json(altered / "retention.json", content)
    assert "pseudo.APm" in recomputed(altered, annotations, annotations)


def test_costs_are_those_of_the_trainings(boxes):
    cost = read(boxes)["cost"]
    titles = [one["stage"] for one in cost["stages"]]
    assert "solov2_r18, human masks, seed 0" in titles
    assert all(one["device"] for one in cost["stages"])
    assert all(0 <= one["hours"] < 1 for one in cost["stages"])
    masks = read(boxes)["accounting"]["masks"]
    assert cost["annotation"]["hours_saved"] == pytest.approx(masks * 79.2 / 3600)


def test_history_has_both_runs(mal, boxes):
    printed = mal.run("history")
    assert printed.count("solov2_r18") == 2
    assert "100.0 %" in printed
    assert (mal.workdir / "history.html").read_text().count("<svg") == 1


def test_a_training_that_breaks_off_leaves_the_other_arm_alone(fresh_mal, by_heart, filled):
    """The loss of the first arm is no number; the other arm finishes and is stored."""
    content = json.loads(filled.read_text())
    for entry in content["annotations"]:
        entry["score"] = 0.5
    broken = fresh_mal.root / "broken.json"
    write_json(broken, content)
    status, output = fresh_mal.inside(
        "evaluate",
        *by_heart,
        f"pseudo_labels={broken}",
        "segmenter.max_steps=4",
        "segmenter.learning_rate=1e30",
        "segmenter_jobs=1",
    )
    assert status == 1, output
    assert "2 of 2 trainings failed" in output
    assert output.count("lower the learning rate") >= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # What the recipe refuses by itself has a table in test_recipe.py.
        (["segmenter.options.model.nonsense=1", "human_arm=none"], "mmdet refuses it"),
        (["segmenter.published_ap=37.5"], "37.5 % is 0.375"),
        (["human_arm=published"], "no published AP is known for solov2_r18"),
        (["second_ruler={other}"], "Both files must list the same classes"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_one_message(
    options, message, fresh_mal, by_heart, filled, tmp_path
):
    content = json.loads(filled.read_text())
    content["categories"][0]["name"] = "something else"
    write_json(tmp_path / "other.json", content)
    given = [text.format(other=tmp_path / "other.json") for text in options]
    status, output = fresh_mal.inside("evaluate", *by_heart, f"pseudo_labels={filled}", *given)
    assert status == 2, output
    assert message in output
    assert "Traceback" not in output
    assert "train solov2_r18: " not in output, "nothing was trained"


def test_published_ap_stands_in_for_human_masks_and_is_marked(fresh_mal, mal, boxes, by_heart):
    settings = ["human_arm=published", "segmenter.published_ap=0.5", f"store={mal.root / 'store'}"]
    output = fresh_mal.run("evaluate", *by_heart, "labeler=box", *settings)
    assert "solov2_r18 on pseudo-labels: cached" in output
    assert "human (published)" in output
    assert "no interval, no verdict" in output
    result = read(fresh_mal.workdir)["segmenters"]["solov2_r18"]
    assert result["human_source"] == "published"
    assert result["human"]["AP"] == 0.5
    assert result["retention"]["AP"] == result["pseudo"]["AP"] / 0.5
    assert result["retention"]["AP50"] is None
    assert not (fresh_mal.workdir / "segmenters" / "solov2_r18" / "human").exists()
    folder = fresh_mal.workdir / "segmenters" / "solov2_r18" / "pseudo"
    config: dict = {}
    exec((folder / "config.py").read_text(), config)
    assert config["default_hooks"]["logger"]["interval"] == 5


def test_images_without_annotations_are_predicted_in_the_form_a_server_takes(
    mal, boxes, by_heart, scenes, tmp_path
):
    """The list names the validation images, in reverse and with classes in another order."""
    content = json.loads((scenes / "annotations.json").read_text())
    listed = tmp_path / "image_info_test-dev2017.json"
    images = content["images"][::-1]
    write_json(listed, {"images": images, "categories": content["categories"][::-1]})
    output = mal.run(
        "predict",
        *by_heart,
        "labeler=box",
        f"data.test.images={scenes / 'images'}",
        f"data.test.annotations={listed}",
    )
    name = "detections_test-dev2017_solov2-r18-pseudo_results"
    target = mal.workdir / "submissions" / f"{name}.zip"
    assert str(target) in output
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [f"{name}.json"]
        found = json.loads(archive.read(f"{name}.json"))
    assert {tuple(one) for one in found} == {("image_id", "category_id", "segmentation", "score")}
    folder = mal.workdir / "segmenters" / "solov2_r18" / "pseudo"
    known = json.loads((folder / "predictions.json").read_text())

    def in_order(results):
        kept = ("image_id", "category_id", "score")
        return sorted(json.dumps([[r[key] for key in kept], r["segmentation"]]) for r in results)

    assert in_order(found) == in_order(known)


def test_a_list_of_images_with_other_classes_is_refused_before_anything_is_trained(
    fresh_mal, by_heart, scenes, tmp_path
):
    content = json.loads((scenes / "annotations.json").read_text())
    listed = tmp_path / "list.json"
    image = {**content["images"][0], "id": 99, "file_name": "absent.png"}
    write_json(listed, {"images": [*content["images"], image], "categories": []})
    status, output = fresh_mal.inside(
        "predict",
        *by_heart,
        f"data.test.images={scenes / 'images'}",
        f"data.test.annotations={listed}",
    )
    assert status == 2, output
    assert "4 problems" in output, "one image and three classes"
    assert "absent.png" in output
    assert "Both files must list the same classes" in output
    assert {"images", "check"} >= set(re.findall(r"(\S+): running", output))


def as_lvis(scenes: Path, root: Path) -> tuple[Path, Path]:
    """The scenes as LVIS writes them: images by URL, classes by frequency, not all looked for."""
    content = json.loads((scenes / "annotations.json").read_text())
    content["annotations"] = [a for a in content["annotations"] if not a.get("iscrowd")]
    shutil.copytree(scenes / "images", root / "images" / "train2017")
    classes = [category["id"] for category in content["categories"]]
    for category, frequency in zip(content["categories"], "rcf", strict=True):
        category["frequency"] = frequency
    for image in content["images"]:
        here = {a["category_id"] for a in content["annotations"] if a["image_id"] == image["id"]}
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
        image["neg_category_ids"] = [one for one in classes if one not in here][:1]
        image["not_exhaustive_category_ids"] = []
    target = root / "lvis_v1_val.json"
    write_json(target, content)
    return root / "images", target


def test_lvis_is_scored_as_lvis_api_does_from_end_to_end(
    fresh_mal, same, by_heart, scenes, tmp_path
):
    """The segmenter knows the scenes by heart already."""
    images, annotations = as_lvis(scenes, tmp_path)
    files = [
        *(f"data.{split}.images={images}" for split in ("train", "val")),
        *(f"data.{split}.annotations={annotations}" for split in ("train", "val")),
    ]
    labels = f"pseudo_labels={annotations}"
    rest = [text for text in by_heart if not text.startswith("data.")]
    learned = same / "segmenters" / "solov2_r18" / "human" / "checkpoint.pth"
    rest += [f"segmenter.options.load_from={learned}", "segmenter.learning_rate=1e-6"]
    output = fresh_mal.run(
        "evaluate", "data=lvis", *files, *rest, labels, "human_arm=none", "segmenter.max_steps=2"
    )
    assert "APr" in output
    result = read(fresh_mal.workdir)["segmenters"]["solov2_r18"]
    assert result["human"] is None
    groups = [result["pseudo"][name] for name in ("APr", "APc", "APf")]
    assert result["pseudo"]["AP"] > 0.2
    assert sum(groups) / 3 == pytest.approx(result["pseudo"]["AP"])
    assert recomputed(fresh_mal.workdir, annotations, annotations) == "all numbers are right\n"
