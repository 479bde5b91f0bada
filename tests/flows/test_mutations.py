"""Every change reruns exactly the stages whose output it may change, down to the report.

The trainings are stand-ins with outputs that follow their inputs; store, keys, labels'
publication, scores and report are the real ones.
"""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flows.stages import graph
from flows.stages.run import Run
from flows.store import code_version
from flows.store import sources as source_files
from tests.flows.stand_ins import Pipeline, StandIns, forget_sources

pytestmark = pytest.mark.slow

IMAGES, CHECK, BOXES = "images", "check", "boxes"
TRAIN, LABEL = "train-mal", "generate-pseudo-labels"
HUMAN, PSEUDO, EVALUATE = "human masks", "pseudo-labels", "evaluate-retention"
AFTER_LABELS = {PSEUDO, EVALUATE}
PHASE_2 = {HUMAN, PSEUDO, EVALUATE}
EVERYTHING = {IMAGES, CHECK, BOXES, TRAIN, LABEL, *PHASE_2}
NOTHING: set[str] = set()
PACKAGES = ("mal_core", "phase2_configs", "scenes")
FIXED = ("segmenter.learning_rate=0.01", "mal.learning_rate=1e-3")


class Matrix(Pipeline):
    """A finished pipeline, and which stages run after a change."""

    weights: Path
    fixed: tuple[str, ...] = FIXED
    composed: ClassVar[dict[tuple[str, ...], Any]] = {}
    """By overrides: composing takes as long as a run that finds everything in its store."""

    def computed(self, *overrides: str) -> set[str]:
        return set(self.runs(*overrides))

    def runs(self, *overrides: str) -> list[str]:
        """Stages that ran; one with an output per split may occur twice."""
        lines = Lines()
        logger = logging.getLogger("flows.store.local")
        logger.addHandler(lines)
        logger.setLevel(logging.INFO)
        try:
            graph.perform(Run(self.settings(*overrides)), EVALUATE)
        finally:
            logger.removeHandler(lines)
        return [name(line.removesuffix(": running")) for line in lines.seen if ": running" in line]

    def settings(self, *overrides: str) -> Any:
        wanted = (f"encoder.weights={self.weights}", *self.fixed, *overrides)
        key = (*self.overrides, *wanted, str(Path.cwd()))
        if key not in self.composed:
            self.composed[key] = self.config(*wanted)
        return self.composed[key]


