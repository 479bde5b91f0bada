"""A PostgreSQL cluster of its own in a temporary folder, for tests that need a real one."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mal_core.processes.nodes import free_port


def find_binaries() -> Path | None:
    """The folder of `initdb`; Debian keeps it out of PATH, one folder per major version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


def unprivileged_user() -> str | None:
    """Whom to run as: PostgreSQL refuses root. None is whoever we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Postgres:
    """One cluster on a loopback port, which can be stopped and started again."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self.binaries = binaries
        self.port = free_port()
        self.url = f"postgresql+asyncpg://prefect:secret@127.0.0.1:{self.port}/postgres"

    def call(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; its server keeps none of our pipes."""
        with (self.folder / "calls.log").open("ab") as log:
            subprocess.run(
                [str(self.binaries / program), "--pgdata", str(self.folder / "data"), *arguments],
                cwd=self.folder,
                user=unprivileged_user(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=120,
                check=True,
            )

    def create(self) -> None:
        password = self.folder / "password"
        password.write_text("secret\n")
        if user := unprivileged_user():
            for path in (self.folder, password):
                shutil.chown(path, user)
        login = ("--username=prefect", f"--pwfile={password}", "--auth=scram-sha-256")
        self.call("initdb", *login, "--encoding=UTF8", "--no-locale", "--no-sync")

    def start(self) -> None:
        # No fsync: the machine does not crash during a test, and a busy disk would slow it.
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.folder / "postgres.log")
        self.call("pg_ctl", "start", "--wait", "--log", log, "--options", options)

    def stop(self, mode: str = "fast") -> None:
        """End the server; in mode `immediate` as a power cut would."""
        self.call("pg_ctl", "stop", "--wait", "--mode", mode)

    def query(self, statement: str) -> list[Any]:
        """Rows of one statement, read from the database itself."""

        async def fetch() -> list[Any]:
            connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return asyncio.run(fetch())


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A running cluster, removed at the end; skips the test where PostgreSQL is absent."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here (Debian: apt-get install postgresql)")
    # Not pytest's own folder: another user must reach it, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="mal-postgres-"))
    postgres = Postgres(folder, binaries)
    try:
        postgres.create()
        postgres.start()
        yield postgres
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            postgres.stop("immediate")
        shutil.rmtree(folder)
