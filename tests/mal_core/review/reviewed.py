"""A labeled file to review, and what people send back from the tools, as the tools write it."""

import copy
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mal_core.errors import DatasetError
from mal_core.formats.exports.brush_rle import mask_to_brush
from mal_core.formats.exports.cvat import row_runs
from mal_core.formats.exports.labeled import Labeled, Photos, read_labeled
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.review.corrections import import_corrections
from mal_core.review.folder import write_review
from mal_core.review.page import Context
from mal_core.review.queue import review_queue
from tests.builders import HEIGHT, WIDTH, CocoFiles, write_coco

Json = dict[str, Any]
MASKS = 8
COMPONENTS = {"gaps": 0.3, "claimed": 0.9, "belief": 0.6, "doubt": 0.4, "kinship": 0.5}


def write_labels(folder: Path, masks: int = MASKS) -> CocoFiles:
    """Labels as `mal label` writes them, two a photo, the first the worst; and a crowd."""
    files = write_coco(folder, num_images=masks // 2, with_crowd=True)
    content = files.content()
    objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    for number, entry in enumerate(objects):
        entry["score"] = round(0.1 + 0.8 * number / len(objects), 4)
        entry["score_interval"] = [0.0, 1.0]
        entry["score_components"] = COMPONENTS
    files.rewrite(content)
    return files


def write_queue(files: CocoFiles, target: Path, worst: int | None = None) -> Labeled:
    """The folder of a review of the worst labels; returns all of them."""
    labeled = read_labeled(files.annotations)
    context = Context(labels="labels.json", total=len(labeled.objects), seconds_per_mask=79.2)
    queue = review_queue(labeled)[:worst]
    write_review(labeled, queue, Photos(folder=files.images), target, context=context)
    return labeled


def shifted(labeled: Labeled, key: int) -> np.ndarray:
    """Another mask for a label: its own, two px further down."""
    one = next(one for one in labeled.objects if one.id == key)
    return np.roll(one.mask(), 2, axis=0)


def annotated(
    queue: Path, labeled: Labeled, changed: list[int], version: str = "mal brush"
) -> Json:
    """Label Studio's export after somebody has submitted every task and changed some masks."""
    tasks: list[Json] = json.loads((queue / "label_studio" / "tasks.json").read_text())
    for number, task in enumerate(tasks, start=1):
        given = next(one for one in task["predictions"] if one["model_version"] == version)
        result = copy.deepcopy(given["result"])
        for region in result:
            key = int(region["id"].split("_")[1])
            if key not in changed or region["type"] == "rectanglelabels":
                continue
            if region["type"] == "brushlabels":
                region["value"]["rle"] = mask_to_brush(shifted(labeled, key))
            else:
                points = region["value"]["points"]
                region["value"]["points"] = [[x, y + 200 / HEIGHT] for x, y in points]
        stamp = "2026-11-27T10:00:00.000000Z"
        annotation = {"id": number, "result": result, "was_cancelled": False, "updated_at": stamp}
        task.update(id=number, annotations=[annotation], predictions=[])
    return tasks


def corrected_xml(queue: Path, labeled: Labeled, changed: list[int]) -> ElementTree.ElementTree:
    """CVAT's export after somebody has changed some masks."""
    tree = ElementTree.parse(queue / "cvat" / "annotations.xml")
    for mask in tree.iter("mask"):
        key = int(attribute(mask).text or "")
        if key in changed:
            mask.attrib.update(
                left="0",
                top="0",
                width=str(WIDTH),
                height=str(HEIGHT),
                rle=", ".join(map(str, row_runs(shifted(labeled, key)))),
                source="manual",
            )
    return tree


def attribute(mask: ElementTree.Element) -> ElementTree.Element:
    return next(one for one in mask.iter("attribute") if one.get("name") == "annotation_id")


def masks_in(path: Path) -> dict[int, np.ndarray]:
    """Of all annotations that have one, by id."""
    content = json.loads(path.read_text())
    return {
        entry["id"]: segmentation_to_mask(entry["segmentation"], HEIGHT, WIDTH)
        for entry in content["annotations"]
        if "segmentation" in entry
    }


def by_id(path: Path) -> dict[int, Json]:
    return {entry["id"]: entry for entry in json.loads(path.read_text())["annotations"]}


class Review:
    """Labels under review: their file, the queue, and the ids, the worst first."""

    def __init__(self, folder: Path, masks: int = MASKS) -> None:
        self.files: CocoFiles = write_labels(folder / "data", masks)
        self.queue = folder / "queue"
        self.labeled: Labeled = write_queue(self.files, self.queue)
        listed = json.loads((self.queue / "queue.json").read_text())["queue"]
        self.ids = [one["annotation_id"] for one in listed]
        self.folder = folder

    def save(self, content: object, name: str = "back.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def refused(self, path: Path) -> str:
        with pytest.raises(DatasetError) as caught:
            import_corrections(self.files.annotations, path, self.folder / "no.json")
        assert not (self.folder / "no.json").exists()
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)


def decisions(review: Review, choices: dict[int, str]) -> Json:
    list_ = [{"annotation_id": key, "decision": choice} for key, choice in choices.items()]
    return {"review": 1, "labels": "labels.json", "decisions": list_}
