"""The manifest of a finished stage: what decided its output, and the digest of each file.

A published file has one of its own beside it, sealed in the same way (`flows.stages.cards`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.errors import RecordError
from mal_core.processes.files import sha256_json, write_json
from mal_core.processes.records import from_json, to_json

MANIFEST = "MANIFEST.json"
SUFFIX = ".manifest.json"
SEAL = "manifest"
"""Where the file keeps the digest of all else it says, by which an altered one is noticed."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What lies beside the files of a finished stage.

    Attributes:
        key: Digest of the next four, the name of the folder.
        stage, config, inputs, code: As in `flows.store.local.StageKey`.
        seconds: What the work took.
        files: SHA-256 of each file, by path relative to the folder.
    """

    key: str
    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: str
    seconds: float
    files: Mapping[str, str]


def manifest_of(file: Path) -> Path:
    """Where the manifest of a published file lies."""
    if file.name.endswith(SUFFIX):
        return file
    return file.with_name(f"{file.stem}{SUFFIX}")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Leave it in a folder; from then on the output counts as whole."""
    write_json(folder / MANIFEST, sealed(to_json(manifest)), indent=1)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with its own digest, by which an altered one is noticed."""
    return {**content, SEAL: sha256_json(content)}


def is_intact(content: Mapping[str, Any]) -> bool:
    """Whether content is as it was sealed."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    try:
        return bool(content.get(SEAL) == sha256_json(rest))
    except ValueError:  # NaN, which no digest is made of
        return False


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished stage.

    Raises:
        RecordError: It was altered, or is none.
        OSError: The file is absent or cannot be read.
    """
    path = folder / MANIFEST
    return parse_manifest(path.read_bytes(), path)


def parse_manifest(text: bytes, what: object) -> Manifest:
    """The manifest in the bytes of such a file; `what` is how messages call it.

    Raises:
        RecordError: It was altered, or is none.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{what} is no JSON: {error}"
        raise RecordError(message) from error
    found = isinstance(content, dict)
    rest = {key: value for key, value in content.items() if key != SEAL} if found else content
    manifest = from_json(Manifest, rest, what)
    if not is_intact(content):
        message = f"{what} was altered"
        raise RecordError(message)
    return manifest
