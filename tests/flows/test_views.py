"""Files as phase 2 gets them, and how often they are read; trainings are stand-ins."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from flows.stages import inputs, phase1, phase2
from flows.stages.run import Run
from mal_core.data import view
from mal_core.errors import DatasetError
from tests.flows.stand_ins import Pipeline, StandIns


@pytest.fixture
def pipeline(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return Pipeline(tmp_path, drawn, StandIns(monkeypatch))


def test_both_arms_get_masks_as_mmdet_reads_them(pipeline: Pipeline) -> None:
    usual = Run(pipeline.config())
    assert phase2.train_annotations(usual, "human")[0] == pipeline.annotations

    def flatten(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            x, y, w, h = entry["bbox"]
            entry["segmentation"] = [x, y, x + w, y, x + w, y + h, x, y + h]
            del entry["area"], entry["iscrowd"]

    pipeline.edit(flatten)
    run = Run(pipeline.config())
    human, _ = phase2.train_annotations(run, "human")
    assert human.is_relative_to(run.store.root / "normal-masks")
    assert run.view(pipeline.annotations).masks.unusual
    assert run.view(human).masks.unusual == {}
    assert run.view(phase2.train_annotations(run, "pseudo")[0]).masks.unusual == {}


def test_a_file_is_parsed_once_by_all_runs_of_a_process(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.edit(lambda content: content["info"].update(version="new"))
    opened: list[Path] = []
    real = view.read_lists
    monkeypatch.setattr(
        view, "read_lists", lambda path, *rest: opened.append(path) or real(path, *rest)
    )
    for _ in range(3):
        inputs.check(Run(pipeline.config()), need_val=True)
    assert opened.count(pipeline.annotations) == 1


def test_a_packed_second_ruler_and_packed_labels_reach_phase_2_unpacked(pipeline: Pipeline) -> None:
    packed = {}
    for split in ("train", "val"):
        text = (pipeline.data / split / "annotations.json").read_bytes()
        packed[split] = pipeline.root / f"{split}.json.gz"
        packed[split].write_bytes(gzip.compress(b"\xef\xbb\xbf" + text))
    given = [f"pseudo_labels={packed['train']}", f"second_ruler={packed['val']}"]
    run = Run(pipeline.config(*given))
    inputs.check(run, need_val=True)
    ruler = phase2.second_ruler(run)
    assert ruler is not None
    assert ruler.read_bytes() == (pipeline.data / "val" / "annotations.json").read_bytes()
    labels = json.loads((phase1.generate_pseudo_labels(run).path / "train.json").read_text())
    assert all("segmentation" in entry for entry in labels["annotations"])


@pytest.mark.parametrize("key", ["pseudo_labels", "second_ruler"])
def test_what_is_wrong_in_a_packed_file_is_told_with_its_own_name(
    key: str, pipeline: Pipeline
) -> None:
    given = pipeline.root / "given.json.gz"
    given.write_bytes(gzip.compress(b'{"images": [], "annotations": [], "categories": []}'))
    run = Run(pipeline.config(f"{key}={given}"))
    needs = phase1.generate_pseudo_labels if key == "pseudo_labels" else check_both
    with pytest.raises(DatasetError) as caught:
        needs(run)
    assert str(caught.value).startswith(f"{given}: ")
    assert str(run.store.root) not in str(caught.value)


def check_both(run: Run) -> None:
    inputs.check(run, need_val=True)
