"""Pascal VOC: one XML file of boxes per image; masks are indexed PNG files."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.foreign import foreign_xml, is_number
from mal_core.data.images.names import canonical, link_to_nothing, without_upload_prefix
from mal_core.data.text import TextError, read_text
from mal_core.errors import DatasetError
from mal_core.formats.folder_files import unread_note
from mal_core.formats.text_rows import Dropped, pictures_below
from mal_core.formats.voc_forms import class_of, deletion, form_problem
from mal_core.formats.voc_lists import xml_files
from mal_core.formats.voc_masks import OBJECTS, MaskFileError, read_object_masks
from mal_core.formats.voc_names import STATED, names_note, settle_names
from mal_core.geometry.box_forms import CORNERS as CORNER_FORM
from mal_core.geometry.box_forms import XYWH, BoxForms

Json = dict[str, Any]
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LARGEST_PX = 1e6
BARE_AMPERSAND = re.compile(r"&(?![#\w]+;)")
WRONG, CORNERS_READ = "wrong", "corners"
"""Keys of what is wrong with an object and of its four numbers, while its file is read."""
LEAST_OF_A_FORM, LEAST_MISFIT = 5, 0.25
"""Boxes, and the share of them that are no corners, before all are taken for another form."""
COORDINATE = re.compile(r"[xy]\d*").fullmatch


def voc_to_coco(
    images: Path | None,
    annotations: Path,
    *,
    masks: Path | None = None,
    dropped: Dropped | None = None,
) -> Json:
    """A folder of VOC XML files -> COCO.

    VOC counts pixels from 1 and includes the last one: (xmin, xmax) becomes
    [xmin - 1, xmax). Classes are numbered in alphabetical order. `difficult`, `truncated`, `pose`
    and `attributes` stay as fields of the annotation; `object` is its place in the XML file.
    Masks come from SegmentationObject beside the folder, where it has the image, else from the
    <polygon> of an object.

    Args:
        images: Folder of the photos; a photo that is not there is looked for by the name of the
            XML file. None: not known, each file is of the photo that it names.
        annotations: The folder `Annotations` with what lies below it, one XML file, or a list
            of names (ImageSets/Main/x.txt) whose XML files lie in `Annotations` beside it, or up
            to two folders up.
        masks: Another folder SegmentationObject than the one beside `Annotations`.
        dropped: Receives objects that are left out because they are wrong, and why.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    root, paths = xml_files(annotations, problems)
    parsed = [(path.relative_to(root), _parse(path, root, masks, problems)) for path in paths]
    misnamed = [] if images is None else list(settle_names(parsed, images))
    problems += misnamed
    sized = [file for _, file in parsed if file is not None]
    problem = _form_problem(sized)
    if problem is not None:
        raise DatasetError(annotations, [problem])
    for path, file in parsed:
        _sort_out(path, file, problems, dropped)
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
        if first != path and not misnamed:
            problems.append(f"{path} and {first} are both of {file['file_name']}. Keep one.")
        image = {key: file[key] for key in ("file_name", "width", "height", STATED) if key in file}
        content["images"].append({"id": number, **image, "origin": str(path)})
        for entry in file["objects"]:
            known = {"category_id": category_of[entry.pop("name")], "image_id": number}
            entry_id = len(content["annotations"]) + 1
            place = {"origin": f"{path}, object {entry['object']}"}
            content["annotations"].append({"id": entry_id, **known, "iscrowd": 0, **entry, **place})
    problems = problems or list(_share_problems(content["annotations"]))
    if problems:
        raise DatasetError(annotations, problems)
    return content


def _form_problem(files: Sequence[Json]) -> str | None:
    """Whether <bndbox> looks as if it held another form of boxes than corners, in words."""
    rows = [
        (entry[CORNERS_READ], (file["width"], file["height"]))
        for file in files
        for entry in file["objects"]
        if CORNERS_READ in entry
    ]
    forms = BoxForms()
    if len(rows) >= LEAST_OF_A_FORM:
        forms.add(*(np.array(column, np.float64) for column in zip(*rows, strict=True)))
    other = forms.other_than(CORNER_FORM)
    if other is None or forms.share_misfit(CORNER_FORM) < LEAST_MISFIT:
        return None
    return (
        f"its {len(rows)} boxes all fit their images as {other}, and "
        f"{len(rows) - forms.fitting[CORNER_FORM]} do not as xmin, ymin, xmax and ymax, as which "
        "they are written: the program that wrote <bndbox> took the one for the other. Write "
        f"{'x + width and y + height as xmax and ymax' if other == XYWH else 'corners'}."
    )


