"""The manifest of a finished stage: what decided its output, and the digest of each file."""

from collections.abc import Mapping
from typing import Any

from mal_core.artifacts import sha256_json

MANIFEST = "MANIFEST.json"
SEAL = "manifest"
"""Where the manifest keeps the digest of all else it says."""


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its own digest, by which an altered one is noticed."""
    return {**manifest, SEAL: sha256_json(manifest)}


def is_intact(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is as it was written."""
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return bool(manifest.get(SEAL) == sha256_json(rest))
