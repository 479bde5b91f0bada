"""Exports read, and corrections written, by the tools themselves in an environment of their own.

`MAL_OTHER_TOOLS` names its Python; without it these tests are left out, since the packages bring
some hundred others:
python -m venv tools && tools/bin/pip install datumaro label-studio-sdk fiftyone ultralytics
A test whose package is not there is left out.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mal_core.formats.exports import export_labels
from mal_core.formats.exports.labeled import Photos
from mal_core.review.corrections import import_corrections
from tests.builders import change_coco, write_coco
from tests.mal_core.formats.exports.test_exports import OBJECTS, masks_of
from tests.mal_core.review.reviewed import Review, masks_in, shifted

PACKAGES = ("datumaro", "label-studio-sdk", "fiftyone", "ultralytics")
DATUMARO = """
import sys, json
import datumaro
from datumaro import Dataset
found = {}
for item in Dataset.import_from(sys.argv[1], sys.argv[2]):
    for one in item.annotations:
        if one.type.name == "mask":
            key = one.attributes.get("annotation_id", len(found))
            found[int(key)] = one.image.astype(int).ravel().nonzero()[0].tolist()
print(json.dumps(found))
"""
CONVERTER = """
import sys, json
from label_studio_sdk.converter.brush import decode_rle
found = {}
for task in json.load(open(sys.argv[1])):
    for region in task["predictions"][0]["result"]:
        if region["type"] == "brushlabels":
            size = region["original_height"], region["original_width"], 4
            mask = decode_rle(region["value"]["rle"]).reshape(size)[:, :, 3] > 0
            found[int(region["id"].split("_")[1])] = mask.ravel().nonzero()[0].tolist()
print(json.dumps(found))
"""
MODULES = ("datumaro", "label_studio_sdk", "fiftyone", "ultralytics")
FIFTYONE = """
import sys, json
import fiftyone.utils.coco as coco
found = {}
reader = coco.COCODetectionDatasetImporter(
    dataset_dir=sys.argv[1], label_types=["segmentations"], extra_attrs=True, include_id=True
)
with reader:
    for _, metadata, label in reader:
        sides = metadata.width, metadata.height
        label = label["segmentations"] if isinstance(label, dict) else label
        for one in label.detections:
            if one["iscrowd"]:
                continue
            x, y = (round(part * side) for part, side in zip(one.bounding_box[:2], sides))
            rows, columns = one.mask.nonzero()
            pixels = (rows + y) * metadata.width + columns + x
            found[int(one["number"])] = sorted(pixels.tolist())
print(json.dumps(found))
"""
ULTRALYTICS = """
import sys, json
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
data = check_det_dataset(sys.argv[1] + "/data.yaml", autodownload=False)
read = YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)
print(json.dumps({n: [len(one["cls"]), len(one["segments"])] for n, one in enumerate(read.labels)}))
"""
LABEL_STUDIO_BRUSH = """
import sys, json
import numpy as np
from label_studio_sdk.converter.brush import encode_rle
tasks, changed = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
for task in tasks:
    result = task["predictions"][0]["result"]
    for region in result:
        key = region["id"].split("_")[1]
        if region["type"] == "brushlabels" and key in changed:
            flat = np.zeros(region["original_height"] * region["original_width"], np.uint8)
            flat[changed[key]] = 255
            region["value"]["rle"] = encode_rle(np.repeat(flat, 4))
    task["annotations"] = [{"id": 1, "result": result, "was_cancelled": False}]
json.dump(tasks, open(sys.argv[3], "w"))
print("{}")
"""
CVAT = """
import sys, json
import numpy as np
from datumaro import Dataset, DatasetItem, Mask
changed = json.load(open(sys.argv[2]))
items = []
for item in Dataset.import_from(sys.argv[1], "cvat"):
    masks = []
    for one in item.annotations:
        key = one.attributes.get("annotation_id")
        if one.type.name == "mask" and str(key) in changed:
            pixels = np.zeros(one.image.size, bool)
            pixels[changed[str(key)]] = True
            one = one.wrap(image=pixels.reshape(one.image.shape))
        masks.append(one)
    items.append(item.wrap(annotations=masks))
