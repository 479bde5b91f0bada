"""Files below one URL: objects of S3, or of anything else that fsspec reaches, as small verbs."""

import contextlib
import errno
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from flows.lifetime.interruption import stop_if_asked
from mal_core.errors import ArtifactError, ConfigError

logger = logging.getLogger(__name__)

SETTING = "shared_store"
AWS_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
PROBE = ".probe-"
PAUSES_S = (1.0, 3.0, 10.0)
"""Between attempts at one call, for what may pass: a network, a busy or restarting server."""
S3_OPTIONS = {
    # The endpoint, the region and who we are come from the environment or the profile of AWS.
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 0}},
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """One file in the storage.

    Attributes:
        name: Path relative to the URL.
        size: Bytes.
        modified: When it was written, by the storage's own clock, seconds since the epoch.
    """

    name: str
    size: int
    modified: float


class ObjectStorage:
    """Whole files by name: a reader sees the old content or the new one, never a part.

    Args:
        url: Where, for example s3://bucket/prefix or file:///mnt/folder; for S3 the
            endpoint and the credentials are those of AWS's own variables or profile.

    Raises:
        ArtifactError: Nothing reads such URLs here.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        # Other machines write too, so no listing may be remembered.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if protocol in ("s3", "s3a"):
            options.update(S3_OPTIONS)
        try:
            self._files, root = fsspec.url_to_fs(self.url, **options)
        except (ImportError, ValueError) as error:
            if isinstance(error, ImportError):
                s3 = protocol in ("s3", "s3a")
                hint = (
                    "`pip install 'mal-pipeline[s3]'`." if s3 else f"Install what reads {protocol}."
                )
            else:
                hint = "Wanted s3://BUCKET/PREFIX, file:///FOLDER, or what else fsspec knows."
            message = f"{SETTING}={url}: {str(error).rstrip('.')}. {hint}"
            kind = ArtifactError if isinstance(error, ImportError) else ConfigError
            raise kind(message) from error
        self._root = str(root).rstrip("/")
        self._is_local = protocol in ("file", "local")
        self._failures: tuple[type[Exception], ...] = (OSError, *_client_errors())

    def check(self) -> None:
        """Write and delete a small object, so that a wrong setting shows before any work.

        Raises:
            ArtifactError: That does not work; the message says what to do.
        """
        if self._is_local and not Path(self._root).is_dir():
            # Made silently, it would fill this disk in place of the one that is not mounted.
            raise self._error(FileNotFoundError(errno.ENOENT, "no such folder"))
        name = f"{PROBE}{uuid.uuid4().hex}"
        try:
            self._write(name, b"may this machine write here?")
            self._check_condition(name)
            self._delete(name)
        except self._failures as error:
            raise self._error(error) from error

    def _check_condition(self, name: str) -> None:
        try:
            self._create(name, b"only if there is none")
        except FileExistsError:
            return
        logger.warning(
            "%s: this storage ignores `only if absent` (If-None-Match); two machines that start "
            "the same stage at once may both compute it",
            self.url,
        )

    def read(self, name: str) -> bytes | None:
        """Content of an object, None when there is none."""
        try:
            return bytes(self._patiently(self._files.cat_file, self._path(name)))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Bytes of an object, None when there is none."""
        try:
            return int(self._patiently(self._files.info, self._path(name))["size"])
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Make an object or replace it."""
        try:
            self._patiently(self._write, name, content)
        except FileNotFoundError as error:  # the bucket is gone
            raise self._error(error) from error

    def create(self, name: str, content: bytes) -> bool:
        """Make an object if there is none of this name; returns whether it was made now.

        On S3 this is one conditional request and on a file system an exclusive create. A
        storage that ignores the condition lets two callers believe that they were first.
        """
        try:
            self._patiently(self._create, name, content)
        except FileExistsError:
            # A repeated request finds what its first attempt made before the answer was lost.
            return self.read(name) == content
        except FileNotFoundError as error:
            raise self._error(error) from error
        return True

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        self._patiently(self._delete, name)

    def upload(self, source: Path, name: str) -> None:
        """Store a file under a name."""
        try:
            self._patiently(self._upload, source, name)
        except FileNotFoundError as error:
            raise self._error(error) from error

    def download(self, name: str, target: Path) -> bool:
        """Copy an object into a file; returns False when there is none."""
        try:
            self._patiently(self._files.get_file, self._path(name), str(target))
        except FileNotFoundError:
            return False
        return True

    def listing(self, prefix: str = "") -> list[StoredObject]:
        """All objects whose names lie below a folder-like prefix."""
        folder = self._path(prefix) if prefix else self._root
        found = self._patiently(self._files.find, folder, detail=True)
        return [
            StoredObject(
                name=path[len(self._root) + 1 :], size=info["size"], modified=_modified(info)
            )
            for path, info in sorted(found.items())
        ]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        if not self._is_local:
            self._files.pipe_file(self._path(name), content)
            return
        with self._aside(name) as aside:
            aside.write_bytes(content)

    def _upload(self, source: Path, name: str) -> None:
        if not self._is_local:
            self._files.put_file(str(source), self._path(name))
            return
        with self._aside(name) as aside:
            self._files.put_file(str(source), str(aside))

    def _create(self, name: str, content: bytes) -> None:
        if not self._is_local:
            self._files.pipe_file(self._path(name), content, mode="create")
            return
        Path(self._path(name)).parent.mkdir(parents=True, exist_ok=True)
        with Path(self._path(name)).open("xb") as stream:
            stream.write(content)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    @contextlib.contextmanager
    def _aside(self, name: str) -> Iterator[Path]:
        """A name to write to that becomes `name` at once: an object of S3 does so by itself."""
        target = Path(self._path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            yield aside
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    def _patiently(
        self,
        call: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """The result of a call, tried again where the reason may pass.

        Raises:
            FileNotFoundError, FileExistsError: As the call, which means something by them.
            ArtifactError: Everything else that went wrong.
        """
        pauses = iter(PAUSES_S)
        while True:
            try:
                return call(*arguments, **named)
            except (FileNotFoundError, FileExistsError):
                raise
            except self._failures as error:
                pause = None if _is_final(error) else next(pauses, None)
                if pause is None:
                    raise self._error(error) from error
                logger.debug("%s: %r; trying again", self.url, error)
            time.sleep(pause)
            stop_if_asked()

    def _error(self, error: BaseException) -> ArtifactError:
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = _advice(error, local=self._is_local)
        return ArtifactError(f"{SETTING}={self.url}: {reason.rstrip('.')}. {advice}")


def _client_errors() -> tuple[type[Exception], ...]:
    """What S3's client raises beside OSError, where it is installed."""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return ()
    return (BotoCoreError,)


def _is_final(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return full or isinstance(error, PermissionError) or _lacks_credentials(error)


def _lacks_credentials(error: BaseException) -> bool:
    return "Credentials" in type(error).__name__ or "ProfileNotFound" in type(error).__name__


def _advice(error: BaseException, *, local: bool) -> str:
    if isinstance(error, FileNotFoundError):
        return "Create the bucket or folder, or correct the name."
    if isinstance(error, PermissionError) or _lacks_credentials(error):
        place = "the folder's owner and mode" if local else AWS_CREDENTIALS
        return f"It must be possible to list, read, write and delete there: check {place}."
    return (
        f"Check the network, the address and AWS_ENDPOINT_URL; without {SETTING} and "
        "MAL_SHARED_STORE everything works on this machine alone."
    )


def _modified(info: dict[str, Any]) -> float:
    found = info.get("LastModified") or info.get("last_modified") or info.get("mtime")
    if isinstance(found, datetime):
        return found.astimezone(UTC).timestamp()
    # Unknown counts as new: nothing is removed by mistake.
    return float(found) if found is not None else time.time()
