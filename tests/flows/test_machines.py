"""`mal` on two machines with one shared store, as users see it. All stages are real."""

from pathlib import Path

import pytest

from flows.store.object_storage import ObjectStorage
from mal_core.processes.files import sha256_file
from tests.flows.conftest import Mal

pytestmark = pytest.mark.slow

RESULTS = ("labels/train.json", "labels/skipped.json")


@pytest.fixture
def two(tmp_path: Path, place: str) -> tuple[Mal, Mal]:
    """Machines with stores and working folders of their own."""
    machines = Mal(tmp_path / "a"), Mal(tmp_path / "b")
    for one in machines:
        one.environment["MAL_SHARED_STORE"] = place
    return machines


def stages_with(word: str, output: str) -> list[str]:
    return [line[9:].partition(":")[0] for line in output.splitlines() if f": {word}" in line]


def test_second_machine_fetches_everything_and_trains_nothing(
    two: tuple[Mal, Mal], tiny: list[str], place: str
) -> None:
    first, second = two
    made = stages_with("running", first.run("label", *tiny))
    assert "train-mal" in made
    told = second.run("cache", "why", *tiny)
    assert "train-mal: stored" in told
    assert "generate-pseudo-labels: stored" in told
    again = second.run("label", *tiny)
    # The check of both splits that `why` made is here already, so it is neither run nor fetched.
    assert stages_with("running", again) == []
    fetched = stages_with(f"fetched from {place}", again)
    assert {"train-mal", "generate-pseudo-labels"} <= set(fetched) <= set(made)
    for name in RESULTS:
        assert sha256_file(first.workdir / name) == sha256_file(second.workdir / name)
    shared = {one.name.partition("/")[0] for one in ObjectStorage(place).listing()}
    assert shared >= {*made, "files"}


def test_unusable_shared_store_is_one_message_before_anything_runs(
    two: tuple[Mal, Mal], tiny: list[str]
) -> None:
    first, _ = two
    first.environment["MAL_SHARED_STORE"] = "s3://nobody-made-this/prefix"
    process = first.start("label", *tiny)
    output = process.communicate()[0]
    assert process.returncode == 1
    (line,) = [line for line in output.splitlines() if line.startswith("mal: ")]
    assert "s3://nobody-made-this/prefix" in line
    assert "running" not in output
    assert "Traceback" not in output
