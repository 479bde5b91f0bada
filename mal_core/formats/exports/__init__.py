"""Labels for other tools: each export writes a folder and counts what the tool cannot say.

`EXPORTS` is the registry; to add one, write its function and one line here.
"""

from collections.abc import Callable
from pathlib import Path

from mal_core.errors import DatasetError
from mal_core.formats.exports.coco import (
    write_coco_polygon,
    write_coco_rle,
    write_fiftyone,
    write_lvis,
)
from mal_core.formats.exports.cvat import write_cvat
from mal_core.formats.exports.datumaro import write_datumaro
from mal_core.formats.exports.label_studio import write_label_studio
from mal_core.formats.exports.labeled import Labeled, Losses, Photos, read_labeled
from mal_core.formats.exports.pngs import write_png
from mal_core.formats.exports.voc import write_voc
from mal_core.formats.exports.yolo import write_yolo
from mal_core.processes.files import write_json

Writer = Callable[[Labeled, Path, Photos], Losses]
RECORD = "export.json"

EXPORTS: dict[str, Writer] = {
    "coco_rle": write_coco_rle,
    "coco_polygon": write_coco_polygon,
    "yolo": write_yolo,
    "lvis": write_lvis,
    "voc": write_voc,
    "label_studio": write_label_studio,
    "cvat": write_cvat,
    "fiftyone": write_fiftyone,
    "datumaro": write_datumaro,
    "png": write_png,
}


def export_labels(labels: Path, name: str, target: Path, photos: Photos) -> Losses:
    """Write a labeled file for another tool, and export.json, which counts what it cannot say.

    Args:
        labels: COCO file with masks in any of the encodings.
        name: One of `EXPORTS`.
        target: A new or empty folder.
        photos: Where the photos are.

    Raises:
        DatasetError: The file is broken, has no mask, or cannot be said in this format.
    """
    labeled = read_labeled(labels)
    try:
        losses = EXPORTS[name](labeled, target, photos)
    except DatasetError as error:
        raise DatasetError(labels, error.problems) from error
    record = {"format": name, "labels": labels.name, **losses.to_json()}
    write_json(target / RECORD, record, indent=1)
    return losses
