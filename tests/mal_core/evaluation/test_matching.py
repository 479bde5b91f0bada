"""Matching against pycocotools and lvis-api; boxes beside masks; what a file says it is."""

import contextlib
import copy
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from lvis import LVIS, LVISEval, LVISResults
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.data.crowding import is_federated
from mal_core.errors import DatasetError, MalCoreError
from mal_core.evaluation.matching import match_predictions, match_results
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.processes.files import write_json
from scenes.write import write_scenes

SIZE = 120


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("matching") / "scenes"
    write_scenes(folder, num_train=1, num_val=24, size=SIZE, seed=3)
    return folder / "val" / "annotations.json"


@pytest.fixture(scope="module")
def federated(scene_file, tmp_path_factory) -> Path:
    """The scenes as LVIS would have them: in each image, not every class was looked for."""
    generator = np.random.default_rng(0)
    content = json.loads(scene_file.read_text())
    content["annotations"] = [a for a in content["annotations"] if not a.get("iscrowd")]
    classes = [category["id"] for category in content["categories"]]
    for category, frequency in zip(content["categories"], "rcf", strict=True):
        category["frequency"] = frequency
    for image in content["images"]:
        here = {a["category_id"] for a in content["annotations"] if a["image_id"] == image["id"]}
        absent = [one for one in classes if one not in here]
        image["neg_category_ids"] = [one for one in absent if generator.random() < 0.5]
        image["not_exhaustive_category_ids"] = [one for one in here if generator.random() < 0.3]
    target = tmp_path_factory.mktemp("federated") / "lvis.json"
    write_json(target, content)
    return target


def predictions_for(human: Path, output: Path, *, boxes: bool) -> Path:
    generator = np.random.default_rng(0)
    content = json.loads(human.read_text())
    classes = [category["id"] for category in content["categories"]]
    results = []
    for entry in content["annotations"]:
        for _ in range(int(generator.integers(0, 3))):
            mask = segmentation_to_mask(entry["segmentation"], SIZE, SIZE)
            moved = np.roll(mask, generator.integers(-4, 5, 2), (0, 1))
            wrong = generator.random() < 0.3
            kind = int(generator.choice(classes)) if wrong else entry["category_id"]
            found = {"image_id": entry["image_id"], "category_id": kind}
            if boxes:
                jitter = generator.uniform(-3, 3, 4)
                found["bbox"] = [float(v) for v in np.maximum(entry["bbox"] + jitter, 1)]
            score = round(float(generator.random()), 2)
            results.append({**found, "segmentation": mask_to_rle(moved), "score": score})
    write_json(output, results)
    return output


def by_lvis_api(human: Path, results: list[dict], kind: str) -> dict[str, float]:
    logging.getLogger("lvis").setLevel(logging.ERROR)
    truth = LVIS(str(human))
    evaluator = LVISEval(truth, LVISResults(truth, results), kind)
    evaluator.run()
    return dict(evaluator.get_results())


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_a_file_of_lvis_is_scored_as_lvis_api_does(federated, tmp_path, kind, monkeypatch):
    # lvis-api 0.5.3 accumulates with names that NumPy no longer has; the matching needs none.
    monkeypatch.setattr(np, "float", float, raising=False)
    path = predictions_for(federated, tmp_path / "p.json", boxes=True)
    results = json.loads(path.read_text())
    if kind == "segm":  # lvis-api would take sizes of boxes
        results = [{k: v for k, v in one.items() if k != "bbox"} for one in results]
    expected = by_lvis_api(federated, results, kind)
    ours = match_predictions(federated, path, kind).metrics()
    fields = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    fields += ("ap_rare", "ap_common", "ap_frequent")
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
    for field, name in zip(fields, names, strict=True):
        value = getattr(ours, field)
        assert (-1 if value is None else value) == pytest.approx(expected[name], abs=1e-9), name
    assert 0.05 < ours.ap < 0.95
    assert len({ours.ap_rare, ours.ap_common, ours.ap_frequent}) == 3


def test_what_nobody_looked_for_counts_against_a_detector_as_coco_only(
    federated, scene_file, tmp_path
):
    path = predictions_for(federated, tmp_path / "p.json", boxes=False)
    as_lvis = match_predictions(federated, path).metrics()
    as_coco = match_predictions(scene_file, path).metrics()
    assert as_lvis.ap > as_coco.ap
    assert as_coco.ap_rare is None


def test_outlines_lose_more_than_areas_in_a_file_of_lvis_too(federated, tmp_path):
    path = predictions_for(federated, tmp_path / "p.json", boxes=False)
    by_area, by_outline = (match_predictions(federated, path, k) for k in ("segm", "boundary"))
    assert 0 < by_outline.metrics().ap < by_area.metrics().ap


def test_without_detections_a_file_of_lvis_is_all_misses(federated, tmp_path):
    write_json(tmp_path / "p.json", [])
    for kind in ("segm", "boundary", "bbox"):
        assert match_predictions(federated, tmp_path / "p.json", kind).metrics().ap == 0


