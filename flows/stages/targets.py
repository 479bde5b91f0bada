"""Where a command writes, the working folder and `output`: checked before it works, and told."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import normal_form
from flows.stages.run import Run
from flows.store.manifest import SEAL, manifest_of
from mal_core.config.roles import Role, settings_of
from mal_core.data.pseudo_labels import LEDGER_KEYS, ledger_of
from mal_core.errors import ConfigError, full_disk, lacks_space
from mal_core.processes.files import atomic_path
from mal_core.processes.own_file import check_kind, check_own
from mal_core.processes.own_folder import OwnFolder
from mal_core.processes.places import FOLDER, JSON, Kind, check_place

WRITTEN = frozenset((Role.OPERATION, Role.PLACE))
"""Of settings that say where something is written."""
OUTPUT = "output="


def sources(config: RunConfig) -> Sequence[Path]:
    """All files and folders that the settings have the command read."""
    return [*_places_in(config)]


def _places_in(record: Any) -> Iterator[Path]:
    for setting in settings_of(type(record)):
        value = getattr(record, setting.key)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one):
                yield from _places_in(one)
            elif one is not None and setting.is_path and not setting.roles >= WRITTEN:
                yield Path(one)


def into_folder(overrides: Sequence[str], name: str | None = None) -> list[str]:
    """Overrides in which an output that ends with a slash is a file in that folder.

    Args:
        overrides: As the user gave them.
        name: Of the file; None for labels in the format that their boxes have, which may be a
            folder already.
    """
    slashed = [one for one in overrides if one.startswith(OUTPUT) and one.endswith("/")]
    if not slashed:
        return list(overrides)
    if name is None:
        name = normal_form.native_target(Run(composing.compose(overrides))) or "train.json"
        if "." not in name:
            return list(overrides)
    return [f"{one}{name}" if one in slashed else one for one in overrides]


def check_output(
    config: RunConfig,
    own: Path | None = None,
    *,
    kind: Kind = JSON,
    beside: Mapping[Path, Collection[str]] = MappingProxyType({}),
    read: Sequence[Path] = (),
) -> Path:
    """Where a command writes; refused before any work where that cannot be.

    Args:
        config: Its `output`, and what is read.
        own: Where it writes if it was not told; None where it must have been.
        kind: What is written.
        beside: JSON files that it leaves, too, and keys of theirs that other files lack.
        read: Files that it reads and the settings do not name.

    Raises:
        ConfigError: Writing there would fail, or destroy an input or a file of another kind.
    """
    place = config.output or own
    assert place is not None  # noqa: S101 - the caller has asked for it
    told = f"output={place}" if config.output is not None else str(place)
    everything = [*sources(config), *read]
    check_place(place, everything, kind=kind, told=told)
    if config.output is not None and kind is not FOLDER:
        check_own(place, told)
    for one, marks in beside.items():
        also = f"{one}, which is written with {told},"
        check_place(one, everything, told=also)
        check_kind(one, marks, also)
    return place


def check_labels_output(
    config: RunConfig,
    *,
    beside: Mapping[Path, Collection[str]] = MappingProxyType({}),
    read: Sequence[Path] = (),
) -> Path:
    """As `check_output`, of labels written again, which get a manifest beside them."""
    assert config.output is not None  # noqa: S101 - the caller has asked for it
    marks = {manifest_of(config.output): {SEAL, "sha256"}}
    return check_output(config, beside={**beside, **marks}, read=read)


def check_workdir(config: RunConfig) -> None:
    """Refuse a working folder that nothing can be written to.

    Raises:
        ConfigError: It is none.
    """
    check_place(config.workdir, kind=FOLDER, told=f"workdir={config.workdir}")


def check_labels(run: Run) -> None:
    """Refuse a working folder or an `output` that labels cannot be written to.

    Raises:
        ConfigError: Writing there would fail or destroy something; or a file is named where labels
            return as a folder.
    """
    config = run.config
    check_workdir(config)
    if config.output is None:
        own = config.workdir / "labels" / "train.json"
        check_place(own, [*_places_in(config.data), *filter(None, [config.boxes])], told=str(own))
        return
    folder, ledger = labels_folder(run), ledger_of(config.output)
    if folder is not None and config.output.suffix == ".json":
        message = (
            f"output={config.output} looks like a file, but labels return as "
            f"{normal_form.native_target(run)}, a folder of files. Name a folder; without output, "
            "workdir gets labels/train.json, which is COCO, too."
        )
        raise ConfigError(message)
    if folder is None:
        manifest = manifest_of(config.output)
        check_output(config, beside={ledger: LEDGER_KEYS, manifest: {SEAL, "sha256"}})
    else:
        folder.check()
        check_output(config, kind=FOLDER, beside={ledger: LEDGER_KEYS})


def labels_folder(run: Run) -> OwnFolder | None:
    """The chosen `output`, where labels return as a folder."""
    config, target = run.config, normal_form.native_target(run)
    if config.output is None or not target or Path(target).suffix:
        return None
    return OwnFolder(config.output, f"mal label data={config.data.train_format}", sources(config))


@contextlib.contextmanager
def writable(target: Path) -> Iterator[None]:
    """A place that the user chose, while it is written.

    Raises:
        ConfigError: It cannot be written to.
        ArtifactError: Its disk is full.
    """
    try:
        yield
    except OSError as error:
        if lacks_space(error):
            raise full_disk(target) from error
        message = f"{target} cannot be written ({error.strerror}): choose another place."
        raise ConfigError(message) from error


def write_config(text: str, workdir: Path) -> None:
    """The composed settings as YAML; the first file written, so a bad folder shows here.

    Raises:
        ConfigError: The working folder cannot be written to.
    """
    target = workdir / "config.yaml"
    try:
        if target.is_file() and target.read_text() == text:
            return
        with atomic_path(target) as temporary:
            temporary.write_text(text)
    except OSError as error:
        if lacks_space(error):
            raise full_disk(f"workdir={workdir}") from error
        message = f"workdir={workdir} cannot be written to ({error.strerror}). Choose another."
        raise ConfigError(message) from error
