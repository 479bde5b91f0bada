"""Names annotation files of other tools by what they hold, where they are given as another."""

from collections.abc import Mapping
from typing import Any

KEYS_OF = (
    (("_via_img_metadata",), "a VIA project", "export COCO from it"),
    (("shapes", "imagePath"), "LabelMe JSON", "convert the files to COCO"),
    (("videos", "annotations"), "YouTube-VIS JSON", "use data=ytvis"),
    (("images", "annotations", "categories"), "COCO JSON", "use data=coco"),
    (("categories", "items"), "Datumaro JSON", "export COCO"),
    (("type", "features"), "GeoJSON", "convert it to COCO, in pixels"),
)
ROOTS = {
    "annotations": ("CVAT XML", "export it as COCO 1.0 or Pascal VOC"),
    "dataset": ("dlib's XML", "convert it to COCO"),
    "html": ("a web page", "download the file itself"),
    "PcGts": ("PAGE XML", "convert it to COCO"),
    "kml": ("KML", "convert it to COCO, in pixels"),
}
DOTA_HEADERS = ("imagesource:", "gsd:")
DOTA_WORDS, KITTI_WORDS, CORNERS = (9, 10), (15, 16), 8


def foreign_json(content: object) -> str | None:
    """What a JSON value is, and what to do with it; None where it is nothing that is known."""
    if isinstance(content, list):
        first = content[0] if content else None
        return _foreign_list(first) if isinstance(first, dict) else None
    if isinstance(content, dict):
        for keys, name, advice in KEYS_OF:
            if all(key in content for key in keys):
                return f"this is {name}; {advice}"
    return None


def _foreign_list(first: Mapping[str, Any]) -> str | None:
    if "data" in first and ("annotations" in first or "completions" in first):
        return "this is Label Studio JSON; export COCO from it"
    if "image_id" in first and ("bbox" in first or "segmentation" in first):
        return "this is a list of COCO results; give boxes=FILE beside the annotation file"
    if "image" in first and "annotations" in first:
        return "this is CreateML JSON; convert it to COCO"
    if "name" in first and "labels" in first:
        return "this is BDD100K or Scalabel JSON; convert it to COCO"
    return None


def foreign_xml(root: str) -> str:
    """What XML with another root than VOC's is, and what to do with it."""
    name, advice = ROOTS.get(root, ("", "give files of Pascal VOC"))
    return f"this is {name}; {advice}" if name else advice


def foreign_row(line: str) -> str | None:
    """What a line of text is that is none of YOLO's, and what to do with it."""
    words = line.split()
    if line.lower().startswith(DOTA_HEADERS) or _is_dota(words):
        return "this is DOTA text (eight corners, class, difficulty); convert it to COCO or YOLO"
    if len(words) in KITTI_WORDS and not is_number(words[0]) and all(map(is_number, words[1:])):
        return "this is KITTI text; convert it to COCO or YOLO"
    if "," in line and all(is_number(word) for word in line.strip(" ,").split(",")):
        return "numbers are separated by commas, as in MOT and VisDrone; YOLO has blanks"
    if line.lstrip()[:1] in ("{", "["):
        return "this is JSON; use data=coco"
    if line.lstrip()[:1] == "<":
        return "this is XML; use data=voc"
    return None


def _is_dota(words: list[str]) -> bool:
    return (
        len(words) in DOTA_WORDS
        and all(map(is_number, words[:CORNERS]))
        and not is_number(words[CORNERS])
    )


def is_number(word: str) -> bool:
    """Whether a word is a number as data files write them, NaN and infinity included."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word  # which Python takes, and nobody else
