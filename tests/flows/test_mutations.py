"""Every change reruns exactly the stages whose output it may change, down to the report.

The trainings are stand-ins with outputs that follow their inputs; store, keys, labels'
publication, scores and report are the real ones.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.stages import graph
from flows.stages.run import Run
from flows.store import code_version
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

    def computed(self, *overrides: str) -> set[str]:
        lines = Lines()
        logger = logging.getLogger("flows.store.local")
        logger.addHandler(lines)
        logger.setLevel(logging.INFO)
        try:
            config = self.config(f"encoder.weights={self.weights}", *self.fixed, *overrides)
            graph.perform(Run(config), EVALUATE)
        finally:
            logger.removeHandler(lines)
        return {name(line.removesuffix(": running")) for line in lines.seen if ": running" in line}


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
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        matrix = Matrix(root, drawn, StandIns(patch))
        matrix.weights = root / "weights.pth"
        matrix.weights.write_text("weights")
        assert matrix.computed() == EVERYTHING
        assert matrix.computed() == NOTHING
    return root


@pytest.fixture
def matrix(tmp_path: Path, finished: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """A copy of the finished pipeline, in other folders."""
    root = tmp_path / "copy"
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
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our sources that counts as the code of the stages."""
    root = tmp_path / "sources"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(code_version.ROOT / package, root / package, ignore=ignored)
    monkeypatch.setattr(code_version, "ROOT", root)
    forget_sources()
    yield root
    forget_sources()


@pytest.mark.parametrize(
    ("helper", "reruns"),
    [
        ("mal_core/data/inspection/check.py", {CHECK}),
        ("mal_core/training/losses.py", {TRAIN}),
        ("mal_core/jobs/worker.py", {TRAIN, LABEL}),
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


@pytest.mark.parametrize("damage", [Path.unlink, cut, alter])
def test_damaged_output_is_made_again_and_nothing_else(
    damage: Callable[[Path], None], matrix: Matrix
) -> None:
    damaged: set[str] = set()
    for folder in sorted(path for path in (matrix.root / "store").glob("*/*") if path.is_dir()):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        # Each file must be missed; what tells a wrong one is the same for all of a folder.
        every = damage is Path.unlink
        largest = max(range(len(files)), key=lambda index: files[index].stat().st_size)
        for index in range(len(files)) if every else [largest]:
            # Made anew in each round: the store never repairs a file in place.
            victim = sorted(path for path in folder.rglob("*") if path.is_file())[index]
            damage(victim)
            rerun = matrix.computed()
            assert len(rerun) == 1, f"{victim}: {rerun}"
            damaged |= rerun
            expected = folder.parent.name
            assert rerun <= ({HUMAN, PSEUDO} if expected == "train-segmenter" else {expected})
    assert damaged == EVERYTHING
    assert matrix.computed() == NOTHING
