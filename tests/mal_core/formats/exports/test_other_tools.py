"""Exports read by datumaro and by Label Studio's converter, in an environment of their own.

`MAL_OTHER_TOOLS` names its Python; without it these tests are left out, since the two packages
bring about sixty others: python -m venv tools && tools/bin/pip install datumaro label-studio-sdk
"""

import json
import os
import subprocess

import numpy as np
import pytest

from mal_core.formats.exports import export_labels
from mal_core.formats.exports.labeled import Photos
from tests.builders import write_coco
from tests.mal_core.formats.exports.test_exports import OBJECTS, masks_of

PACKAGES = ("datumaro", "label-studio-sdk")
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
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> str:
    given = os.environ.get("MAL_OTHER_TOOLS")
    if not given:
        pytest.skip(f"MAL_OTHER_TOOLS names no Python with {' and '.join(PACKAGES)}")
    return given


def asked(python: str, program: str, *arguments: object) -> dict[int, list[int]]:
    command = [python, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": ""}
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300
    )
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
