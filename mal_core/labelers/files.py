"""Labeling a whole file without the command: its input in normal form, and its output whole."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mal_core.config import AnnotationFormat
from mal_core.data.coco import Json, parse_coco, read_boxes
from mal_core.data.images.frames import Orientation
from mal_core.data.images.plan import plan_images, show_plan, write_all_pixels
from mal_core.data.pseudo_labels import LEDGER_KEYS, ledger_of
from mal_core.data.view import read_view
from mal_core.errors import ArgumentError, ConfigError, told_of
from mal_core.formats import FORMATS, align_classes
from mal_core.formats.normal import is_utf8, write_normal, write_utf8
from mal_core.labeling.protocol import PhotoLabeler
from mal_core.labeling.work import generate_pseudo_labels
from mal_core.processes.files import atomic_path, path_of, sha256_file, sha256_json
from mal_core.processes.own_file import adopt, check_kind, check_own
from mal_core.processes.own_folder import OwnFolder
from mal_core.processes.places import check_place, leaving_nothing
from mal_core.types import BoxDataset, PseudoLabelSet

MAX_PIXELS = 1_000_000_000
"""As data.max_image_pixels in conf/data: larger images are refused."""
KEY, LEDGER = "key", "skipped.json"


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """What to label, and where the labels go."""

    images: Path
    annotations: Path
    output: Path
    format: AnnotationFormat = "coco"
    strict: bool = False
    orientation: Orientation = "auto"


@dataclass(frozen=True, kw_only=True)
class NormalSplit:
    """Ordinary images and a plain COCO file; the user's own where they are that already."""

    images: Path
    annotations: Path
    given: Path

    @contextlib.contextmanager
    def in_users_words(self) -> Iterator[None]:
        """Errors about the copy as errors about the user's file."""
        with told_of({self.annotations: self.given}):
            yield


def normal_split(
    images: Path,
    annotations: Path,
    folder: Path,
    *,
    format: AnnotationFormat = "coco",  # noqa: A002 -- the setting's name
    orientation: Orientation = "auto",
) -> NormalSplit:
    """Annotations of any format as a COCO file, and their images as ordinary files.

    Args:
        images: Folder of the photos.
        annotations: File or folder, as `format` says.
        folder: Receives whatever cannot stay as it is.
        format: How the annotations are written.
        orientation: Pixels that boxes refer to where EXIF and sizes leave it open.

    Raises:
        DatasetError: The annotations are not what `format` says.
        ConfigError: There is no such format or orientation.
    """
    if not isinstance(format, str) or format not in FORMATS:
        message = f"format={format}: there is no such format. Available: {', '.join(FORMATS)}."
        raise ConfigError(message)
    if orientation not in get_args(Orientation):
        known = ", ".join(get_args(Orientation))
        message = f"orientation={orientation}: there is no such choice. Available: {known}."
        raise ConfigError(message)
    normal = _normal_form(images, annotations, folder, format, orientation)
    with told_of({normal: annotations}):
        listed = read_view(normal, origins=FORMATS[format].numbers_entries).images
    plan = plan_images(
        images,
        listed,
        orientation=orientation,
        max_pixels=MAX_PIXELS,
        sizes_stated=not FORMATS[format].sizes_from_pixels,
    )
    shown = images
    if plan.changes:
        pixels, shown = folder / "pixels", folder / "images"
        write_all_pixels(images, plan, pixels)
        show_plan(shown, images, plan, listed, pixels)
    return NormalSplit(images=shown, annotations=normal, given=annotations)


def _normal_form(
    images: Path, annotations: Path, folder: Path, format_name: str, orientation: Orientation
) -> Path:
    target = folder / "normal.json"
    if format_name == "coco":
        if is_utf8(annotations):
            return annotations
        target.parent.mkdir(parents=True, exist_ok=True)
        write_utf8(annotations, target)
        return target
    chosen = FORMATS[format_name]
    content = chosen.read(images, annotations, orientation)
    if chosen.numbers_classes:
        align_classes([content])
    write_normal(target, content, annotations, chosen.numbers_entries)
    return target


def output_of(given: object, format_name: object) -> Path:
    """Where labels go: in the folder that a text with a slash at its end names, if they are a file.

    Raises:
        ArgumentError: It is no path.
    """
    place = path_of(given, "output")
    slashed = isinstance(given, str) and given.endswith("/")
    return place / "train.json" if slashed and not _returns_folder(format_name) else place


