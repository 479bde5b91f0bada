"""A tiny drawn dataset, and the `mal` command as a user starts it."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from scenes.write import write_scenes
from tests.flows.prefect_home import NAME, READY, bring_database
from tests.flows.s3_server import S3Server

Overrides = list[str]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn dataset, for reading only."""
    folder = tmp_path_factory.mktemp("drawn") / "scenes"
    write_scenes(folder, num_train=6, num_val=3, size=96, seed=1)
    return folder


@pytest.fixture(scope="session")
def files(drawn: Path) -> Callable[..., Overrides]:
    """Overrides that name the drawn files, or others in their place."""

    def build(*, train: Path | None = None, images: Path | None = None) -> Overrides:
        return [
            f"data.train.images={images or drawn / 'train' / 'images'}",
            f"data.train.annotations={train or drawn / 'train' / 'annotations.json'}",
            f"data.val.images={drawn / 'val' / 'images'}",
            f"data.val.annotations={drawn / 'val' / 'annotations.json'}",
        ]

    return build


@pytest.fixture(scope="session")
def phase_1() -> Overrides:
    """A labeler in a few real steps."""
    return [
        "encoder=random_tiny",
        "encoder.options.depth=1",
        "mal=tiny_scenes",
        "mal.max_steps=6",
        "mal.batch_size=4",
        "mal.head_channels=16",
        "mal.checkpoint_every=2",
        "mal.num_workers=0",
    ]


@pytest.fixture(scope="session")
def tiny(files: Callable[..., Overrides], phase_1: Overrides) -> Overrides:
    """The whole pipeline in a few real steps."""
    return [
        *files(),
        *phase_1,
        "segmenters=[solov2_r18]",
        "segmenter.max_steps=3",
        "segmenter.batch_size=2",
        "segmenter.image_size=96",
        "segmenter_jobs=2",
    ]


class Mal:
    """Starts `mal` in a process of its own, with its own store, Prefect home and folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workdir = root / "work"
        variables = {"MAL_STORE": str(root / "store"), "PREFECT_HOME": str(root / "prefect")}
        self.environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
        self.environment.pop("PREFECT_API_URL", None)

    def bring_database(self) -> None:
        """Spare the temporary server of a command that will start one its first start."""
        if "PREFECT_API_URL" in self.environment:
            return
        home = Path(self.environment["PREFECT_HOME"])
        if home == self.root / "prefect":
            bring_database(home / NAME)
            self.environment |= READY

    def start(self, verb: str, *overrides: str) -> subprocess.Popen[str]:
        """Start a verb; its output is piped, stderr into stdout."""
        if starts_server(verb, overrides):
            self.bring_database()
        command = [
            sys.executable,
            "-m",
            "flows.commands.cli",
            verb,
            *overrides,
            f"workdir={self.workdir}",
        ]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def run(self, verb: str, *overrides: str) -> str:
        """Run a verb that must succeed; returns everything it printed.

        In this process, with its children as always, if no Prefect is needed: each start of `mal`
        costs a CPU second.
        """
        if starts_server(verb, overrides) or "LD_PRELOAD" in self.environment:
            process = self.start(verb, *overrides)
            output = process.communicate()[0]
            status = process.returncode
        else:
            status, output = self.inside(verb, *overrides)
        assert status == 0, output
        return output

    def inside(self, verb: str, *overrides: str) -> tuple[int, str]:
        """Run a verb in this process; its exit status and everything it printed."""
        from flows.commands.cli import main

        printed = io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            own_logs(),
        ):
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            # Each process says once what it has found in the store.
            patch.setattr("flows.store.local._announced", set())
            try:
                status = main([verb, *overrides, f"workdir={self.workdir}"])
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return status, printed.getvalue()

    def end_at(self, line: str, number: signal.Signals, verb: str, *overrides: str) -> int:
        """Start a verb, signal it when it prints `line`; returns the exit status."""
        process = self.start(verb, *overrides)
        assert process.stdout is not None
        seen = []
        for text in process.stdout:
            seen.append(text)
            if line in text:
                break
        else:
            pytest.fail(f"never printed {line!r}:\n{''.join(seen)}")
        process.send_signal(number)
        process.communicate()
        return process.returncode

    def wait_until_alone(self, seconds: float = 20) -> None:
        """Fail when a process of this command survives."""
        deadline = time.monotonic() + seconds
        while survivors := find_processes(str(self.root)):
            assert time.monotonic() < deadline, survivors
            time.sleep(0.1)


def starts_server(verb: str, overrides: Sequence[str]) -> bool:
    """Whether a command runs a flow, and a Prefect server for it if none is named."""
    return verb in ("run", "sweep") or bool(
        {"label_runner=dask", "label_runner=ray"} & {*overrides}
    )


@contextlib.contextmanager
def own_logs() -> Iterator[None]:
    """What a command shows of our logs is shown for as long as it runs."""
    loggers = [logging.getLogger(name) for name in ("flows", "mal_core")]
    before = {one: (one.level, one.propagate, one.handlers) for one in loggers}
    for one in loggers:
        one.handlers = []
    try:
        yield
    finally:
        for one, (level, propagate, handlers) in before.items():
            one.setLevel(level)
            one.propagate, one.handlers = propagate, handlers


def find_processes(text: str) -> list[str]:
    """Running processes that have a text in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            content = command + (folder / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is not ours
            continue
        if text.encode() in content and int(folder.name) != os.getpid():
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.fixture(scope="session")
def processes_with() -> Callable[[str], list[str]]:
    """Finds running processes with a text in their command line or environment."""
    return find_processes


@pytest.fixture(scope="module")
def mal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mal]:
    """The `mal` command, one store per test module."""
    command = Mal(tmp_path_factory.mktemp("mal"))
    yield command
    command.wait_until_alone()


@pytest.fixture
def mal_in_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `mal` in this process, in a folder of the test: exit status, stdout, stderr."""
    from flows.commands.cli import main

    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(arguments), *capsys.readouterr()

    return run


@pytest.fixture
def fresh_mal(tmp_path: Path) -> Iterator[Mal]:
    """The `mal` command with a store of its own."""
    command = Mal(tmp_path)
    yield command
    command.wait_until_alone()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server with a bucket; this process and its children are its clients."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
                patch.delenv(name, raising=False)
            server.make_bucket()
            yield server
    finally:
        server.stop()


@pytest.fixture
def place(s3: S3Server, tmp_path: Path) -> str:
    """An empty place on the S3 server, for one test."""
    return f"{s3.url}/{tmp_path.name}"