def _share_problems(entries: Sequence[Json]) -> Iterator[str]:
    """Whether corners look like shares of the sizes of their images."""
    if entries and all(
        low >= -1 and low + length <= 1
        for entry in entries
        for low, length in zip(entry["bbox"][:2], entry["bbox"][2:], strict=True)
    ):
        yield (
            f"all {len(entries)} boxes have corners from 0 to 1, the first is "
            f"{entries[0]['origin']}, but VOC wants px. Multiply x by the width of the image and y "
            "by its height."
        )


def voc_files(_images: Path, annotations: Path) -> list[Path]:
    """The list, where there is one, the XML files and their masks."""
    root, paths = xml_files(annotations, [])
    masks = [mask for path in paths if (mask := _mask_file(path, root, None)).exists()]
    listed = annotations.is_file() and annotations not in paths
    return [*([annotations] if listed else []), *paths, *masks]


def voc_notes(images: Path, annotations: Path, content: Json) -> list[str]:
    """What is unusual about files that were read."""
    root, paths = xml_files(annotations, [])
    entries = content["annotations"]
    notes: list[str] = []
    if annotations.is_dir():
        notes += [*unread_note(annotations, paths, images), *_bare_photos(images, content)]
    notes += names_note(content)
    masked = sum("segmentation" in entry for entry in entries)
    if 0 < masked < len(entries):
        notes.append(f"{masked} of {len(entries)} objects have a mask in {root.parent / OBJECTS}.")
    zeros = [entry for entry in entries if min(entry["bbox"][:2]) < 0]
    if zeros:
        notes.append(
            f"{len(zeros)} objects have an xmin or ymin below 1, the first is "
            f"{zeros[0]['origin']}: VOC counts pixels from 1, and so they are read. If these files "
            "count from 0, boxes lie 1 px too far to the left and up."
        )
    return notes


def _bare_photos(images: Path, content: Json) -> Iterator[str]:
    """A line that counts the photos of the folder that no XML file is of."""
    named = [canonical(image["file_name"]) for image in content["images"]]
    known = {_stem(one) for name in named for one in (name, without_upload_prefix(name))}
    bare = [path for path in pictures_below(images) if _stem(path.name) not in known]
    if bare:
        first = str(bare[0].relative_to(images))
        yield f"{len(bare)} images have no XML file, the first is {first!r}: they are not read."


def _stem(name: str) -> str:
    return PurePosixPath(canonical(name)).stem


def _mask_file(path: Path, root: Path, masks: Path | None) -> Path:
    return (masks or root.parent / OBJECTS) / path.relative_to(root).with_suffix(".png")


def _parse(path: Path, folder: Path, masks: Path | None, problems: list[str]) -> Json | None:
    name = str(path.relative_to(folder))
    root = _root(path, name, problems)
    if root is None:
        return None
    before = len(problems)
    file: Json = {
        "file_name": (root.findtext("filename") or "").strip()
        or f"{Path(name).with_suffix('')}.jpg",
        **_size(root, name, problems),
        "objects": [],
    }
    for index, element in enumerate(root.iter("object"), start=1):
        where = f"{name}: object {index}"
        wrong = deletion(element, where)
        kind = class_of(element, where, wrong)
        box, polygon = _box(element, where, wrong), _polygon(element, where, wrong)
        seen = {"name": kind, **box, **polygon, **_flags(element), "object": index}
        file["objects"].append({**seen, WRONG: wrong})
    if len(problems) == before:
        _add_masks(file, _mask_file(path, folder, masks), problems)
    return file if len(problems) == before else None


def _sort_out(path: Path, file: Json | None, problems: list[str], dropped: Dropped | None) -> None:
    """Take out what is wrong with the objects of a file: they go, or are problems."""
    kept = []
    for entry in () if file is None else file["objects"]:
        wrong = entry.pop(WRONG)
        entry.pop(CORNERS_READ, None)
        if not wrong:
            kept.append(entry)
        elif dropped is None:
            problems += wrong
        else:
            where = f"{path}: object {entry['object']}"
            dropped.append((where, " ".join(why.removeprefix(f"{where} ") for why in wrong)))
    if file is not None:
        file["objects"] = kept