def _returns_folder(format_name: object) -> bool:
    """Whether labels in a format are a folder; False of what is no format, refused later."""
    known = isinstance(format_name, str) and format_name in FORMATS
    return known and FORMATS[str(format_name)].returns_folder


def label_into(work: Labeling, writer: PhotoLabeler, settings: Sequence[Any]) -> PseudoLabelSet:
    """Label every box of a file; the output appears when it is whole.

    Args:
        work: What to label.
        writer: Draws the masks.
        settings: JSON values of all else that decides the labels. What an interrupted attempt
            with the same ones has done is not done again.

    Raises:
        DatasetError: Carries every problem of the annotations and of their images.
        ConfigError: The output cannot be written, or would replace what is not its own.
        ArgumentError: `strict` is neither True nor False.
    """
    own = _check_output(work)
    output = work.output.absolute()
    folder = output.with_name(f".{output.name}.labeling")
    with leaving_nothing(folder):
        split, dataset = _read(work, folder, crowds_as_objects=writer.crowds_as_objects)
    begin_attempt(folder / "labels", sha256_json([*settings, *_content(work, split, dataset)]))
    labeled, ledger = folder / "labels" / "train.json", folder / "labels" / LEDGER
    writer.prepare(dataset, labeled.parent)
    result = generate_pseudo_labels(
        dataset,
        writer,
        source=split.annotations,
        output=labeled,
        ledger=ledger,
    )
    _publish(work, labeled, own)
    ledger.replace(ledger_of(output))
    shutil.rmtree(folder)
    return dataclasses.replace(result, annotations=output, ledger=ledger_of(output))


def _read(
    work: Labeling, folder: Path, *, crowds_as_objects: bool
) -> tuple[NormalSplit, BoxDataset]:
    split = normal_split(
        work.images.absolute(),
        work.annotations.absolute(),
        folder,
        format=work.format,
        orientation=work.orientation,
    )
    with split.in_users_words():
        dataset = read_boxes(
            split.images,
            split.annotations,
            strict=work.strict,
            decode=True,
            crowds_as_objects=crowds_as_objects,
        )
    return split, dataset


def _check_output(work: Labeling) -> OwnFolder | None:
    """Refuse an output that cannot be written; returns it where it is a folder."""
    output, read = work.output.absolute(), [work.images, work.annotations]
    own = None
    if not isinstance(work.strict, bool):
        message = f"strict is {work.strict!r}; wanted True or False."
        raise ArgumentError(message)
    if _returns_folder(work.format):
        own = OwnFolder(output, f"mal label data={work.format}", read)
        own.check()
    else:
        check_place(output, read)
        check_own(output)
    told = f"{ledger_of(output)}, which is written with output={work.output},"
    check_place(ledger_of(output), read, told=told)
    check_kind(ledger_of(output), LEDGER_KEYS, told)
    return own


def _content(work: Labeling, split: NormalSplit, dataset: BoxDataset) -> list[Any]:
    """What tells a changed input from the one of an interrupted attempt."""
    digest = sha256_file(split.annotations)
    return [digest, work.strict, work.orientation, photo_stamps(dataset)]


def photo_stamps(dataset: BoxDataset) -> list[list[int]]:
    """Sizes and times of photos, which tell changed ones from those of an interrupted attempt."""
    files = [(dataset.image_root / image.file_name).stat() for image in dataset.images]
    return [[status.st_size, status.st_mtime_ns] for status in files]


def begin_attempt(folder: Path, key: str) -> None:
    """Make the folder; forget what lies there of another attempt."""
    mark = folder / KEY
    if not (mark.is_file() and mark.read_text() == key):
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_path(mark) as temporary:
            temporary.write_text(key)


def _publish(work: Labeling, labeled: Path, own: OwnFolder | None) -> None:
    output, write = work.output.absolute(), FORMATS[work.format].write_masks
    if write is None:
        adopt(labeled, output)
        return
    content: Json = parse_coco(labeled)
    if own is not None:
        with own.filled() as fresh:
            write(content, work.annotations, work.images, fresh)
        return
    fresh = labeled.with_name("native")
    write(content, work.annotations, work.images, fresh)
    adopt(fresh, output)
