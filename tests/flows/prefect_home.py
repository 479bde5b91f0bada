"""A Prefect database that is ready: migrated.

To make one costs CPU seconds, and most tests that start a server have a home of their own;
what they prove begins after that. One is made per session, by a server's first start; the others
are copies. The servers of PostgreSQL and of full disks begin with nothing.
"""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from flows.lifetime.prefect_server import SERVER_VARIABLES

NAME = "prefect.db"
READY = {name: SERVER_VARIABLES[name] for name in SERVER_VARIABLES if "BLOCK" in name}
"""Variables of a server on a copy: like a run's own it registers no blocks, which nothing uses."""
FIRST_START = "from flows.lifetime.prefect_server import server\nwith server(): pass"


def bring_database(target: Path) -> None:
    """Put a ready database where a server will look for it; what is there already stays."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_template(), target)


def _template() -> Path:
    """The database that all processes of this session copy; made by the first that asks."""
    folder = Path(os.environ["MAL_TESTS_SHARED"])
    template = folder / NAME
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            _make(folder / "home", template)
    return template


def _make(home: Path, template: Path) -> None:
    variables = {**os.environ, "PREFECT_HOME": str(home)}
    variables.pop("PREFECT_API_URL", None)
    subprocess.run([sys.executable, "-c", FIRST_START], env=variables, check=True)
    unfinished = template.with_suffix(".partial")
    # A server that ended leaves most of it in its log of writes.
    with (
        closing(sqlite3.connect(home / NAME)) as made,
        closing(sqlite3.connect(unfinished)) as copy,
    ):
        made.backup(copy)
    unfinished.replace(template)
