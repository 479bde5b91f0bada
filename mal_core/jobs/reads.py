"""What phase 1 has read: every file that a child of it opens, and that none held a mask.

A guide does, and the record says so: its file is the user's choice, and no other may.

Python tells of each file that it opens (PEP 578); what OpenCV and safetensors open by
themselves, our readers tell of. Each process appends to one log, data workers too, so the
record is of what happened and not of what was meant to.
"""

import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.data.json_lists import Piece, read_lists
from mal_core.errors import DatasetError, LeakError
from mal_core.processes.files import READ_EVENT, sha256_file
from mal_core.processes.records import read_record, write_record

LOG, CERTIFICATE = "reads.log", "reads.json"
GUIDE = "guide"
MASK_KEYS = frozenset(("segmentation", "segmentations"))
TEXT_SUFFIXES = (".json", ".gz", "")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".npy", ".npz")
SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib", "/usr/share/", "/lib")
CODE = (".py", ".pyc", ".so", "pyvenv.cfg")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadFile:
    """A file that was read.

    Attributes:
        role: "boxes", "weights", "guide" or "other".
        holds_masks: A key of masks stands in it.
    """

    name: str
    role: str
    sha256: str
    holds_masks: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadCertificate:
    """What the children of a stage read.

    Attributes:
        files: All but images.
        num_images: Images of the list that were read.
        foreign_images: Images that are not in the list; a mask could be one of them.
    """

    files: tuple[ReadFile, ...]
    num_images: int
    foreign_images: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether no mask was read but a guide's, nor anything that may have been one."""
        return not self.foreign_images and not self.masked

    @property
    def masked(self) -> list[str]:
        """Names of the files with masks, other than a guide."""
        return [one.name for one in self.files if one.holds_masks and one.role != GUIDE]

    @property
    def guided(self) -> bool:
        """Whether a guide was read: the result is not one from boxes alone."""
        return any(one.role == GUIDE for one in self.files)

    def line(self) -> str:
        """The certificate in one line."""
        names = ", ".join(f"{one.name} ({one.sha256[:12]})" for one in self.files)
        none = "no masks but the guide's were read" if self.guided else "none of them held a mask"
        masks = none if self.clean else "MASKS WERE READ"
        return f"{self.num_images} images and {names}: {masks}"


def watch_reads(folder: Path) -> None:
    """Log each file that this process, and those it forks, opens for reading.

    Args:
        folder: Of the job; its log is continued. What is in it is our own and not logged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    seen: set[str] = set()
    own = f"{folder.resolve()}{os.sep}"
    code = tuple(f"{root}{os.sep}" for root in _code_roots())

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", READ_EVENT) or not _is_reading(event, arguments):
            return
        try:
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - called a lot
        except TypeError:  # a descriptor
            return
        if path in seen or path.startswith((*SYSTEM, own, *code)) or path.endswith(CODE):
            return
        seen.add(path)
        os.write(descriptor, f"{json.dumps(path)}\n".encode())

    sys.addaudithook(heard)


def _code_roots() -> Iterator[str]:
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield sysconfig.get_path(name)
    yield str(Path(__file__).resolve().parents[1])  # mal_core, with the data it brings
    yield sys.prefix
    yield sys.base_prefix


def _is_reading(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == READ_EVENT:
        return True
    _, mode, flags = (*arguments, None, 0)[:3]
    if isinstance(mode, str):
        return "r" in mode or "+" in mode
    return (
        isinstance(flags, int)
        and flags & os.O_ACCMODE != os.O_WRONLY
        and not (flags & os.O_DIRECTORY)
    )


def require_no_masks(boxes: Path) -> None:
    """Refuse a file of boxes that holds masks, before anything is learned from it.

    Raises:
        LeakError: It does.
    """
    if holds_masks(boxes):
        message = (
            f"{boxes} holds masks, and phase 1 must see none. It is written by the stage `boxes`: "
            "delete it from the store, and report this."
        )
        raise LeakError(message)


def holds_masks(path: Path) -> bool:
    """Whether an annotation of a JSON file has a mask, wherever else such a word may stand."""
    if path.suffix.lower() not in TEXT_SUFFIXES:
        return False
    found = False

    def visit(_key: str, piece: Piece) -> None:
        nonlocal found
        entries = piece.quick()
        found = found or _any_mask(piece.exact() if entries is None else entries)

    try:
        value = read_lists(path, ("annotations",), visit)
    except DatasetError:  # no JSON
        return False
    return found or (isinstance(value, list) and _any_mask(value))


def _any_mask(entries: Sequence[object]) -> bool:
    return any(
        not MASK_KEYS.isdisjoint(entry.keys()) for entry in entries if isinstance(entry, dict)
    )


def certify(
    folder: Path,
    *,
    boxes: Path,
    images: Path,
    names: Iterable[str],
    weights: Sequence[Path] = (),
    guide: Path | None = None,
) -> ReadCertificate:
    """Write what was read according to the log, `reads.json` beside it.

    Args:
        folder: Of the job.
        boxes: The file of boxes that the job was given.
        images: Folder of the images.
        names: Images of the list.
        weights: Files of weights that the job was given.
        guide: The file of masks that it was given to learn from, if there is one.

    Raises:
        LeakError: A mask was read, or an image that is not in the list.
    """
    listed = {os.path.abspath(images / name) for name in names}  # noqa: PTH100 - links stay
    read = {json.loads(line) for line in (folder / LOG).read_text().splitlines()}
    seen_images = listed & read
    rest = [Path(path) for path in sorted(read - listed) if Path(path).is_file()]
    pictures = [path for path in rest if path.suffix.lower() in PICTURES]
    roles = {**dict.fromkeys(weights, "weights"), boxes: "boxes"}
    if guide is not None:
        roles[Path(os.path.abspath(guide))] = GUIDE  # noqa: PTH100 - links stay
    certificate = ReadCertificate(
        files=tuple(
            ReadFile(
                name=path.name,
                role=roles.get(path, "other"),
                sha256=sha256_file(path),
                holds_masks=holds_masks(path),
            )
            for path in rest
            if path not in pictures
        ),
        num_images=len(seen_images),
        foreign_images=tuple(path.name for path in pictures),
    )
    write_record(folder / CERTIFICATE, certificate, indent=1)
    if not certificate.clean:
        names = [*certificate.masked, *certificate.foreign_images]
        message = (
            f"phase 1 has read {', '.join(names)}, which may hold "
            "masks: its result is worth nothing as one from boxes alone."
        )
        raise LeakError(message)
    (folder / LOG).unlink()
    return certificate


def read_certificate(folder: Path) -> ReadCertificate | None:
    """The certificate of a finished job; None where it has none."""
    path = folder / CERTIFICATE
    return read_record(ReadCertificate, path) if path.is_file() else None