read = Dataset.import_from(sys.argv[1], "cvat")
out = Dataset.from_iterable(items, categories=read.categories(), media_type=read.media_type())
out.export(sys.argv[3], sys.argv[4], save_media=False)
print("{}")
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> str:
    given = os.environ.get("MAL_OTHER_TOOLS")
    if not given:
        pytest.skip(f"MAL_OTHER_TOOLS names no Python with {' and '.join(PACKAGES)}")
    return given


def asked(python: str, program: str, *arguments: object) -> dict[int, list[int]]:
    command = [python, "-c", program, *map(str, arguments)]
    quiet = {"FIFTYONE_DO_NOT_TRACK": "1", "YOLO_OFFLINE": "True"}
    environment = {**os.environ, "PYTHONPATH": "", **quiet}
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    absent = re.search(r"^ModuleNotFoundError: No module named '(\w+)", output.stderr, re.MULTILINE)
    if absent is not None and absent[1] in MODULES:
        pytest.skip(f"{python} has no {absent[1]}")
    assert output.returncode == 0, output.stderr
    found = json.loads(output.stdout.splitlines()[-1])
    return {int(key): pixels for key, pixels in found.items()}


@pytest.mark.parametrize("name", ["datumaro", "cvat", "label_studio"])
def test_the_tools_get_exactly_the_masks(name, python, tmp_path):
    files = write_coco(tmp_path / "data", with_crowd=True)
    export_labels(files.annotations, name, tmp_path / "out", Photos(folder=files.images))
    if name == "label_studio":
        found = asked(python, CONVERTER, tmp_path / "out" / "tasks.json")
    else:
        found = asked(python, DATUMARO, tmp_path / "out", name)
    wanted = masks_of(files)
    assert len(found) == OBJECTS
    assert found == {key: np.flatnonzero(mask).tolist() for key, mask in wanted.items()}


def test_fiftyone_gets_exactly_the_masks(python, tmp_path):
    files = write_coco(tmp_path / "data", with_crowd=True)
    change_coco(files, lambda content: [one.update(number=one["id"])
                                        for one in content["annotations"]])  # fmt: skip
    export_labels(files.annotations, "fiftyone", tmp_path / "out", Photos(folder=files.images))
    found = asked(python, FIFTYONE, tmp_path / "out")
    assert found == {key: np.flatnonzero(mask).tolist() for key, mask in masks_of(files).items()}


def test_ultralytics_reads_every_object_with_its_polygon(python, tmp_path):
    files = write_coco(tmp_path / "data", with_crowd=True)
    export_labels(files.annotations, "yolo", tmp_path / "out", Photos(folder=files.images))
    found = asked(python, ULTRALYTICS, tmp_path / "out")
    assert sorted(found.values()) == [[2, 2]] * 3


@pytest.mark.parametrize("form", ["label_studio", "coco_instances", "cvat"])
def test_what_the_tools_write_comes_back_as_what_was_changed(form, python, tmp_path):
    review = Review(tmp_path)
    keys = review.ids[:3]
    wanted = {key: shifted(review.labeled, key) for key in keys}
    pixels = {str(key): np.flatnonzero(mask).tolist() for key, mask in wanted.items()}
    changed = review.save(pixels, "changed.json")
    if form == "label_studio":
        back = tmp_path / "back.json"
        asked(python, LABEL_STUDIO_BRUSH, review.queue / form / "tasks.json", changed, back)
    else:
        asked(python, CVAT, review.queue / "cvat", changed, tmp_path / "back", form)
        back = next(Path(tmp_path / "back").rglob("*.xml" if form == "cvat" else "*.json"))
    found = import_corrections(review.files.annotations, back, tmp_path / "out.json")
    assert set(found.corrected) == set(keys)
    masks = masks_in(tmp_path / "out.json")
    assert all((masks[key] == mask).all() for key, mask in wanted.items())
