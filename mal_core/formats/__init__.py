"""Annotation formats: each turns into one normal form, a COCO file, and back into itself.

`FORMATS` is the registry; to add a format, write its two functions and one line here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mal_core.data.coco import parse_coco
from mal_core.data.images.frames import Orientation
from mal_core.formats.coco_family import lvis_to_coco, objects365_to_coco
from mal_core.formats.dota import dota_files, dota_notes, dota_to_coco
from mal_core.formats.text_rows import Dropped
from mal_core.formats.voc import voc_files, voc_notes, voc_to_coco
from mal_core.formats.voc_masks import write_voc_masks
from mal_core.formats.yolo import (
    write_yolo_masks,
    yolo_files,
    yolo_notes,
    yolo_obb_to_coco,
    yolo_to_coco,
)
from mal_core.formats.ytvis import write_ytvis_masks, ytvis_to_coco

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How one format is read, and how labels return to it.

    Attributes:
        to_coco: (images folder, annotations) -> the normal form: a COCO object whose
            `file_name`s are relative to the images folder. Human masks are kept.
        write_masks: (labeled normal form, annotations, images, target) -> files in the
            format's own way; None where the labeled normal form already is one.
        target: Name of what `write_masks` writes: a file, or a folder if it has no suffix.
        files: (images folder, annotations) -> all files whose content decides the normal form.
        looks_for_images: Which images exist decides the normal form too.
        sizes_from_pixels: The format states no sizes; `to_coco` takes `orientation`, too.
        notes: (images folder, annotations, normal form) -> what is unusual about the files.
        numbers_classes: The format knows classes by name; the conversion numbers them.
        numbers_entries: It has no ids; `origin` in the normal form says where each entry is from.
        in_folders: Annotations may be a folder of files.
        leaves_out: What `to_coco` can leave out where it is wrong, if it is given `dropped`, too.
    """

    to_coco: Callable[..., Json]
    write_masks: Callable[[Json, Path, Path, Path], None] | None = None
    target: str = ""
    files: Callable[[Path, Path], Iterable[Path]] = lambda _images, annotations: (annotations,)
    looks_for_images: bool = False
    numbers_classes: bool = False
    numbers_entries: bool = False
    notes: Callable[[Path, Path, Json], list[str]] = lambda _images, _annotations, _content: []
    sizes_from_pixels: bool = False
    in_folders: bool = False
    leaves_out: str = ""

    @property
    def returns_folder(self) -> bool:
        """Whether labels return as a folder of files."""
        return bool(self.target) and not Path(self.target).suffix

    def read(
        self,
        images: Path,
        annotations: Path,
        orientation: Orientation,
        dropped: Dropped | None = None,
    ) -> Json:
        """The normal form.

        Args:
            images: Folder of the photos.
            annotations: File or folder.
            orientation: For formats that state no sizes.
            dropped: Receives places that were left out, and why; None refuses what is wrong.

        Raises:
            DatasetError: The annotations are wrong in a way that only their format knows.
        """
        extra: dict[str, Any] = {"orientation": orientation} if self.sizes_from_pixels else {}
        if dropped is not None and self.leaves_out:
            extra["dropped"] = dropped
        return self.to_coco(images, annotations, **extra)


def coco_to_coco(_images: Path, annotations: Path) -> Json:
    """A COCO file beside a split of another format: only its classes get other numbers."""
    return parse_coco(annotations)


YOLO = Format(
    to_coco=yolo_to_coco,
    write_masks=write_yolo_masks,
    target="yolo",
    files=yolo_files,
    notes=yolo_notes,
    numbers_entries=True,
    sizes_from_pixels=True,
    in_folders=True,
    leaves_out="rows",
)
FORMATS: dict[str, Format] = {
    "coco": Format(to_coco=coco_to_coco),
    "lvis": Format(to_coco=lvis_to_coco, looks_for_images=True),
    "objects365": Format(to_coco=objects365_to_coco, looks_for_images=True),
    "voc": Format(
        to_coco=voc_to_coco,
        write_masks=write_voc_masks,
        target="voc",
        leaves_out="objects",
        looks_for_images=True,
        files=voc_files,
        notes=voc_notes,
        numbers_classes=True,
        numbers_entries=True,
        in_folders=True,
    ),
    "yolo": YOLO,
    "yolo_obb": replace(YOLO, to_coco=yolo_obb_to_coco),
    "dota": Format(
        to_coco=dota_to_coco,
        files=dota_files,
        notes=dota_notes,
        numbers_classes=True,
        numbers_entries=True,
        sizes_from_pixels=True,
        in_folders=True,
        leaves_out="rows",
    ),
    "ytvis": Format(
        to_coco=ytvis_to_coco,
        write_masks=write_ytvis_masks,
        target="ytvis.json",
        numbers_entries=True,
    ),
}
"""COCO itself is the normal form; it is converted only beside another one."""


def align_classes(splits: Sequence[Json]) -> None:
    """Give the same class the same number in several splits, in alphabetical order, in place."""
    names = sorted({str(entry["name"]) for split in splits for entry in split["categories"]})
    number_of = {name: number for number, name in enumerate(names, start=1)}
    for split in splits:
        renamed = {entry["id"]: number_of[entry["name"]] for entry in split["categories"]}
        for annotation in split["annotations"]:
            annotation["category_id"] = renamed[annotation["category_id"]]
        split["categories"] = [{"id": i, "name": name} for name, i in number_of.items()]


def adopt_classes(train: Json, val: Json) -> None:
    """Give the classes of a validation split the numbers that training has for their names.

    Classes that training lacks get new numbers, so that the check of the pair can name them,
    or go where no object is of them.
    """
    number_of = {_name(entry): entry["id"] for entry in train["categories"]}
    used = {entry.get("category_id") for entry in val["annotations"]}
    after, renamed, kept = max(number_of.values(), default=0), {}, []
    for entry in val["categories"]:
        number = number_of.get(_name(entry))
        if number is None:
            if entry["id"] not in used:
                continue
            number = after = after + 1
        renamed[entry["id"]] = number
        kept.append({**entry, "id": number, "name": _name(entry)})
    for annotation in val["annotations"]:
        annotation["category_id"] = renamed[annotation["category_id"]]
    absent = number_of.keys() - {entry["name"] for entry in kept}
    val["categories"] = kept + [
        {**entry, "name": _name(entry)} for entry in train["categories"] if _name(entry) in absent
    ]


def _name(entry: Json) -> str:
    return str(entry["name"]).strip()
