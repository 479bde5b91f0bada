"""A labeled file as every export sees it, and the account of what an export cannot say."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.coco import parse_coco
from mal_core.data.images.view import is_written_anew, source_of
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import rle_iou, segmentation_to_mask, segmentation_to_rle
from mal_core.types import Rle

Json = dict[str, Any]
NO_MASK = "without a mask"
CROWD = "crowds, which the format cannot say"
HIDDEN = "hidden by others: the format has one object per pixel"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledObject:
    """One object with its mask.

    Attributes:
        entry: Its annotation, as the file has it.
        image: The entry of its image.
        name: Of its class.
        rle: Its mask.
    """

    entry: Json
    image: Json
    name: str
    rle: Rle

    @property
    def id(self) -> int:
        """Of the annotation."""
        return int(self.entry["id"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, px."""
        return int(self.image["height"]), int(self.image["width"])

    @property
    def score(self) -> float | None:
        """As the labels say."""
        score = self.entry.get("score")
        return float(score) if isinstance(score, int | float) else None

    def mask(self) -> NDArray[np.uint8]:
        """0/1, shape (H, W) of the image."""
        return segmentation_to_mask(self.rle, *self.size)


@dataclass(slots=True)
class Losses:
    """What an export cannot say, counted while it is written.

    Attributes:
        written: Objects in it.
        iou_of: IoU of what its readers get with the mask, by annotation id, where it is not 1.
        left_out: Ids of annotations that are not in it, by reason.
        notes: How often a thing was done that a user should know of.
    """

    written: int = 0
    iou_of: dict[int, float] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def wrote(self, instance: LabeledObject, read_back: Rle | None = None) -> None:
        """Count an object; `read_back` is what readers of the format get for its mask."""
        self.written += 1
        iou = 1.0 if read_back is None else rle_iou(instance.rle, read_back)
        if iou < 1:
            self.iou_of[instance.id] = iou

    def leave_out(self, reason: str, *ids: int) -> None:
        """Count annotations that are not in the export."""
        if ids:
            self.left_out.setdefault(reason, []).extend(ids)

    @property
    def mean_iou(self) -> float:
        """Over all objects that were written."""
        same = self.written - len(self.iou_of)
        return (same + sum(self.iou_of.values())) / self.written if self.written else 1.0

    def to_json(self) -> Json:
        """As the export's own record has it."""
        return {
            "written": self.written,
            "left_out": self.left_out,
            "mean_iou": self.mean_iou,
            "iou_below_1": {str(key): iou for key, iou in sorted(self.iou_of.items())},
            "notes": dict(self.notes),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        out = [f"{self.written} objects written"]
        out += [f"{len(ids)} left out: {reason}" for reason, ids in self.left_out.items()]
        if self.iou_of:
            worst = min(self.iou_of, key=lambda key: self.iou_of[key])
            out.append(
                f"{len(self.iou_of)} masks read back differently: mean IoU over all "
                f"{self.mean_iou:.4f}, least {self.iou_of[worst]:.3f} (annotation {worst})"
            )
        else:
            out.append("every mask reads back as it is")
        return [*out, *(f"{count} {note}" for note, count in self.notes.items())]


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeled:
    """A labeled file: its objects, and what has no mask of one object.

    Attributes:
        content: The whole file.
        objects: In file order.
        crowds: Annotations of crowds, as they are.
        unmasked: Ids of other annotations without a mask.
    """

    content: Json
    objects: tuple[LabeledObject, ...]
    crowds: tuple[Json, ...]
    unmasked: tuple[int, ...]

    def by_image(self) -> list[tuple[Json, list[LabeledObject]]]:
        """Every image, in file order, with its objects."""
        found: dict[int, list[LabeledObject]] = {
            image["id"]: [] for image in self.content["images"]
        }
        for instance in self.objects:
            found[instance.image["id"]].append(instance)
        return [(image, found[image["id"]]) for image in self.content["images"]]

    def class_numbers(self) -> dict[int, int]:
        """The place of each category in the file, from 1, by its id."""
        ids = [entry["id"] for entry in self.content["categories"]]
        return {category_id: number for number, category_id in enumerate(ids, start=1)}

    def class_names(self) -> list[str]:
        """Of all categories, in file order."""
        return [str(entry["name"]) for entry in self.content["categories"]]

    def losses(self) -> Losses:
        """A count for an export that has neither crowds nor objects without a mask."""
        losses = Losses()
        losses.leave_out(CROWD, *(entry["id"] for entry in self.crowds))
        losses.leave_out(NO_MASK, *self.unmasked)
        return losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Photos:
    """Where the photos are.

    Attributes:
        folder: Their folder; None where an export goes without them.
        url: What stands before a file name where a tool loads photos from a server.
    """

    folder: Path | None = None
    url: str = ""

    def link(self, content: Mapping[str, Any], target: Path) -> None:
        """Put all photos of a file below a folder, where the photos' folder is known.

        As hard links where the disk can, else as copies: datumaro refuses links to elsewhere.

        Raises:
            DatasetError: Photos are absent.
        """
        if self.folder is None:
            return
        names = {str(image["file_name"]) for image in content["images"]}
        absent = sorted(name for name in names if not (self.folder / name).is_file())
        if absent:
            own = source_of(self.folder)
            problem = f"{len(absent)} photos are not in images={own}, such as {absent[0]}."
            raise DatasetError(own, [problem])
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            source = (self.folder / name).resolve()
            if is_written_anew(self.folder, name):  # whoever edits a link would edit the store
                shutil.copyfile(source, target / name)
            else:
                _link_or_copy(source, target / name)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_labeled(labels: Path) -> Labeled:
    """Read a COCO file with masks in any of the encodings.

    Raises:
        DatasetError: Carries every problem of the file, or it has no mask at all.
    """
    problems = list(read_view(labels).all_problems)
    if problems:
        raise DatasetError(labels, problems)
    found = as_labeled(parse_coco(labels))
    if not found.objects:
        problem = "no annotation has a mask. Give the file that `mal label` writes."
        raise DatasetError(labels, [problem])
    return found


def as_labeled(content: Json) -> Labeled:
    """A sound COCO object whose masks have any of the encodings."""
    images = {image["id"]: image for image in content["images"]}
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    objects, crowds, unmasked = [], [], []
    for entry in content["annotations"]:
        image = images[entry["image_id"]]
        if entry.get("iscrowd"):
            crowds.append(entry)
            continue
        rle = _mask(entry, image)
        if rle is None:
            unmasked.append(int(entry["id"]))
        else:
            name = names[entry["category_id"]]
            objects.append(LabeledObject(entry=entry, image=image, name=name, rle=rle))
    return Labeled(
        content=content, objects=tuple(objects), crowds=tuple(crowds), unmasked=tuple(unmasked)
    )


def _mask(entry: Json, image: Json) -> Rle | None:
    """The mask of an annotation, None where it has no pixel."""
    if not is_mask(entry.get("segmentation")):
        return None
    rle = segmentation_to_rle(entry["segmentation"], image["height"], image["width"])
    return rle if coco_mask.area(rle) else None


def require_own_stems(labeled: Labeled, suffix: str) -> None:
    """Refuse images whose files differ only in what comes after the last dot.

    Raises:
        DatasetError: Two images would share a file of labels.
    """
    counts = Counter(stem_of(image["file_name"]) for image in labeled.content["images"])
    problems = [
        f"{count} images would share {stem}{suffix}: their names differ only in the extension, or "
        "not at all. Rename them, or choose another format."
        for stem, count in counts.items()
        if count > 1
    ]
    if problems:
        raise DatasetError(Path("images"), problems)


def stem_of(file_name: str) -> str:
    """A file name without its extension, folders kept."""
    return str(PurePosixPath(file_name).with_suffix(""))