class Lines(logging.Handler):
    """Keeps what a logger says."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


def name(title: str) -> str:
    """A stage; the arms of phase 2 by the masks they train on."""
    return title.rpartition(" on ")[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """Data and store of a pipeline that has run to its end."""
    root = tmp_path_factory.mktemp("mutated") / "pipeline"
    with pytest.MonkeyPatch.context() as patch:
        matrix = Matrix(root, drawn, StandIns(patch))
        matrix.weights = root / "weights.pth"
        matrix.weights.write_text("weights")
        assert matrix.computed() == EVERYTHING
        assert matrix.computed() == NOTHING
    return root.rename(root.with_name("finished"))


@pytest.fixture
def matrix(finished: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """A copy of the finished pipeline, always in the same folder."""
    root = finished.with_name("pipeline")
    shutil.rmtree(root, ignore_errors=True)
    found = Matrix(root, drawn, StandIns(monkeypatch))
    shutil.rmtree(root)
    shutil.copytree(finished, root)
    found.weights = root / "weights.pth"
    return found


def append_byte(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\0")


def first(folder: Path) -> Path:
    return min(folder.iterdir())


def move_box(matrix: Matrix) -> None:
    def shrink(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"][2] -= 1

    matrix.edit(shrink)


def touch(matrix: Matrix) -> None:
    for path in matrix.data.rglob("*.*"):
        os.utime(path)


def move_data(matrix: Matrix) -> None:
    matrix.data = matrix.data.rename(matrix.root / "moved")


def move_weights(matrix: Matrix) -> None:
    matrix.weights = matrix.weights.rename(matrix.data / matrix.weights.name)


def reorder_keys(matrix: Matrix) -> None:
    matrix.fixed = FIXED[::-1]


def move_store(matrix: Matrix) -> None:
    store = matrix.root / "store"
    store.rename(matrix.root / "other")
    store.symlink_to(matrix.root / "other")


@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        (lambda one: append_byte(first(one.data / "train" / "images")), EVERYTHING - {BOXES}),
        (lambda one: append_byte(first(one.data / "val" / "images")), {IMAGES, CHECK, *PHASE_2}),
        (move_box, EVERYTHING - {IMAGES}),  # sizes and pixels are the same
        (lambda one: append_byte(one.weights), {TRAIN, LABEL, *AFTER_LABELS}),
        (touch, NOTHING),
        (move_data, NOTHING),
        (move_weights, NOTHING),
        (reorder_keys, NOTHING),
        (move_store, NOTHING),
    ],
)
def test_changed_input(change: Callable[[Matrix], None], reruns: set[str], matrix: Matrix) -> None:
    change(matrix)
    assert matrix.computed() == reruns
    assert matrix.computed() == NOTHING


@pytest.mark.parametrize(
    ("override", "reruns"),
    [
        ("data.decode_images=false", {CHECK, EVALUATE}),  # the report lists settings
        ("mal.learning_rate=2e-3", {TRAIN, LABEL, *AFTER_LABELS}),
        ("mal.mask_threshold=0.4", {LABEL, *AFTER_LABELS}),
        ("segmenter.learning_rate=0.02", PHASE_2),
        ("seconds_per_mask=10", {EVALUATE}),
        ("seed=1", EVERYTHING - {IMAGES, CHECK, BOXES}),
        ("workdir=elsewhere", NOTHING),
        ("mal.num_workers=3", NOTHING),
        ("segmenter.num_workers=2", NOTHING),
        ("segmenter_jobs=2", NOTHING),
        ("serve_port=4281", NOTHING),
    ],
)
def test_changed_setting(
    override: str,
    reruns: set[str],
    matrix: Matrix,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert matrix.computed(override) == reruns
    assert matrix.computed(override) == NOTHING
    assert matrix.computed() == NOTHING


@pytest.fixture
def sources(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our sources that counts as the code of the stages."""
    root = tmp_path / "sources"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(code_version.ROOT / package, root / package, ignore=ignored)
    monkeypatch.setattr(code_version, "ROOT", root)
    # As where Python may write: what is unchanged is not parsed again.
    monkeypatch.setattr(source_files, "KEPT", finished.with_name("kept.json"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    forget_sources()
    yield root
    forget_sources()


@pytest.mark.parametrize(
    ("helper", "reruns"),
    [
        ("mal_core/data/inspection/check.py", {CHECK}),
        ("mal_core/training/losses.py", {TRAIN}),
        ("mal_core/jobs/duties.py", {TRAIN, LABEL}),
        ("mal_core/labeling/views.py", {TRAIN, LABEL}),
        ("phase2_configs/runner/monitor.py", {HUMAN, PSEUDO}),
        ("mal_core/report/tables.py", {EVALUATE}),
        ("mal_core/processes/files.py", EVERYTHING),
        ("scenes/write.py", NOTHING),
    ],
)
def test_changed_code_of_a_helper(
    helper: str, reruns: set[str], matrix: Matrix, sources: Path
) -> None:
    path = sources / helper
    path.write_text(f"# a comment\n{path.read_text()}")
    forget_sources()
    assert matrix.computed() == NOTHING
    path.write_text(f"{path.read_text()}\nCHANGED = True\n")
    forget_sources()
    # The stand-ins' outputs do not follow the code, so nothing after them has changed.
    assert matrix.computed() == reruns
    assert matrix.computed() == NOTHING


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def outputs(matrix: Matrix) -> list[Path]:
    """Folders of the store with a stage's output each."""
    return sorted(path for path in (matrix.root / "store").glob("*/*") if path.is_dir())


def files_of(folder: Path) -> list[Path]:
    """Made anew in each round: the store never repairs a file in place."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def stage_of(name: str) -> str:
    return "train-segmenter" if name in (HUMAN, PSEUDO) else name


@pytest.mark.parametrize("damage", [Path.unlink, cut, alter])
def test_damaged_output_is_made_again_and_nothing_else(
    damage: Callable[[Path], None], matrix: Matrix
) -> None:
    damaged: set[str] = set()
    for folder in outputs(matrix):
        victim = max(files_of(folder), key=lambda path: path.stat().st_size)
        damage(victim)
        rerun = matrix.runs()
        assert [stage_of(one) for one in rerun] == [folder.parent.name], victim
        damaged.update(rerun)
    assert damaged == EVERYTHING
    assert matrix.computed() == NOTHING


def test_each_file_of_an_output_is_missed(matrix: Matrix) -> None:
    folders = outputs(matrix)
    for index in range(max(len(files_of(folder)) for folder in folders)):
        longer = [folder for folder in folders if len(files_of(folder)) > index]
        for folder in longer:
            files_of(folder)[index].unlink()
        rerun = matrix.runs()
        assert sorted(map(stage_of, rerun)) == sorted(folder.parent.name for folder in longer)
    assert matrix.computed() == NOTHING
