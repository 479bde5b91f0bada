"""Paths as users write them in settings: absolute, or refused before anybody asks for them."""

import os
from pathlib import Path

from mal_core.errors import ConfigError
from mal_core.processes.files import longest_name

STORE_VARIABLE, SHARED_STORE_VARIABLE = "MAL_STORE", "MAL_SHARED_STORE"


def absolute(key: str, text: str) -> str:
    """A place by its setting, as an absolute path; links stay links.

    Raises:
        ConfigError: No file system has such a place.
    """
    if not text.strip():
        message = f"{key}= is empty: name a place, or leave {key} out."
        raise ConfigError(message)
    longest = longest_name(text)
    if longest or "\0" in text:
        what = f"a name of {longest} bytes" if longest else "a NUL character"
        message = (
            f"{key}={text[:40]!r}... has {what}, which no file system takes. Correct the path."
        )
        raise ConfigError(message)
    try:
        # A store must not depend on where a data folder is mounted.
        return os.path.abspath(Path(text).expanduser())  # noqa: PTH100
    except RuntimeError as error:
        message = f"{key}={text}: there is no such user. Write the path without ~."
        raise ConfigError(message) from error


def default_store() -> str:
    """The cache folder when the configuration names none."""
    chosen = os.environ.get(STORE_VARIABLE)
    if chosen:
        return chosen
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(cache) / "mal-pipeline" / "store")


def what_is_there(path: Path) -> str:
    """What a path is that is no file, in words."""
    if path.is_dir():
        return "a folder; a file is wanted"
    if path.exists():
        return "a pipe or a device; a file is wanted"
    if path.is_symlink():
        return f"a link to {str(path.readlink())!r}, which is not there"
    return "no such file"
