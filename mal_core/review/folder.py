"""What `mal review` leaves: the page, the order, and the same queue for Label Studio and CVAT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mal_core.data.images.loading import image_problems
from mal_core.errors import DatasetError
from mal_core.formats.exports.cvat import write_cvat
from mal_core.formats.exports.label_studio import write_label_studio
from mal_core.formats.exports.labeled import Labeled, Photos
from mal_core.processes.files import write_json
from mal_core.review.page import Context, write_page
from mal_core.review.queue import Suspect
from mal_core.types import ImageRecord

PAGE, QUEUE, LABEL_STUDIO, CVAT = "review.html", "queue.json", "label_studio", "cvat"
Json = dict[str, Any]


def write_review(
    labeled: Labeled, suspects: Sequence[Suspect], photos: Photos, target: Path, *, context: Context
) -> None:
    """Write the folder.

    Args:
        labeled: The whole file.
        suspects: What is to be reviewed, the worst first.
        photos: Their folder, and what stands before a file name in Label Studio.
        target: A new or empty folder.
        context: What the page says about all of the labels.

    Raises:
        DatasetError: A photo is absent, broken, or of another size than the labels say.
    """
    assert photos.folder is not None  # noqa: S101 - the caller asked for it
    part = part_of(labeled, suspects)
    records = [_record(image) for image in part.content["images"]]
    problems = list(image_problems(photos.folder, records, decode=False))
    if problems:
        raise DatasetError(photos.folder, problems)
    write_page(suspects, photos.folder, target / PAGE, context=context)
    write_json(target / QUEUE, _queue(suspects, context), indent=1)
    write_label_studio(part, target / LABEL_STUDIO, photos)
    write_cvat(part, target / CVAT, photos)


def part_of(labeled: Labeled, suspects: Sequence[Suspect]) -> Labeled:
    """The labels of a queue alone, and their images in its order."""
    image_of = {suspect.labeled.image["id"]: suspect.labeled.image for suspect in suspects}
    content = {
        **labeled.content,
        "images": list(image_of.values()),
        "annotations": [suspect.labeled.entry for suspect in suspects],
    }
    objects = tuple(suspect.labeled for suspect in suspects)
    return Labeled(content=content, objects=objects, crowds=(), unmasked=())


def _record(image: Json) -> ImageRecord:
    return ImageRecord(
        image_id=image["id"],
        file_name=str(image["file_name"]),
        height=image["height"],
        width=image["width"],
    )


def _queue(suspects: Sequence[Suspect], context: Context) -> Json:
    return {
        "labels": context.labels,
        "masks": context.total,
        "queue": [
            {
                "annotation_id": suspect.labeled.id,
                "file_name": suspect.labeled.image["file_name"],
                "category": suspect.labeled.name,
                "score": suspect.score,
                "loss": round(suspect.loss, 6),
                "reasons": list(suspect.reasons),
            }
            for suspect in suspects
        ],
    }