@pytest.mark.parametrize("field", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_a_file_is_federated_only_if_every_image_says_so(federated, field):
    content = json.loads(federated.read_text())
    assert is_federated(content)
    del content["images"][3][field]
    assert not is_federated(content)


def test_a_file_of_lvis_without_frequencies_lacks_only_their_ap(federated, tmp_path):
    path = predictions_for(federated, tmp_path / "p.json", boxes=False)
    content = json.loads(federated.read_text())
    for category in content["categories"]:
        del category["frequency"]
    write_json(tmp_path / "without.json", content)
    found = match_predictions(tmp_path / "without.json", path).metrics()
    as_lvis = match_predictions(federated, path).metrics()
    assert found.ap == as_lvis.ap
    assert found.ap_rare is None


def test_boxes_beside_masks_do_not_decide_their_size(scene_file, tmp_path):
    path = predictions_for(scene_file, tmp_path / "p.json", boxes=True)
    results = json.loads(path.read_text())
    write_json(
        tmp_path / "bare.json", [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    )
    bare = match_predictions(scene_file, tmp_path / "bare.json").metrics()
    assert match_predictions(scene_file, path).metrics() == bare


def test_predictions_without_boxes_are_refused_where_boxes_are_scored(scene_file, tmp_path):
    predictions = predictions_for(scene_file, tmp_path / "p.json", boxes=False)
    with pytest.raises(DatasetError, match="have no box"):
        match_predictions(scene_file, predictions, "bbox")


def crowd(path: Path, classes: dict[int, int], *, federated: bool = False) -> Path:
    """One image of 210 x 210 px with that many squares of each class, at most 441 in all."""
    fields = {"neg_category_ids": [], "not_exhaustive_category_ids": []} if federated else {}
    kinds = [one for one, count in classes.items() for _ in range(count)]
    annotations = []
    for number, kind in enumerate(kinds):
        x, y = 10 * (number % 21), 10 * (number // 21)
        corners = [x, y, x + 8, y, x + 8, y + 8, x, y + 8]
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": kind,
                "iscrowd": 0,
                "area": 64,
                "bbox": [x, y, 8, 8],
                "segmentation": [corners],
            }
        )
    categories = [{"id": one, "name": str(one), "frequency": "f"} for one in classes]
    image = {"id": 1, "file_name": "1.png", "height": 210, "width": 210, **fields}
    write_json(path, {"images": [image], "categories": categories, "annotations": annotations})
    return path


@pytest.mark.parametrize("kind", ["segm", "boundary", "bbox"])
@pytest.mark.parametrize(
    ("classes", "is_lvis"), [({1: 120}, False), ({1: 400}, False), ({1: 200, 2: 200}, True)]
)
def test_a_detector_that_finds_every_object_of_a_full_image_is_perfect(
    tmp_path, classes, is_lvis, kind
):
    human = crowd(tmp_path / "human.json", classes, federated=is_lvis)
    assert is_federated(json.loads(human.read_text())) == is_lvis
    results = [
        {
            "image_id": 1,
            "category_id": entry["category_id"],
            "bbox": entry["bbox"],
            "segmentation": mask_to_rle(segmentation_to_mask(entry["segmentation"], 210, 210)),
            "score": 1 - entry["id"] / 1000,
        }
        for entry in json.loads(human.read_text())["annotations"]
    ]
    write_json(tmp_path / "found.json", results)
    assert match_predictions(human, tmp_path / "found.json", kind).metrics().ap == 1.0
    write_json(tmp_path / "half.json", results[: len(results) // 2])
    assert match_predictions(human, tmp_path / "half.json", kind).metrics().ap < 0.6


def tangled(seed: int) -> tuple[dict, list[dict]]:
    """Boxes on a coarse grid: equal overlaps and scores, crowds, sizes at the areas' borders."""
    generator = np.random.default_rng(seed)
    sides = np.array([8, 16, 32, 64, 96, 120])

    def box() -> list[int]:
        width, height = generator.choice(sides, 2)
        x, y = 8 * generator.integers(0, 6, 2)
        return [int(v) for v in (x, y, width, height)]

    images, classes = (7, 3, 12), (2, 9)
    where = [(image, kind) for image in images for kind in classes]
    annotations = []
    for number in range(40):
        image, kind = where[generator.integers(len(where))]
        x, y, width, height = xywh = box()
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": kind,
                "bbox": xywh,
                "area": width * height,
                "iscrowd": int(generator.random() < 0.2),
                "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
            }
        )
    content = {
        "images": [
            {"id": one, "file_name": f"{one}.jpg", "width": 200, "height": 200} for one in images
        ],
        "annotations": annotations,
        "categories": [{"id": one, "name": str(one)} for one in classes],
    }
    found = []
    for _ in range(120):
        image, kind = where[generator.integers(len(where))]
        xywh = box() if generator.random() < 0.3 else list(generator.choice(annotations)["bbox"])
        score = float(generator.integers(1, 6)) / 5
        found.append({"image_id": image, "category_id": kind, "bbox": xywh, "score": score})
    return content, found


@pytest.mark.parametrize("seed", range(8))
def test_each_detection_takes_the_object_that_pycocotools_gives_it(seed):
    content, found = tangled(seed)
    for number, entry in enumerate(content["annotations"], start=1):
        entry["id"] = number  # pycocotools takes a match with object 0 for none
    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = copy.deepcopy(content)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(found)), "bbox")
        evaluator.evaluate()
    ours = match_results(content, found, "bbox")
    records = np.empty(len(evaluator.evalImgs), object)
    records[:] = evaluator.evalImgs
    for of_class, rows in zip(ours.classes, records.reshape(2, 4, 3), strict=True):
        for image in range(3):
            mine = of_class.image == image
            for area, record in enumerate(rows[:, image]):
                assert np.array_equal(of_class.hit[area][:, mine], record["dtMatches"] != 0)
                assert np.array_equal(of_class.ignored[area][:, mine], record["dtIgnore"])
                assert of_class.objects[area, image] == np.sum(record["gtIgnore"] == 0)
    assert any(of_class.ignored.any() and of_class.hit.any() for of_class in ours.classes)


def test_detections_on_strange_images_are_refused():
    content, found = tangled(0)
    found[3]["image_id"] = "x.jpg"
    with pytest.raises(
        MalCoreError, match=r"^1 detections are on images .* the first on image 'x.jpg'"
    ):
        match_results(content, found, "bbox")
