"""Everything about the input at once, for `mal check`: problems and warnings by kind, repair."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.settings.run_config import DataSource
from flows.stages import inputs
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey
from flows.store.stage_names import OVERLAP
from mal_core.config import SplitConfig
from mal_core.data.images.overlap import Twin, near_twins, same_files
from mal_core.data.inspection.findings import Finding, errors_by_kind, warning
from mal_core.errors import DatasetError, MalCoreError
from mal_core.processes.records import read_record, write_record

TWINS = "twins.json"
SHOWN_TWINS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """Images of the validation split that training sees, too."""

    twins: tuple[Twin, ...]


def examine(run: Run, *, examples: int) -> list[Finding]:
    """All problems of both splits; where there is none, all that is unusual.

    Args:
        run: The run.
        examples: Sentences to keep of each kind.

    Raises:
        ConfigError: The configuration names no data.
    """
    try:
        checked = inputs.check_all(run)
    except DatasetError as error:
        parts = dict.fromkeys((path, text) for path, texts in error.parts for text in texts)
        if run.inputs is None:  # it ended before the splits were looked at
            parts |= dict.fromkeys(_problems_alone(run))
        files = list(dict.fromkeys(path for path, _ in parts))
        return [
            finding
            for file in files
            for finding in errors_by_kind(
                file, [text for path, text in parts if path == file], examples=examples
            )
        ]
    return [*_oddities(run, inputs.read_check(checked)), *shared_images(run)]


def counts(run: Run) -> list[str]:
    """What each split of a sound input holds, one line each."""
    return list(inputs.read_check(inputs.check_all(run))["counts"])


def _problems_alone(run: Run) -> Iterator[tuple[Path, str]]:
    """Problems of each split by itself."""
    for name in ("train", "val"):
        alone = only(run, name)
        if alone is None:
            continue
        try:
            inputs.check(alone, need_val=False)
        except DatasetError as error:
            yield from ((path, text) for path, texts in error.parts for text in texts)
        except MalCoreError:
            continue  # the whole run says that


def only(run: Run, name: str) -> Run | None:
    """A run with one split, in the place of the training split; None where there is none."""
    source: DataSource = run.config.data
    split = source.train if name == "train" else source.val
    if split is None:
        return None
    kind = source.train_format if name == "train" else source.val_format
    data = dataclasses.replace(source, train=dataclasses.replace(split, format=kind), val=None)
    config = dataclasses.replace(run.config, data=data, second_ruler=None)
    return Run(config, store=run.store)


def _file(run: Run, split: str) -> Path:
    """The user's file of a split."""
    found = inputs.inputs(run)
    source = run.config.data
    given = source.train if split == "train" else source.val
    if split == "train" and run.config.boxes is not None:
        return run.config.boxes
    if given is not None:
        return given.annotations
    drawn = found.train if split == "train" else found.val
    return Path("data=scenes") if drawn is None else drawn.annotations


def _oddities(run: Run, checked: dict[str, object]) -> Iterator[Finding]:
    odd = checked["oddities"]
    for oddity in odd if isinstance(odd, list) else ():
        yield warning(_file(run, oddity["split"]), oddity["kind"], oddity["text"], oddity["count"])
    found = inputs.inputs(run)
    for split, notes in (("train", found.train_notes), ("val", found.val_notes)):
        for note in notes:
            yield warning(_file(run, split), "images", f"{note}")


def shared_images(run: Run) -> Iterator[Finding]:
    """Validation images that training sees too: their scores say nothing of unseen images."""
    found = inputs.inputs(run)
    if found.val is None:
        return
    exact = same_files(*(_digests(run, split) for split in (found.train, found.val)))
    named = {twin.second for twin in exact}
    near = [twin for twin in _near(run, found.train, found.val) if twin.second not in named]
    groups = (
        ("image-in-both", exact, "are training images too, byte by byte"),
        ("image-nearly-in-both", near, "show nearly what a training image shows"),
    )
    for kind, twins, what in groups:
        if twins:
            yield warning(
                _file(run, "val"),
                kind,
                f"{len(twins)} images {what}, such as {_shown(twins)}: scores on them say little "
                "of unseen images. They stay: take them out of one of the files",
                len(twins),
            )


def _shown(twins: Sequence[Twin]) -> str:
    return ", ".join(f"{twin.second!r} ({twin.first!r})" for twin in twins[:SHOWN_TWINS])


def _digests(run: Run, split: SplitConfig) -> dict[str, str]:
    names = [image.file_name for image in run.view(split.annotations).images]
    digests = run.store.digests.digests(split.images / name for name in names)
    return {name: digest for name in names if (digest := digests[split.images / name])}


def _near(run: Run, train: SplitConfig, val: SplitConfig) -> tuple[Twin, ...]:
    """Computed once for the images of both splits."""

    def names(split: SplitConfig) -> list[str]:
        return [image.file_name for image in run.view(split.annotations).images]

    def work(folder: Path) -> None:
        twins = near_twins((train.images, names(train)), (val.images, names(val)))
        write_record(folder / TWINS, Overlap(twins=tuple(twins)))

    key = StageKey(
        stage=OVERLAP,
        config={},
        inputs={
            name: run.digests(split).images for name, split in (("train", train), ("val", val))
        },
        code=code_version(["mal_core.data.images.overlap"], packages=["opencv-python-headless"]),
    )
    return read_record(Overlap, run.get(key, work).path / TWINS).twins
