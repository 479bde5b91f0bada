"""Two machines with one shared store, on a real S3 server: what one makes, the other has."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.settings.composing import compose
from flows.stages.run import Run
from flows.store import contents, object_storage, shared
from flows.store.local import MANIFEST, StageKey, Store, damage
from flows.store.object_storage import ObjectStorage
from flows.store.shared import SharedStore
from mal_core.errors import ArtifactError, ConfigError
from tests.flows.s3_server import S3Server
from tests.flows.stand_ins import Painter

KEY = StageKey(stage="draw", config={"steps": 3}, inputs={"boxes": "ab"}, code="1")
PATIENCE_S = 120


def forbidden(_: Path) -> None:
    pytest.fail("computed")


class Machines:
    """Stores with folders of their own that share a URL, as on several machines."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.processes: list[subprocess.Popen[bytes]] = []

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def store(self, name: str) -> Store:
        return Store(self.root / name, shared=SharedStore(self.url))

    @property
    def storage(self) -> ObjectStorage:
        return ObjectStorage(self.url)


@pytest.fixture(params=["s3", "file"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    """Machines that share a place on S3, and others that share a mounted folder."""
    (tmp_path / "mounted here").mkdir()
    folder = f"file://{tmp_path}/mounted here"
    there = Machines(
        tmp_path, request.getfixturevalue("place") if request.param == "s3" else folder
    )
    yield there
    there.end()


@pytest.fixture
def machines(place: str, tmp_path: Path) -> Iterator[Machines]:
    there = Machines(tmp_path, place)
    yield there
    there.end()


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flows")


def test_what_one_machine_made_the_other_has_with_the_same_bytes(
    anywhere: Machines, caplog: pytest.LogCaptureFixture
) -> None:
    first = anywhere.store("a").get(KEY, Painter())
    second = anywhere.store("b").get(KEY, forbidden)
    assert (first.hit, second.hit) == (False, True)
    assert second.files == first.files
    assert damage(second.path) is None
    for name in (*first.files, MANIFEST):
        assert (second.path / name).read_bytes() == (first.path / name).read_bytes()
    assert f"draw: fetched from {anywhere.url}" in caplog.text
    names = [one.name for one in anywhere.storage.listing()]
    assert len(names) == 4  # three files and a manifest; no lease is left
    assert f"draw/{KEY.digest}/{MANIFEST}" in names
    assert [path.name for path in second.path.parent.iterdir() if path.is_dir()] == [KEY.digest]


def test_what_a_machine_had_before_is_uploaded_too(machines: Machines) -> None:
    Store(machines.root / "a").get(KEY, Painter())
    assert machines.storage.listing() == []
    assert machines.store("a").get(KEY, forbidden).hit
    assert machines.store("b").get(KEY, forbidden).hit


def test_an_attempt_stays_on_its_machine_and_is_gone_when_the_output_was_fetched(
    machines: Machines,
) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        machines.store("a").get(KEY, fail)
    assert machines.storage.listing() == []  # not even the lease
    machines.store("b").get(KEY, Painter())
    fetched = machines.store("a").get(KEY, forbidden)
    assert "half.txt" not in fetched.files
    assert not fetched.path.with_suffix(".partial").exists()


def delete(storage: ObjectStorage, name: str) -> None:
    storage.delete(name)


def alter(storage: ObjectStorage, name: str) -> None:
    content = storage.read(name)
    assert content is not None
    storage.write(name, content.replace(b"ee", b"aa").replace(b"files", b"filez"))


def truncate(storage: ObjectStorage, name: str) -> None:
    storage.write(name, (storage.read(name) or b"")[:3])


@pytest.mark.parametrize("harm", [delete, alter, truncate])
@pytest.mark.parametrize("name", ["inner/picture.txt", MANIFEST])
def test_what_was_damaged_in_the_shared_store_is_noticed_made_again_and_repaired(
    harm: Callable[[ObjectStorage, str], None],
    name: str,
    anywhere: Machines,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digests = anywhere.store("a").get(KEY, Painter()).files
    harmed = f"draw/{KEY.digest}/{MANIFEST}" if name == MANIFEST else f"files/{digests[name]}"
    harm(anywhere.storage, harmed)
    paint = Painter()
    again = anywhere.store("b").get(KEY, paint)
    assert (again.hit, paint.count) == (False, 1)
    absent = (harm, name) == (delete, MANIFEST)
    assert absent or ("is damaged" in caplog.text and name in caplog.text)
    assert anywhere.store("c").get(KEY, forbidden).files == digests


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../outside.txt": "0" * 64}},
        {"files": {"/outside.txt": "0" * 64}},
        {"files": {"inside.txt": "../draw"}},
        {"files": ["inside.txt"]},
        {"key": "of another"},
    ],
)
def test_manifest_that_reaches_outside_its_folder_is_damaged(
    change: dict[str, object], machines: Machines
) -> None:
    machines.store("a").get(KEY, Painter())
    name = f"draw/{KEY.digest}/{MANIFEST}"
    known = json.loads(machines.storage.read(name) or b"")
    machines.storage.write(name, json.dumps({**known, **change}).encode())
    assert not machines.store("b").get(KEY, Painter()).hit
    assert machines.store("c").get(KEY, forbidden).hit


def test_force_computes_anew_and_replaces_what_others_fetch(machines: Machines) -> None:
    def paint_other(folder: Path) -> None:
        (folder / "notes.txt").write_text("blue")

    machines.store("a").get(KEY, Painter())
    assert not machines.store("b").get(KEY, paint_other, force=True).hit
    fetched = machines.store("c").get(KEY, forbidden)
    assert (fetched.path / "notes.txt").read_text() == "blue"
    assert set(fetched.files) == {"notes.txt"}


def test_same_files_of_different_outputs_are_stored_once(machines: Machines) -> None:
    other = StageKey(stage="draw", config={"steps": 4}, inputs={}, code="1")
    store = machines.store("a")
    store.get(KEY, Painter())
    store.get(other, Painter())
    assert len(machines.storage.listing("files")) == 3
    assert len(machines.storage.listing("draw")) == 2


# --- several processes ------------------------------------------------------------------------

SCRIPT = """
import logging, pathlib, sys, time
from flows.store.shared import SharedStore
from flows.store.local import StageKey, Store

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
logging.getLogger("flows").setLevel(logging.INFO)
root, url, renew_s, go = sys.argv[1:]

def work(folder):
    print("working", flush=True)
    while not pathlib.Path(go).exists():
        time.sleep(0.02)
    (folder / "picture.txt").write_text(root)

key = StageKey(stage="draw", config={"steps": 3}, inputs={"boxes": "ab"}, code="1")
store = Store(pathlib.Path(root), shared=SharedStore(url, renew_s=float(renew_s)))
print("hit" if store.get(key, work).hit else "made", flush=True)
"""


class Machine:
    """A process that wants the output of KEY; its work lasts until the file `go` exists."""

    def __init__(self, machines: Machines, name: str, *, renew_s: float = 5) -> None:
        self.go, self.seen = machines.root / "go", ""
        arguments = [str(machines.root / name), machines.url, str(renew_s), str(self.go)]
        command = [sys.executable, "-c", SCRIPT, *arguments]
        self.log = machines.root / f"{name}.log"
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        machines.processes.append(self.process)

    def reaches(self, *texts: str) -> str:
        """Wait for one of some texts in its output; returns which."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            output = self.log.read_text()
            for text in texts:
                if text in output:
                    return text
            assert time.monotonic() < deadline, output
            assert self.process.poll() is None, output
            time.sleep(0.02)

    def end(self) -> str:
        """The last line of a process that must end by itself."""
        assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
        return self.log.read_text().splitlines()[-1]


WAITS = "draw: another machine is at work on it; waiting"


def test_of_several_machines_at_once_one_works_and_the_others_wait_for_its_result(
    anywhere: Machines,
) -> None:
    processes = [Machine(anywhere, name) for name in "abc"]
    states = [one.reaches("working", WAITS) for one in processes]
    assert sorted(states) == [WAITS, WAITS, "working"]
    processes[0].go.touch()
    assert sorted(one.end() for one in processes) == ["hit", "hit", "made"]
    assert all(one.log.read_text().count(WAITS) <= 1 for one in processes)
    pictures = {path.read_text() for path in anywhere.root.glob("[abc]/draw/*/picture.txt")}
    assert len(pictures) == 1


def test_lease_of_a_killed_machine_is_taken_over(machines: Machines) -> None:
    victim = Machine(machines, "a", renew_s=0.5)
    victim.reaches("working")
    victim.process.kill()
    victim.process.wait()
    heir = Machine(machines, "b", renew_s=0.5)
    heir.reaches("gives no sign of life; taking over")
    heir.go.touch()
    assert heir.end() == "made"
    assert [one.name for one in machines.storage.listing("draw")] == [
        f"draw/{KEY.digest}/{MANIFEST}"
    ]


def test_waiting_ends_with_an_interrupt(machines: Machines) -> None:
    worker = Machine(machines, "a")
    worker.reaches("working")
    waiting = Machine(machines, "b")
    waiting.reaches(WAITS)
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.process.wait(PATIENCE_S) == -signal.SIGINT
    worker.go.touch()
    assert worker.end() == "made"


# --- what can go wrong ------------------------------------------------------------------------


def test_result_of_work_that_could_not_be_uploaded_is_kept_and_uploaded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_storage, "PAUSES_S", (0.05,))
    first, second = S3Server(tmp_path), None
    machines = Machines(tmp_path, f"{first.url}/prefix")

    def outlive(folder: Path) -> None:
        Painter()(folder)
        first.stop()

    def connect(server: S3Server) -> None:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.make_bucket()

    try:
        connect(first)
        with pytest.raises(ArtifactError, match="the same command uploads it") as caught:
            machines.store("a").get(KEY, outlive)
        assert machines.url in str(caught.value)
        assert damage(Store(tmp_path / "a").folder(KEY)) is None
        second = S3Server(tmp_path)
        connect(second)
        assert machines.store("a").get(KEY, forbidden).hit
        assert machines.store("b").get(KEY, forbidden).hit
    finally:
        for server in filter(None, (first, second)):
            server.stop()


def test_a_shared_store_is_a_url_without_credentials() -> None:
    with pytest.raises(ConfigError, match="no URL"):
        compose(["shared_store=/mnt/folder"])
    with pytest.raises(ConfigError, match="credentials") as caught:
        compose(["shared_store=s3://key:geheim@bucket/prefix"])
    assert "geheim" not in str(caught.value)


def test_shared_store_is_taken_from_override_then_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAL_SHARED_STORE", raising=False)
    assert compose([]).shared_store is None
    monkeypatch.setenv("MAL_SHARED_STORE", "s3://variable/x")
    assert compose([]).shared_store == "s3://variable/x"
    assert compose(["shared_store=file:///mnt/a, b"]).shared_store == "file:///mnt/a, b"


def test_a_run_works_with_the_shared_store_of_its_settings(place: str, tmp_path: Path) -> None:
    overrides = [f"shared_store={place}", "experiment=demo"]
    first = Run(compose([*overrides, f"store={tmp_path / 'a'}"])).get(KEY, Painter())
    assert not first.hit
    second = Run(compose([*overrides, f"store={tmp_path / 'b'}"])).get(KEY, forbidden)
    assert second.files == first.files
    assert shared.connect(place) is shared.connect(place)


def test_asking_why_counts_what_is_shared_as_stored_and_fetches_nothing(
    machines: Machines,
) -> None:
    made = machines.store("a").get(KEY, Painter())
    beyond = SharedStore(machines.url)
    looking = contents.LookingStore(machines.root / "b", (), beyond=beyond)
    assert looking.get(KEY, forbidden).files == made.files
    assert not looking.folder(KEY).exists()
    other = StageKey(stage="draw", config={}, inputs={}, code="1")
    with pytest.raises(contents.WouldRunError):
        looking.get(other, forbidden)