def _size(root: ElementTree.Element, name: str, problems: list[str]) -> Json:
    sides = ("width", "height")
    if not any((root.findtext(f"size/{side}") or "").strip() for side in sides):
        problems.append(f"{name} has no <size>. Add the <width> and <height> of its image, in px.")
        return dict.fromkeys(sides, 0)
    return {side: _number(root, f"size/{side}", name, problems) for side in sides}


def _root(path: Path, name: str, problems: list[str]) -> ElementTree.Element | None:
    """The outermost element of a file, all names without namespaces."""
    try:
        text = read_text(path).strip()
        if "<!ENTITY" in text:
            problems.append(f"{name}: declares entities, which no VOC file needs. Write them out.")
            return None
        root = ElementTree.fromstring(text)
    except FileNotFoundError:
        seen = link_to_nothing(path) or "the file does not exist"
        problems.append(f"{name}: {seen}. Add it or drop its name.")
        return None
    except TextError as error:
        problems.append(f"{name}: {error}")
        return None
    except (ElementTree.ParseError, ValueError) as error:
        problems.append(f"{name}: {_broken(text, error)}")
        return None
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    if root.tag != "annotation":
        problems.append(f"{name}: no VOC file, its root is <{root.tag}>: {foreign_xml(root.tag)}.")
        return None
    problem = form_problem(root)
    if problem is not None:
        problems.append(f"{name}: {problem}.")
        return None
    return root


def _broken(text: str, error: Exception) -> str:
    if not text:
        return "is empty. Write it again, or drop it with its image."
    if BARE_AMPERSAND.search(text):
        return f"broken XML: {error}. Write & as &amp;."
    return f"broken XML: {error}. Is the file complete?"


def _box(element: ElementTree.Element, where: str, problems: list[str]) -> Json:
    found = element.findall("bndbox")
    if len(found) > 1:
        problems.append(f"{where} has {len(found)} <bndbox>. Keep one, or make an object of each.")
    if not found:
        other = [key for key in ("robndbox", "polygon") if element.find(key) is not None]
        seen = f", only <{other[0]}>" if other else ""
        problems.append(f"{where} has no <bndbox>{seen}. Add its box.")
        return {"bbox": [0, 0, 0, 0]}
    before = len(problems)
    corners = [_number(element, f"bndbox/{key}", where, problems) for key in CORNERS]
    if len(problems) > before:
        return {"bbox": [0, 0, 0, 0]}
    for low, high in ((0, 2), (1, 3)):
        if corners[high] < corners[low] - 1:
            names = f"{CORNERS[low]}={corners[low]:g} and {CORNERS[high]}={corners[high]:g}"
            problems.append(f"{where} has {names}: exchange the two, or drop the object.")
    return {"bbox": _to_xywh(corners), CORNERS_READ: corners}


def _polygon(element: ElementTree.Element, where: str, problems: list[str]) -> Json:
    """The mask of an object that has a <polygon>, of x1, y1, x2, ... or of <pt>."""
    polygon = element.find("polygon")
    numbers = [] if polygon is None else [one for one in polygon.iter() if COORDINATE(one.tag)]
    if "".join(one.tag[0] for one in numbers) != "xy" * (len(numbers) // 2):
        problems.append(f"{where} has a <polygon> whose x and y do not alternate. Correct it.")
        return {}
    points = [_value(one.text, f"polygon/{one.tag}", where, problems) for one in numbers]
    return {"segmentation": [points]} if points else {}


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
    attributes = {
        each.findtext("name", ""): _plain(each.findtext("value", ""))
        for each in element.iterfind("attributes/attribute")
    }
    return {
        **kept,
        **({"pose": pose} if pose else {}),
        **({"attributes": attributes} if attributes else {}),
    }


def _plain(text: str) -> float | str:
    """A value of an attribute, as a number where it is one."""
    return float(text) if is_number(text) and math.isfinite(float(text)) else text


def _number(element: ElementTree.Element, key: str, where: str, problems: list[str]) -> Any:
    return _value(element.findtext(key), key, where, problems)


def _value(text: str | None, key: str, where: str, problems: list[str]) -> Any:
    try:
        value = float(text or "")
    except ValueError:
        problems.append(f"{where} has {key}={text!r}, but it must be a number.")
        return 0
    if not -LARGEST_PX < value < LARGEST_PX:
        problems.append(f"{where} has {key}={text!r}, which is no place in an image.")
        return 0
    return int(value) if value == int(value) else value
