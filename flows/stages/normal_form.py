"""Annotations of any format as COCO files in the store, and labels back in that format."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from flows.settings.run_config import Inputs, RunConfig
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import NORMAL_FORM, NORMAL_MASKS, ONE_CLASS
from mal_core.config import SplitConfig
from mal_core.errors import DatasetError, raise_together, renamed
from mal_core.processes.files import sha256_json, write_json
from mal_core.processes.own_file import adopt
from mal_core.processes.own_folder import OwnFolder
from mal_core.report.text_tables import format_number

logger = logging.getLogger(__name__)

NOTES, DROPPED = "notes.json", "dropped.json"
Json = dict[str, Any]


def normal_form(run: Run, given: Inputs) -> Inputs:
    """The splits with COCO files as annotations; the user's own where they are that already.

    Raises:
        DatasetError: Annotations are wrong in a way that only their own format knows.
    """
    found = _annotated(run, given)
    return found if run.config.boxes is None else _with_detections(run, found)


def _annotated(run: Run, given: Inputs) -> Inputs:
    data = run.config.data
    wanted = {"train": (given.train, data.train_format)}
    if given.val is not None:
        wanted["val"] = (given.val, data.val_format)
    plain, failures = {}, []
    for key, (split, name) in wanted.items():
        try:
            plain[key] = _in_utf8(run, split, name)
        except DatasetError as error:
            failures.append(error)
    raise_together(failures)
    given = Inputs(train=plain["train"], val=plain.get("val"))
    formats = {name for _, name in wanted.values()}
    return given if formats == {"coco"} else _converted(run, given)


def _in_utf8(run: Run, split: SplitConfig, name: str) -> SplitConfig:
    """The split, a COCO file in plain UTF-8."""
    if name != "coco":
        return split
    return SplitConfig(images=split.images, annotations=in_utf8(run, split.annotations))


def in_utf8(run: Run, path: Path) -> Path:
    """The file; a copy in the store where mmdet and pycocotools could not read it as text.

    Raises:
        DatasetError: It is broken gzip, or not in the encoding that it shows.
    """
    from mal_core.formats.normal import is_utf8, write_utf8

    if is_utf8(path):
        return path

    def work(folder: Path) -> None:
        write_utf8(path, folder / "plain.json")

    inputs = {"annotations": str(run.store.digests.digest(path))}
    return _stage(run, {"format": "coco"}, inputs, work).path / "plain.json"


def _converted(run: Run, given: Inputs) -> Inputs:
    from mal_core.formats import FORMATS, adopt_classes, align_classes
    from mal_core.formats.normal import write_normal

    data = run.config.data
    names = {"train": data.train_format, "val": data.val_format}
    splits = {"train": given.train, **({} if given.val is None else {"val": given.val})}
    formats = {key: FORMATS[names[key]] for key in splits}
    setting = _reading(run.config, any(one.sizes_from_pixels for one in formats.values()))

    def work(folder: Path) -> None:
        contents, notes, failures = {}, {}, []
        dropped: list[tuple[str, str]] | None = [] if run.config.fix else None
        for key, split in splits.items():
            format_ = formats[key]
            try:
                contents[key] = format_.read(
                    split.images, split.annotations, data.orientation, dropped
                )
                notes[key] = format_.notes(split.images, split.annotations, contents[key])
            except DatasetError as error:
                failures.append(error)
        raise_together(failures)
        if formats["train"].numbers_classes:
            align_classes(list(contents.values()))
        elif len({names[key] for key in splits}) > 1:
            adopt_classes(contents["train"], contents["val"])
        for key, content in contents.items():
            numbered = formats[key].numbers_entries
            write_normal(folder / f"{key}.json", content, splits[key].annotations, numbered)
        write_json(folder / NOTES, notes)
        write_json(folder / DROPPED, dropped or [])

    inputs = {key: _source_digest(run, split, names[key]) for key, split in splits.items()}
    config = {"format": [names[key] for key in splits], **setting}
    stored = _stage(run, config, inputs, work)
    notes = json.loads((stored.path / NOTES).read_text())
    run.numbered |= {
        stored.path / f"{key}.json" for key, format_ in formats.items() if format_.numbers_entries
    }
    normal = {
        key: SplitConfig(images=split.images, annotations=stored.path / f"{key}.json")
        for key, split in splits.items()
    }
    return Inputs(
        train=normal["train"],
        val=normal.get("val"),
        train_notes=tuple(notes["train"]),
        val_notes=tuple(notes.get("val", ())),
    )


def _reading(config: RunConfig, from_pixels: bool) -> dict[str, Any]:
    """Settings that decide what a reader makes of its files."""
    orientation = {"orientation": config.data.orientation} if from_pixels else {}
    return {**orientation, **({"fix": True} if config.fix else {})}


def left_out(normal: Path) -> list[tuple[str, str]]:
    """Places that a reader left out of a normal form for a repair, and why."""
    listed = normal.with_name(DROPPED)
    return (
        [(where, why) for where, why in json.loads(listed.read_text())] if listed.exists() else []
    )


def states_sizes(name: str) -> bool:
    """Whether a format's files state the sizes of images."""
    from mal_core.formats import FORMATS

    return not FORMATS[name].sizes_from_pixels


