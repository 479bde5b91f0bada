"""Pascal VOC: one XML file of boxes per image; masks are indexed PNG files."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.data.foreign import foreign_xml
from mal_core.data.text import TextError, read_text
from mal_core.errors import DatasetError
from mal_core.formats.folder_files import files_below, unread_note
from mal_core.formats.voc_masks import OBJECTS, MaskFileError, read_object_masks

Json = dict[str, Any]
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LARGEST_PX = 1e6
GIVE = "Give the folder `Annotations`, or a list in ImageSets."


def voc_to_coco(_images: Path, annotations: Path, *, masks: Path | None = None) -> Json:
    """A folder of VOC XML files -> COCO.

    VOC counts pixels from 1 and includes the last one: (xmin, xmax) becomes
    [xmin - 1, xmax). Classes are numbered in alphabetical order. `difficult`,
    `truncated` and `pose` stay as fields of the annotation; `object` is its place in the XML
    file. Masks come from SegmentationObject beside the folder, where it has the image.

    Args:
        annotations: The folder `Annotations` with what lies below it, one XML file, or a list
            of names (ImageSets/Main/x.txt) whose XML files lie in `Annotations` two folders up.
        masks: Another folder SegmentationObject than the one beside `Annotations`.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    root, paths = _xml_files(annotations, problems)
    parsed = [(path.relative_to(root), _parse(path, root, masks, problems)) for path in paths]
    names = sorted({str(o["name"]) for _, file in parsed if file for o in file["objects"]})
    category_of = {name: number for number, name in enumerate(names, start=1)}
    content: Json = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in category_of.items()],
    }
    named: dict[str, Path] = {}
    for number, (path, file) in enumerate(parsed, start=1):
        if file is None:
            continue
        first = named.setdefault(file["file_name"], path)
        if first != path:
            problems.append(f"{path} and {first} are both of {file['file_name']}. Keep one.")
        image = {key: file[key] for key in ("file_name", "width", "height")}
        content["images"].append({"id": number, **image, "origin": str(path)})
        for index, entry in enumerate(file["objects"], start=1):
            known = {"category_id": category_of[entry.pop("name")], "image_id": number}
            entry_id = len(content["annotations"]) + 1
            place = {"object": index, "origin": f"{path}, object {index}"}
            content["annotations"].append({"id": entry_id, **known, "iscrowd": 0, **entry, **place})
    if problems:
        raise DatasetError(annotations, problems)
    return content


def voc_files(_images: Path, annotations: Path) -> list[Path]:
    """The list, where there is one, the XML files and their masks."""
    root, paths = _xml_files(annotations, [])
    masks = [mask for path in paths if (mask := _mask_file(path, root, None)).exists()]
    listed = annotations.is_file() and annotations not in paths
    return [*([annotations] if listed else []), *paths, *masks]


def voc_notes(_images: Path, annotations: Path, content: Json) -> list[str]:
    """What is unusual about files that were read."""
    root, paths = _xml_files(annotations, [])
    notes = unread_note(annotations, paths) if annotations.is_dir() else []
    masked = sum("segmentation" in entry for entry in content["annotations"])
    if 0 < masked < len(content["annotations"]):
        count = len(content["annotations"])
        notes.append(f"{masked} of {count} objects have a mask in {root.parent / OBJECTS}.")
    return notes


def _mask_file(path: Path, root: Path, masks: Path | None) -> Path:
    return (masks or root.parent / OBJECTS) / path.relative_to(root).with_suffix(".png")


def _xml_files(annotations: Path, problems: list[str]) -> tuple[Path, list[Path]]:
    """The folder `Annotations`, and the files in it that are to be read."""
    if annotations.is_dir():
        files = files_below(annotations, ".xml")
        if not files:
            problems.append(f"no XML files. {GIVE}")
        return annotations, files
    if annotations.suffix.lower() == ".xml":
        return annotations.parent, [annotations]
    try:
        lines = read_text(annotations).splitlines()
    except FileNotFoundError:
        problems.append(f"does not exist. {GIVE}")
        return annotations, []
    except TextError as error:
        problems.append(str(error))
        return annotations, []
    first = next((line.strip() for line in lines if line.strip()), "")
    if first[:1] in ("{", "["):
        problems.append(f"is JSON, no list of names. {GIVE}")
        return annotations, []
    root = annotations.absolute().parents[min(2, len(annotations.absolute().parents) - 1)]
    names = [line.split()[0] for line in lines if line.strip()]
    wrong = [name for name in names if name.startswith("/") or ".." in Path(name).parts]
    problems += [f"{name!r} leaves the folder `Annotations`." for name in wrong]
    kept = dict.fromkeys(name for name in names if name not in wrong)
    return root / "Annotations", [root / "Annotations" / f"{name}.xml" for name in kept]


