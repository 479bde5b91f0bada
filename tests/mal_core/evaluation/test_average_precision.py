"""Our accumulation against pycocotools and faster-coco-eval, and images that count twice."""

import contextlib
import copy
import io
import json
from pathlib import Path

import cv2
import faster_coco_eval
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.evaluation.average_precision import Matches, metrics_of
from mal_core.evaluation.matching import match_predictions
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.processes.files import write_json
from scenes.write import write_scenes

COCO_DEV = Path(__file__).parents[4] / "shared" / "data" / "coco_dev" / "annotations"


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("matches") / "scenes"
    write_scenes(folder, num_train=1, num_val=12, size=120, seed=1)
    return folder / "val" / "annotations.json"


def noisy_predictions(human: Path, output: Path, seed: int = 0, limit: int = 4000) -> Path:
    """Human masks, some shifted, some missing, some of another class, and some of nothing."""
    generator = np.random.default_rng(seed)
    content = json.loads(human.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    classes = [category["id"] for category in content["categories"]]
    results = []
    for entry in content["annotations"][:limit]:
        for _ in range(int(generator.integers(0, 3))):
            mask = segmentation_to_mask(entry["segmentation"], *sizes[entry["image_id"]])
            shift = np.roll(mask, generator.integers(-4, 5, 2), (0, 1))
            rle = mask_to_rle(shift)
            if coco_mask.area(rle) == 0:
                continue
            wrong = generator.random() < 0.15
            kind = int(generator.choice(classes)) if wrong else entry["category_id"]
            results.append(
                {
                    "image_id": entry["image_id"],
                    "category_id": kind,
                    "segmentation": rle,
                    "score": round(float(generator.random()), 2),  # ties, as networks have
                }
            )
    write_json(output, results)
    return output


def quietly(make):
    with contextlib.redirect_stdout(io.StringIO()):
        return make()


def by_pycocotools(human: Path, predictions: Path) -> COCOeval:
    def make():
        content = json.loads(human.read_text())
        for number, entry in enumerate(content["annotations"], start=1):
            entry["id"] = number
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(json.loads(predictions.read_text())), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator

    return quietly(make)


def in_order(matches: Matches, weights=None) -> list[float]:
    metrics = matches.metrics(weights)
    values = [getattr(metrics, f"ap{end}") for end in ("", "50", "75", "_small", "_medium")]
    values.append(metrics.ap_large)
    return [-1.0 if value is None else value for value in values]


@pytest.fixture(params=["scenes", "photos"])
def pair(request, scene_file, tmp_path) -> tuple[Path, Path]:
    if request.param == "photos" and not COCO_DEV.exists():
        pytest.skip("coco_dev is not here")
    human = scene_file if request.param == "scenes" else COCO_DEV / "instances_val.json"
    return human, noisy_predictions(human, tmp_path / "predictions.json")


def test_the_numbers_are_those_of_pycocotools(pair):
    evaluator, matches = by_pycocotools(*pair), match_predictions(*pair)
    assert 0.05 < evaluator.stats[0] < 0.95
    np.testing.assert_allclose(in_order(matches), evaluator.stats[:6], atol=1e-9)
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    for index, (name, value) in enumerate(matches.per_class().items()):
        known = precision[:, :, index]
        expected = known[known > -1]
        assert value == (pytest.approx(expected.mean(), abs=1e-9) if expected.size else None), name


def test_the_numbers_are_those_of_faster_coco_eval(pair):
    def make():
        truth = faster_coco_eval.COCO(str(pair[0]))
        found = truth.loadRes(json.loads(pair[1].read_text()))
        evaluator = faster_coco_eval.COCOeval_faster(truth, found, "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator

    stats = quietly(make).stats[:6]
    np.testing.assert_allclose(in_order(match_predictions(*pair)), stats, atol=1e-9)


def test_boundary_ap_is_that_of_faster_coco_eval(scene_file, tmp_path):
    predictions = noisy_predictions(scene_file, tmp_path / "p.json")

    def make():
        truth = faster_coco_eval.COCO(str(scene_file))
        found = truth.loadRes(json.loads(predictions.read_text()))
        evaluator = faster_coco_eval.COCOeval_faster(truth, found, "boundary")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator

    ours = match_predictions(scene_file, predictions, "boundary")
    np.testing.assert_allclose(in_order(ours), quietly(make).stats[:6], atol=1e-9)
    by_area = match_predictions(scene_file, predictions).metrics().ap
    assert ours.metrics().ap < by_area


def test_an_image_that_counts_twice_is_an_image_that_is_there_twice(scene_file, tmp_path):
    predictions = noisy_predictions(scene_file, tmp_path / "p.json")
    matches = match_predictions(scene_file, predictions)
    weights = np.array([2, 0, 1] * 4, dtype=float)[: len(matches.image_ids)]
    content, results = json.loads(scene_file.read_text()), json.loads(predictions.read_text())
    copies: dict[str, list] = {"images": [], "annotations": []}
    written = []
    for image_id, count in zip(matches.image_ids, weights.astype(int).tolist(), strict=True):
        for number in range(count):
            new = image_id + 1000 * (number + 1)
            image = next(image for image in content["images"] if image["id"] == image_id)
            copies["images"].append({**image, "id": new})
            for entry in copy.deepcopy(content["annotations"]):
                if entry["image_id"] == image_id:
                    new_id = len(copies["annotations"]) + 1
                    copies["annotations"].append({**entry, "id": new_id, "image_id": new})
            written += [{**r, "image_id": new} for r in results if r["image_id"] == image_id]
    write_json(tmp_path / "twice.json", {**content, **copies})
    write_json(tmp_path / "twice_p.json", written)
    physical = match_predictions(tmp_path / "twice.json", tmp_path / "twice_p.json")
    np.testing.assert_allclose(in_order(matches, weights), in_order(physical), atol=1e-9)


def test_without_predictions_everything_to_find_is_missed(scene_file, tmp_path):
    write_json(tmp_path / "p.json", [])
    matches = match_predictions(scene_file, tmp_path / "p.json")
    assert in_order(matches) == [0, 0, 0, 0, 0, -1]
    assert set(matches.per_class().values()) == {0.0}


def test_damaging_one_class_moves_that_row_only(scene_file, tmp_path):
    content = json.loads(scene_file.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    victim = content["categories"][0]
    results = []
    for entry in content["annotations"]:
        mask = segmentation_to_mask(entry["segmentation"], *sizes[entry["image_id"]])
        if entry["category_id"] == victim["id"]:
            mask = cv2.erode(mask, np.ones((5, 5), np.uint8))
        known = {key: entry[key] for key in ("image_id", "category_id")}
        results.append({**known, "segmentation": mask_to_rle(mask), "score": 0.9})
    write_json(tmp_path / "p.json", results)
    per_class = match_predictions(scene_file, tmp_path / "p.json").per_class()
    assert per_class.pop(victim["name"]) < 0.9
    assert list(per_class.values()) == pytest.approx([1.0] * len(per_class))


def test_a_class_without_objects_counts_nowhere():
    precision = np.full((2, 4, 10), np.nan)
    precision[0, :3] = 0.5
    metrics = metrics_of(precision)
    assert (metrics.ap, metrics.ap_medium, metrics.ap_large) == (0.5, 0.5, None)