def _source_digest(run: Run, split: SplitConfig, name: str) -> str:
    """Of everything outside the images' pixels that a format's reader looks at."""
    from mal_core.data.images.walking import entries_below
    from mal_core.formats import FORMATS

    format_ = FORMATS[name]
    paths = sorted(format_.files(split.images, split.annotations))
    digests = run.store.digests.digests(paths)
    listing: list[str] = []
    if format_.looks_for_images:
        listing = sorted(name for name, _ in entries_below(split.images))
    if split.annotations.is_dir():  # a note counts what is not read
        listing += sorted(ascii(name) for name, _ in entries_below(split.annotations))
    files = [[str(path), digests[path]] for path in paths]
    return sha256_json([files, listing])


def _with_detections(run: Run, given: Inputs) -> Inputs:
    from mal_core.data.coco import drop_mask, parse_coco
    from mal_core.formats.detections import detections_to_coco

    detections, train = run.config.boxes, given.train
    assert detections is not None  # noqa: S101 - the caller asked

    wrong = run.view(train.annotations).entry_problems
    if wrong:
        raise DatasetError(train.annotations, wrong)

    def work(folder: Path) -> None:
        coco = parse_coco(train.annotations, drop_mask)
        write_json(folder / "train.json", detections_to_coco(detections, coco))

    inputs = {
        "boxes": str(run.store.digests.digest(detections)),
        "train": str(run.store.digests.digest(train.annotations)),
    }
    stored = _stage(run, {"format": "detections"}, inputs, work)
    run.numbered.add(stored.path / "train.json")
    labeled = SplitConfig(images=train.images, annotations=stored.path / "train.json")
    return Inputs(train=labeled, val=given.val)


def _stage(run: Run, config: dict[str, Any], inputs: dict[str, str], work: Any) -> Stored:
    version = code_version(["mal_core.formats"], packages=["numpy", "pillow"])
    key = StageKey(stage=NORMAL_FORM, config=config, inputs=inputs, code=version)
    return run.get(key, work)


def one_class(run: Run, annotations: Path) -> Stored:
    """A copy of a COCO file in which every object is of the class `object`: merged.json."""

    def work(folder: Path) -> None:
        from mal_core.data.coco import parse_coco
        from mal_core.data.validation import LISTED

        content = parse_coco(annotations, needed=LISTED)
        merged = [{**entry, "category_id": 1} for entry in content["annotations"]]
        categories = [{"id": 1, "name": "object"}]
        new = {**content, "annotations": merged, "categories": categories}
        write_json(folder / "merged.json", new)

    digest = str(run.store.digests.digest(annotations))
    key = StageKey(stage=ONE_CLASS, config={}, inputs={"annotations": digest}, code="1")
    return run.get(key, work)