def _parse(path: Path, folder: Path, masks: Path | None, problems: list[str]) -> Json | None:
    name = str(path.relative_to(folder))
    root = _root(path, name, problems)
    if root is None:
        return None
    before = len(problems)
    file: Json = {
        "file_name": (root.findtext("filename") or "").strip()
        or f"{Path(name).with_suffix('')}.jpg",
        "width": _number(root, "size/width", name, problems),
        "height": _number(root, "size/height", name, problems),
        "objects": [],
    }
    for index, element in enumerate(root.iter("object"), start=1):
        where = f"{name}: object {index}"
        kind = (element.findtext("name") or "").strip()
        if not kind:
            problems.append(f"{where} has no <name>. Add its class.")
        file["objects"].append(
            {"name": kind, "bbox": _box(element, where, problems), **_flags(element)}
        )
    if len(problems) == before:
        _add_masks(file, _mask_file(path, folder, masks), problems)
    return file if len(problems) == before else None


def _root(path: Path, name: str, problems: list[str]) -> ElementTree.Element | None:
    try:
        text = read_text(path)
        if "<!ENTITY" in text:
            problems.append(f"{name}: declares entities, which no VOC file needs. Write them out.")
            return None
        root = ElementTree.fromstring(text)
    except FileNotFoundError:
        problems.append(f"{name}: the file does not exist. Add it or drop its name.")
        return None
    except TextError as error:
        problems.append(f"{name}: {error}")
        return None
    except (ElementTree.ParseError, ValueError) as error:
        problems.append(f"{name}: broken XML: {error}. Is the file complete?")
        return None
    if root.tag != "annotation":
        advice = foreign_xml(str(root.tag))
        problems.append(f"{name}: no VOC file, its root is <{root.tag}>: {advice}.")
        return None
    return root


def _box(element: ElementTree.Element, where: str, problems: list[str]) -> list[float]:
    if element.find("bndbox") is None:
        other = [key for key in ("robndbox", "polygon") if element.find(key) is not None]
        seen = f", only <{other[0]}>" if other else ""
        problems.append(f"{where} has no <bndbox>{seen}. Add its box.")
        return [0, 0, 0, 0]
    corners = [_number(element, f"bndbox/{key}", where, problems) for key in CORNERS]
    return _to_xywh(corners)


def _add_masks(file: Json, path: Path, problems: list[str]) -> None:
    if not path.exists():
        return
    try:
        found = read_object_masks(path, (file["width"], file["height"]), len(file["objects"]))
    except MaskFileError as error:
        problems.append(f"{OBJECTS}/{path.name} {error}")
        return
    for entry, rle in zip(file["objects"], found, strict=True):
        if rle is not None:
            entry.update(segmentation=rle, area=int(coco_mask.area(rle)))


def _to_xywh(corners: list[float]) -> list[float]:
    xmin, ymin, xmax, ymax = corners
    return [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]


def _flags(element: ElementTree.Element) -> Json:
    kept: Json = {
        key: int(text)
        for key in ("difficult", "truncated")
        if (text := element.findtext(key, "").strip()) in ("0", "1")
    }
    pose = element.findtext("pose")
    return {**kept, "pose": pose} if pose else kept


def _number(element: ElementTree.Element, key: str, where: str, problems: list[str]) -> Any:
    text = element.findtext(key)
    try:
        value = float(text or "")
    except ValueError:
        problems.append(f"{where} has {key}={text!r}, but it must be a number.")
        return 0
    if not -LARGEST_PX < value < LARGEST_PX:
        problems.append(f"{where} has {key}={text!r}, which is no place in an image.")
        return 0
    return int(value) if value == int(value) else value
