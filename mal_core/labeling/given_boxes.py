"""The boxes of labels whose masks were drawn of moved ones."""

from pathlib import Path

from mal_core.data.coco import parse_coco
from mal_core.data.rotated_boxes import ROTATED
from mal_core.processes.files import write_json

OF_BOXES = ("bbox", ROTATED)


def restore_boxes(labels: Path, source: Path) -> None:
    """Give the annotations of a labeled file the boxes back that their source has.

    Args:
        labels: Made of a copy of the source whose boxes have moved; rewritten.
        source: The file of the user.

    Raises:
        DatasetError: A file is absent or broken.
    """
    given = {entry["id"]: entry for entry in parse_coco(source)["annotations"]}
    content = parse_coco(labels)
    for entry in content["annotations"]:
        own = given[entry["id"]]
        entry.update({key: own[key] for key in OF_BOXES if key in own})
        if "segmentation" not in entry and "area" in entry:
            entry["area"] = own["bbox"][2] * own["bbox"][3]  # of the box, where no mask is
    write_json(labels, content)
