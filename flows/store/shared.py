"""The second level of the store, which several machines share: S3 or anything fsspec reaches.

Layout, below one URL:

    files/<sha256>                content of any output file, named by its digest
    <stage>/<key>/MANIFEST.json   a finished stage: which file has which digest
    <stage>/<key>.lease           a machine is at work on the key (see flows.store.leases)

Two machines that finish the same key at once can never mix their files. A file's name is its
digest, so both may upload "the same" file only where it is the same; and the manifest, one
object that is written last and replaced as a whole, names either all files of the one machine
or all files of the other. What was half uploaded has no manifest and does not exist. A reader
verifies every digest, so what was altered or lost in the storage is noticed and made again.

Attempts that are not finished stay on their machine. Nothing of this enters a stage's key.
"""

import contextlib
import functools
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from flows.lifetime.interruption import stop_if_asked
from flows.store.leases import RENEW_S, Lease
from flows.store.manifest import MANIFEST, parse_manifest
from flows.store.object_storage import ObjectStorage
from mal_core.errors import ArtifactError, RecordError
from mal_core.processes.files import sha256_file

logger = logging.getLogger(__name__)

FILES = "files"
LEASE = ".lease"
DIGEST = re.compile("[0-9a-f]{64}")


class DamagedError(Exception):
    """What the shared store has of an output cannot be used; says why."""


class SharedStore:
    """Finished stages by name, STAGE/KEY, in storage that several machines use.

    Args:
        url: Where; see ObjectStorage.
        renew_s: Seconds between renewals of a lease; the same on all machines.
    """

    def __init__(self, url: str, *, renew_s: float = RENEW_S) -> None:
        self.storage = ObjectStorage(url)
        self.renew_s = renew_s
        self._refused: dict[str, bytes] = {}
        """Manifests that named damaged files, by output: no reason to fetch again."""
        self._damaged: set[str] = set()
        """Digests whose file proved wrong: the next upload replaces it."""
        self._present: set[str] = set()
        """Outputs this process has fetched or uploaded: stages look at each other's many times."""

    def has(self, name: str) -> Mapping[str, str] | None:
        """Digests of an output's files, None when there is no such output or no whole manifest."""
        text = self.storage.read(_manifest_of(name))
        try:
            return None if text is None else listed_files(text, name)
        except DamagedError:
            return None

    def fetch(self, name: str, folder: Path, title: str) -> bool:
        """Copy an output into the local store, verified, whole or not at all.

        Args:
            name: STAGE/KEY.
            folder: Where it shall be; must not exist.
            title: For log lines.

        Returns:
            Whether it is there now. A damaged output counts as none, with a warning.

        Raises:
            ArtifactError: The storage cannot be reached.
        """
        text = self.storage.read(_manifest_of(name))
        if text is None:
            return False
        aside = folder.with_suffix(".fetching")
        shutil.rmtree(aside, ignore_errors=True)  # what a kill left
        try:
            self._download(listed_files(text, name), aside)
            (aside / MANIFEST).write_bytes(text)
            aside.rename(folder)
        except DamagedError as error:
            self._refused[name] = text
            logger.warning("%s: output in %s is damaged (%s)", title, self.storage.url, error)
            return False
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._present.add(name)
        logger.info("%s: fetched from %s", title, self.storage.url)
        return True

    def _download(self, files: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True)
        for file, digest in files.items():
            stop_if_asked()
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self.storage.download(_blob_of(digest), target):
                message = f"{_blob_of(digest)}, its {file}, is missing"
                raise DamagedError(message)
            if sha256_file(target) != digest:
                self._damaged.add(digest)
                message = f"{_blob_of(digest)}, its {file}, was altered"
                raise DamagedError(message)

    def upload(self, name: str, folder: Path, title: str) -> None:
        """Store a finished output: files first, those already there excepted, manifest last.

        Raises:
            ArtifactError: That failed; the output in `folder` stays as it is.
        """
        text = (folder / MANIFEST).read_bytes()
        try:
            for file, digest in parse_manifest(text, MANIFEST).files.items():
                stop_if_asked()
                source, blob = folder / file, _blob_of(digest)
                whole = self.storage.size(blob) == source.stat().st_size
                if not whole or digest in self._damaged:
                    self.storage.upload(source, blob)
                    self._damaged.discard(digest)
            self.storage.write(_manifest_of(name), text)
        except ArtifactError as error:
            message = (
                f"{title}: finished, but not uploaded. {error} Nothing is lost: the output is in "
                f"{folder}, and the same command uploads it."
            )
            raise ArtifactError(message) from error
        self._present.add(name)
        logger.info("%s: uploaded to %s", title, self.storage.url)

    def add(self, name: str, folder: Path, title: str) -> None:
        """Upload a finished output unless it is there already.

        Raises:
            ArtifactError: That failed; the output in `folder` stays as it is.
        """
        if name not in self._present:
            if self.has(name) is None:
                self.upload(name, folder, title)
            self._present.add(name)

    @contextlib.contextmanager
    def turn(self, name: str, title: str, *, force: bool = False) -> Iterator[bool]:
        """Wait for our turn to work on an output; no other machine begins until the end.

        Args:
            name: STAGE/KEY.
            title: For log lines.
            force: Work on it although another machine has just finished it.

        Yields:
            Whether to compute it; otherwise it may have appeared meanwhile, so fetch again.
        """

        def appeared() -> bool:
            return not force and self._has_appeared(name)

        lease = Lease(self.storage, f"{name}{LEASE}", title=title, renew_s=self.renew_s)
        free = lease.acquire(appeared)
        if free is None:
            yield False
            return
        with lease.held():
            # Another may have finished between our look and our lease.
            yield force or (free and not appeared())

    def _has_appeared(self, name: str) -> bool:
        text = self.storage.read(_manifest_of(name))
        if text is None or text == self._refused.get(name):
            return False
        try:
            listed_files(text, name)
        except DamagedError:
            return False
        return True


@functools.cache
def connect(url: str) -> SharedStore:
    """The shared store at a URL, checked once per process.

    Raises:
        ArtifactError: It cannot be used; the message says what to do.
    """
    shared = SharedStore(url)
    shared.storage.check()
    return shared


def listed_files(text: bytes, name: str) -> Mapping[str, str]:
    """Digest of each file that a manifest lists.

    Raises:
        DamagedError: It is no manifest of this output, or names a place outside its folder.
    """
    try:
        manifest = parse_manifest(text, MANIFEST)
    except RecordError as error:
        raise DamagedError(str(error)) from error
    own = f"{manifest.stage}/{manifest.key}"
    if own != name:
        message = f"{MANIFEST} is of {own}"
        raise DamagedError(message)
    for file, digest in manifest.files.items():
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not DIGEST.fullmatch(digest):
            message = f"{MANIFEST}: impossible entry {file!r}: {digest!r}"
            raise DamagedError(message)
    return manifest.files


def _manifest_of(name: str) -> str:
    return f"{name}/{MANIFEST}"


def _blob_of(digest: str) -> str:
    return f"{FILES}/{digest}"
