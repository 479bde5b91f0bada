"""`review.html`: one file, opened from the disk or through `mal serve`, to judge the worst masks.

Everything that comes from the user's files is data: it travels as JSON in which no character can
end the script element, and the script only ever writes it as text.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mal_core.processes.files import atomic_path, sha256_json
from mal_core.review.digests import mask_digest
from mal_core.review.pictures import Painter, Picture
from mal_core.review.queue import Suspect

TEMPLATE, SCRIPT = "review_template.html", "review_page.js.html"
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What the page says about all of the labels.

    Attributes:
        labels: Name of the file.
        total: Masks in it.
        seconds_per_mask: What a person needs to draw one.
    """

    labels: str
    total: int
    seconds_per_mask: float


def queue_digest(suspects: Sequence[Suspect]) -> str:
    """Names a queue: which masks, in any order."""
    return sha256_json(
        sorted([suspect.labeled.id, mask_digest(suspect.labeled.rle)] for suspect in suspects)
    )


def write_page(
    suspects: Sequence[Suspect], images: Path, target: Path, *, context: Context
) -> None:
    """Write the page.

    Args:
        suspects: What to show, the worst first.
        images: Folder of the photos.
        target: The HTML file.
        context: What all of it is about.

    Raises:
        DatasetError: A photo is absent or cannot be decoded.
    """
    painter = Painter(images)
    by_photo = sorted(suspects, key=lambda suspect: str(suspect.labeled.image["file_name"]))
    pictures = {suspect.labeled.id: painter.paint(suspect.labeled) for suspect in by_photo}
    items = [_item(suspect, pictures[suspect.labeled.id]) for suspect in suspects]
    data = {
        "labels": context.labels,
        "total": context.total,
        "seconds_per_mask": context.seconds_per_mask,
        "queue": queue_digest(suspects),
        "items": items,
    }
    with atomic_path(target) as temporary:
        temporary.write_text(page(data), encoding="utf-8")


def page(data: Json) -> str:
    """The page of some data, as `write_page` gathers it."""
    folder = Path(__file__).parent
    script = (folder / SCRIPT).read_text(encoding="utf-8").strip()
    script = script.removeprefix("<script>").removesuffix("</script>")
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text: str = environment.get_template(TEMPLATE).render(
        labels=data["labels"],
        script=Markup(script),
        script_digest=digest,
        data=Markup(script_json(data)),
    )
    return text


def script_json(value: object) -> str:
    """JSON that may stand in a script element: what could end or open one is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character, escaped in UNSAFE.items():
        text = text.replace(character, escaped)
    # Half characters are no text that a file can hold; JSON can name them.
    return "".join(
        f"\\u{ord(character):04x}" if 0xD800 <= ord(character) <= 0xDFFF else character
        for character in text
    )


def _item(suspect: Suspect, picture: Picture) -> Json:
    labeled = suspect.labeled
    return {
        "id": str(labeled.id),  # JavaScript's numbers end at 2^53
        "mask": mask_digest(labeled.rle),
        "name": labeled.name,
        "file": str(labeled.image["file_name"]),
        "score": suspect.score,
        "interval": suspect.interval,
        "loss": suspect.loss,
        "reasons": suspect.reasons,
        "components": dict(suspect.components),
        "box_px": [float(side) for side in labeled.entry["bbox"][2:]],
        "photo": picture.photo,
        "layer": picture.layer,
        "width": picture.width,
        "height": picture.height,
        "box": picture.box,
    }
