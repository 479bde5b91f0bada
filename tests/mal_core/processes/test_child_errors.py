"""An error of a child is the same error in its parent, with the same exit status."""

import json
from pathlib import Path

import pytest

from flows.commands.cli import exit_status
from mal_core.errors import (
    ArtifactError,
    CheckpointError,
    ConfigError,
    DatasetError,
    MalCoreError,
    SegmenterError,
    TrainingError,
)
from mal_core.jobs.phase1 import run_job
from mal_core.jobs.segmenter import run_phase_2
from mal_core.processes.child_errors import forget_failure, read_failure, write_failure

TWO_FILES = DatasetError.together(
    [DatasetError(Path("a.json"), ["annotation 1 is wrong"]), DatasetError(Path("b.json"), ["no"])]
)
ERRORS = {
    "setting": (ConfigError("mal.crop_size=1 is not possible."), ConfigError, 2),
    "file": (DatasetError(Path("a.json"), ["annotation 7 has no bbox"]), DatasetError, 2),
    "two files": (TWO_FILES, DatasetError, 2),
    "weights": (CheckpointError("checkpoint=a is refused."), CheckpointError, 2),
    "divergence": (TrainingError("the loss is nan at step 3."), TrainingError, 1),
    "another": (ArtifactError("a.json is absent."), MalCoreError, 1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    error, kind, status = ERRORS[name]
    write_failure(tmp_path / "job.json", error)
    again = read_failure(tmp_path / "job.json")
    assert type(again) is kind
    assert str(again) == str(error)
    assert exit_status(again) == status
    if isinstance(error, DatasetError) and isinstance(again, DatasetError):
        assert (again.path, again.problems) == (error.path, error.problems)


def test_what_an_earlier_child_left_does_not_count(tmp_path: Path) -> None:
    write_failure(tmp_path / "job.json", ConfigError("old"))
    forget_failure(tmp_path / "job.json")
    assert read_failure(tmp_path / "job.json") is None


def test_wrong_input_that_only_the_child_of_phase_1_sees_is_status_2(tmp_path: Path) -> None:
    job = {
        "images": str(tmp_path),
        "boxes": str(tmp_path / "absent.json"),
        "strict": False,
        "encoder": {"name": "vit_tiny_patch16_224", "weights": None},
        "mal": {"crop_size": 64, "batch_size": 1, "max_steps": 1, "learning_rate": 1e-3},
        "seed": 0,
        "output_dir": str(tmp_path / "out"),
    }
    (tmp_path / "train_job.json").write_text(json.dumps(job))
    with pytest.raises(DatasetError, match=r"absent\.json: 1 problem") as caught:
        run_job("train", tmp_path / "train_job.json")
    assert exit_status(caught.value) == 2
    assert "Traceback" not in (tmp_path / "train.log").read_text()


CHILD = """
import sys
from pathlib import Path
from mal_core.processes.child_errors import write_failure
from mal_core.errors import CheckpointError
print("\\n".join(f"mmengine says {i}" for i in range(40)))
if sys.argv[1].endswith("refused/job.json"):
    write_failure(Path(sys.argv[1]), CheckpointError("weights file w.pth is refused."))
    sys.exit(2)
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("name", "kind", "lines"), [("refused", CheckpointError, 1), ("broken", SegmenterError, 21)]
)
def test_a_refusal_of_phase_2_is_its_sentence_and_a_failure_is_the_end_of_its_log(
    name: str, kind: type[MalCoreError], lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = tmp_path / name / "job.json"
    job.parent.mkdir()
    with pytest.raises(kind) as caught:
        run_phase_2("a_child", job, what="segmenter s", on_line=lambda _: None)
    assert len(str(caught.value).splitlines()) == lines
