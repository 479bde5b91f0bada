"""`mal cache` on a shared store: what it holds, and making room in it."""

import time
from collections.abc import Sequence
from pathlib import Path

from flows.store.contents import DAY_S, FINISHED, Entry, named
from flows.store.manifest import MANIFEST
from flows.store.object_storage import PROBE, StoredObject
from flows.store.shared import FILES, LEASE, SharedStore

GRACE_DAYS = 1.0
"""Files younger than this may belong to an upload whose manifest is still to come."""


def entries(shared: SharedStore) -> list[Entry]:
    """Every output, by stage, the newest first; its age is that of its manifest.

    The size of an output counts all its files, also those that it shares with others.
    """
    objects = {stored.name: stored for stored in shared.storage.listing()}
    found = [
        _entry(shared, stored, objects)
        for stored in objects.values()
        if len(stored.name.split("/")) == 3 and stored.name.endswith(f"/{MANIFEST}")
    ]
    return sorted(found, key=lambda stored: (stored.stage, -stored.used, stored.key))


def _entry(shared: SharedStore, manifest: StoredObject, objects: dict[str, StoredObject]) -> Entry:
    name = manifest.name.removesuffix(f"/{MANIFEST}")
    stage, _, key = name.partition("/")
    files = shared.has(name)
    blobs = [objects.get(f"{FILES}/{digest}") for digest in (files or {}).values()]
    whole = files is not None and None not in blobs
    return Entry(
        stage=stage,
        key=key,
        path=Path(name),
        state=FINISHED if whole else "damaged",
        size=manifest.size + sum(blob.size for blob in blobs if blob is not None),
        used=manifest.modified,
        busy=f"{name}{LEASE}" in objects,
    )


def chosen(shared: SharedStore, names: Sequence[str]) -> list[Entry]:
    """Entries by name, as `mal cache rm` takes them.

    Raises:
        ConfigError: A name means nothing, or several outputs.
    """
    return named(entries(shared), names, shared.storage.url)


def old(shared: SharedStore, days: float) -> list[Entry]:
    """Outputs that were uploaded, or forced anew, more than some days ago."""
    deadline = time.time() - days * DAY_S
    return [entry for entry in entries(shared) if entry.used < deadline]


def remove(shared: SharedStore, found: Sequence[Entry]) -> None:
    """Delete the manifests of outputs: no machine fetches them any more."""
    for entry in found:
        shared.storage.delete(f"{entry.name}/{MANIFEST}")


def remove_orphans(shared: SharedStore, *, grace_days: float = GRACE_DAYS) -> tuple[int, int]:
    """Delete files that no manifest names, except young ones; returns their number and bytes.

    Leases and probes of processes that were killed go too: one in use is rewritten often.
    An upload may just now count on an old file that is deleted here. Its output is then
    found damaged by the next machine that wants it, and made again.
    """
    deadline = time.time() - grace_days * DAY_S
    # Files before manifests: what is uploaded between both looks is not in the first.
    found = shared.storage.listing()
    wanted = _wanted(shared)
    files = [stored for stored in found if stored.name.startswith(f"{FILES}/")]
    orphans = [
        stored
        for stored in files
        if stored.modified < deadline and stored.name.removeprefix(f"{FILES}/") not in wanted
    ]
    left = [
        stored
        for stored in found
        if stored.modified < deadline
        and (stored.name.endswith(LEASE) or stored.name.startswith(PROBE))
    ]
    for stored in (*orphans, *left):
        shared.storage.delete(stored.name)
    return len(orphans), sum(stored.size for stored in orphans)


def _wanted(shared: SharedStore) -> set[str]:
    """Digests that any manifest names."""
    wanted: set[str] = set()
    for stored in shared.storage.listing():
        if stored.name.endswith(f"/{MANIFEST}"):
            files = shared.has(stored.name.removesuffix(f"/{MANIFEST}"))
            wanted.update((files or {}).values())
    return wanted
