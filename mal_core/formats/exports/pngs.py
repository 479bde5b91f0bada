"""A folder of PNG masks, one per object, and a table of them."""

import csv
from pathlib import Path

from PIL import Image

from mal_core.formats.exports.labeled import NO_MASK, Labeled, Losses, Photos
from mal_core.processes.files import atomic_path

COLUMNS = ("mask", "file_name", "annotation_id", "category", "score")


def write_png(labeled: Labeled, target: Path, _photos: Photos) -> Losses:
    """masks/FILE_NAME/ID.png, white on black, of the image's size; index.csv says what each is."""
    losses = Losses()
    losses.leave_out(NO_MASK, *labeled.unmasked)
    losses.leave_out("crowds, which are no objects", *(entry["id"] for entry in labeled.crowds))
    rows = []
    for instance in labeled.objects:
        name = Path("masks") / instance.image["file_name"] / f"{instance.id}.png"
        with atomic_path(target / name) as temporary:
            Image.fromarray(instance.mask() * 255).save(temporary, format="PNG")
        score = "" if instance.score is None else instance.score
        rows.append((str(name), instance.image["file_name"], instance.id, instance.name, score))
        losses.wrote(instance)
    with (
        atomic_path(target / "index.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return losses
