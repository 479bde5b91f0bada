"""Repaired copies of a run's annotation files; the files themselves stay as they are."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.settings.run_config import RunConfig
from flows.stages import inputs
from flows.stages.examining import only
from flows.stages.normal_form import left_out
from flows.stages.run import Run
from mal_core.config import SplitConfig
from mal_core.data.coco import parse_coco
from mal_core.data.images.headers import UNREADABLE, ImageHeader, read_header
from mal_core.data.images.loading import wrong_images
from mal_core.data.inspection.name_repair import with_inner_names
from mal_core.data.inspection.number_repair import with_numbers
from mal_core.data.inspection.repair import RepairChange, Repaired, repair, same_classes
from mal_core.data.inspection.size_repair import with_sizes
from mal_core.data.validation import ImageTable
from mal_core.errors import ConfigError, DatasetError, raise_together
from mal_core.formats import FORMATS
from mal_core.geometry.mask_forms import is_mask
from mal_core.processes.files import is_file, write_json
from mal_core.types import ImageRecord

CHANGES = "changes.json"
Json = dict[str, Any]


def write_repaired(run: Run, folder: Path) -> dict[str, Repaired]:
    """Write train.json, val.json and the list of changes.

    Args:
        run: Whose splits are repaired; of other formats the copies are COCO files.
        folder: Where; it may have an earlier repair.

    Raises:
        DatasetError: A file is no annotation file at all.
        ConfigError: The folder holds files that no repair wrote, or the input.
    """
    _require_free(run.config, folder)
    found: dict[str, Repaired] = {}
    failures = []
    for name in ("train", "val"):
        alone = only(run, name)
        if alone is None:
            continue
        try:
            found[name] = _repaired(alone, need_masks=name == "val")
        except DatasetError as error:
            failures.append(error)
    raise_together(failures)
    if len(found) == 2:
        found = _with_same_classes(found)
    for name, repaired in found.items():
        write_json(folder / f"{name}.json", repaired.content)
    write_json(folder / CHANGES, dict(_listed(run.config, found)), indent=1)
    return found


def repaired_run(run: Run, folder: Path) -> Run:
    """The same run on the repaired copies."""
    source = run.config.data

    def copied(split: SplitConfig | None, name: str) -> SplitConfig | None:
        if split is None:
            return None
        path = folder / f"{name}.json"
        return SplitConfig(images=split.images, annotations=path, format="coco")

    data = dataclasses.replace(
        source, train=copied(source.train, "train"), val=copied(source.val, "val")
    )
    return Run(dataclasses.replace(run.config, data=data, fix=False), store=run.store)


def _require_free(config: RunConfig, folder: Path) -> None:
    if config.data.source == "scenes":
        message = "fix=true repairs files, and data=scenes draws its own. Add data=coco and files."
        raise ConfigError(message)
    written = [name for name in ("train.json", "val.json") if (folder / name).exists()]
    if written and not (folder / CHANGES).is_file():
        message = (
            f"output={folder} has {written[0]} already, which no repair wrote. Choose another "
            "folder."
        )
        raise ConfigError(message)
    splits = (config.data.train, config.data.val)
    given = [split.annotations.resolve() for split in splits if split is not None]
    if any((folder / name).resolve() in given for name in ("train.json", "val.json")):
        message = f"output={folder} holds the input. Choose another folder."
        raise ConfigError(message)


def _repaired(alone: Run, *, need_masks: bool) -> Repaired:
    split = _readable(alone)
    content = parse_coco(split.annotations)
    numbered = split.annotations in alone.numbered
    changes = [
        RepairChange(what="dropped", entry=where, why=why)
        for where, why in (left_out(split.annotations) if numbered else [])
    ]

    def note(what: str, entry: str, why: str) -> None:
        changes.append(RepairChange(what=what, entry=entry, why=why))

    content = with_numbers(content, note, origins=numbered)
    own = split if alone.config.data.train is None else alone.config.data.train
    roots = (split.images, own.images)  # the second has the files that names now mean
    content["images"] = with_inner_names(content["images"], own.images, note)
    stored = alone.config.data.orientation == "stored"
    content["images"] = with_sizes(
        content, lambda name: _size(_root_of(name, roots), name, stored=stored), note
    )
    masked = any(
        isinstance(entry, dict) and is_mask(entry.get("segmentation"))
        for entry in content["annotations"]
    )
    found = repair(
        content,
        _unusable(alone, roots, content["images"]),
        need_masks=need_masks and masked,
        origins=numbered,
    )
    return dataclasses.replace(found, changes=(*changes, *found.changes))


def _readable(alone: Run) -> SplitConfig:
    """The split in normal form, without what its format can leave out.

    Raises:
        DatasetError: It is no annotation file, or wrong in a way that no repair can mend.
    """
    try:
        return inputs.inputs(alone).train
    except DatasetError as error:
        name = alone.config.data.train_format
        what = FORMATS[name].leaves_out
        able = (
            f"in data={name}, fix=true leaves out wrong {what} and puts boxes right, but not this: "
            "correct it by hand."
        )
        if not what:
            raise
        raise DatasetError(error.path, [*error.problems, able]) from error


def _root_of(name: str, roots: Sequence[Path]) -> Path:
    """The folder that has an image, else the last one."""
    return next((root for root in roots if is_file(root / name)), roots[-1])


def _size(root: Path, name: str, *, stored: bool) -> tuple[int, int] | None:
    header = _header(root, name)
    if header is None:
        return None
    return header.size if stored else header.shown_size  # as drawn on what viewers show


def _header(root: Path, name: str) -> ImageHeader | None:
    try:
        return read_header(root / name)
    except UNREADABLE:
        return None


def _stored(record: ImageRecord, root: Path) -> ImageRecord:
    """The record with the size of its stored pixels, where it has that of what viewers show."""
    header = _header(root, record.file_name)
    if header is None or record.size != header.shown_size:
        return record
    width, height = header.size
    return dataclasses.replace(record, width=width, height=height)


def _unusable(alone: Run, roots: Sequence[Path], images: list[Any]) -> dict[int, str]:
    table, source = ImageTable(), alone.config.data
    for index, entry in enumerate(images):
        table.add(index, entry)
    found = {}
    for root in dict.fromkeys(roots):
        wrong = wrong_images(
            root,
            [_stored(one, root) for one in table.records if _root_of(one.file_name, roots) == root],
            decode=source.decode_images,
            max_pixels=source.max_image_pixels,
        )
        for problem in wrong:
            what = "is missing" if problem.missing else problem.text
            found[problem.record.image_id] = f"{problem.record.file_name!r} {what}"
    return found


def _with_same_classes(found: dict[str, Repaired]) -> dict[str, Repaired]:
    changes: list[RepairChange] = []

    def note(what: str, entry: str, why: str) -> None:
        changes.append(RepairChange(what=what, entry=entry, why=why))

    train, val = same_classes(found["train"].content, found["val"].content, note)
    return {
        "train": dataclasses.replace(found["train"], content=train),
        "val": Repaired(content=val, changes=(*found["val"].changes, *changes)),
    }


def _listed(config: RunConfig, found: dict[str, Repaired]) -> Iterator[tuple[str, Json]]:
    for name, repaired in found.items():
        split = config.data.train if name == "train" else config.data.val
        yield (
            name,
            {
                "source": None if split is None else str(split.annotations),
                "counts": repaired.counts(),
                "changes": [dataclasses.asdict(change) for change in repaired.changes],
            },
        )