def normal_masks(run: Run, annotations: Path, digest: str | None = None) -> tuple[Path, str]:
    """A file whose masks mmdet and pycocotools read as this project does, and its digest.

    Most files are that already.

    Args:
        run: Whose store and views are used.
        annotations: COCO file.
        digest: Of the file, where it is known.
    """
    if digest is not None and not annotations.exists():
        return annotations, digest  # only the shared store has it, and a question fetches nothing
    if not run.view(annotations).masks.unusual:
        return annotations, str(run.store.digests.digest(annotations))

    def work(folder: Path) -> None:
        from mal_core.data.normal_masks import write_normal_masks

        write_normal_masks(annotations, folder / "masks.json")

    stored = run.get(
        StageKey(
            stage=NORMAL_MASKS,
            config={},
            inputs={"annotations": str(run.store.digests.digest(annotations))},
            code=code_version(["mal_core.data.normal_masks"], packages=["pycocotools"]),
        ),
        work,
    )
    return stored.path / "masks.json", stored.files["masks.json"]


def in_users_words(run: Run, found: Inputs, error: DatasetError) -> DatasetError:
    """The same error about the user's own files instead of their copies in the store."""
    return renamed(error, _own_files(run.config, found))


def _own_files(config: RunConfig, found: Inputs) -> dict[Path, Path]:
    own: dict[Path, Path] = {}
    for normal, given in ((found.train, config.data.train), (found.val, config.data.val)):
        if normal is not None and given is not None:
            chosen = config.boxes if normal is found.train and config.boxes else given.annotations
            own[normal.annotations] = chosen
    return own


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def native_target(run: Run) -> str:
    """Name of what `write_native` writes into labels/; empty: the COCO file is all there is."""
    from mal_core.formats import FORMATS

    if run.config.boxes is not None:
        return "detections.json"
    name = run.config.data.train_format
    return "" if name == "coco" else FORMATS[name].target


def detection_scores(run: Run, labeled: Path) -> list[str]:
    """AP of a detector's boxes and of their masks, where the training file has human masks.

    Args:
        labeled: What `write_native` wrote.

    Returns:
        Lines for the user, none where there is nothing to compare with.
    """
    from mal_core.data.coco import drop_mask, has_masks, parse_coco
    from mal_core.data.crowding import measure_reach
    from mal_core.evaluation.scores import evaluate_detections

    train = run.config.data.train
    if run.config.boxes is None or train is None:
        return []
    human = _annotated(run, Inputs(train=train, val=run.config.data.val)).train.annotations
    if not has_masks(human):
        return []
    truth, _ = normal_masks(run, human)
    scores = evaluate_detections(truth, labeled)
    lines = [
        f"AP of the {title}: {format_number(s.ap)} (AP50 {format_number(s.ap50)}, "
        f"AP75 {format_number(s.ap75)}; small, medium, large {format_number(s.ap_small)}, "
        f"{format_number(s.ap_medium)}, {format_number(s.ap_large)})"
        for title, s in (("boxes", scores["bbox"]), ("masks", scores["segm"]))
    ]
    return [*lines, *measure_reach(parse_coco(human, drop_mask), None).lines()]


def write_skipped(ledger: Path, target: Path) -> None:
    """The skipped boxes of a detector's list, by their places in it."""
    from mal_core.formats import detections

    detections.write_skipped(ledger, target)


def write_native(run: Run, labels: Path, target: Path, chosen: OwnFolder | None = None) -> None:
    """Labels in the format that the boxes came in.

    Args:
        run: Says the format.
        labels: The labeled normal form.
        target: File or folder.
        chosen: The folder, where a user has named it.
    """
    from mal_core.data.coco import parse_coco
    from mal_core.formats import FORMATS
    from mal_core.formats.detections import write_detections

    labeled = parse_coco(labels)
    train = run.config.data.train
    if run.config.boxes is not None:
        write_detections(labeled, run.config.boxes, target)
    elif train is not None:
        write = FORMATS[run.config.data.train_format].write_masks
        if write is not None and chosen is not None:
            with chosen.filled() as fresh:
                write(labeled, train.annotations, train.images, fresh)
        elif write is not None:
            fresh = target.with_name(f"{target.name}.partial")
            _remove(fresh)
            write(labeled, train.annotations, train.images, fresh)
            if fresh.is_file():
                adopt(fresh, target)
            else:
                _remove(target)
                fresh.replace(target)
    logger.info("wrote %s", target)
