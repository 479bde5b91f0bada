"""Drawn scenes with human masks in both splits, and detections made of human masks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.datasets import Data, drawn_data
from mal_core.evaluation.compared_arms import RunMatches, match_run
from scenes.write import write_scenes

Found = Callable[[Path, Path, float], RunMatches]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, num_train=6, num_val=3, size=96, seed=0)
    return drawn_data(folder)


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Matches of a share of a file's own masks, taken as detections, with human masks."""

    def match(truth: Path, annotations: Path, share: float) -> RunMatches:
        objects = [
            ann for ann in json.loads(annotations.read_text())["annotations"] if not ann["iscrowd"]
        ]
        kept = objects[: round(share * len(objects))]
        path = tmp_path / f"found-{annotations.stem}-{share}.json"
        path.write_text(json.dumps([{**ann, "score": 0.9} for ann in kept]))
        return match_run(truth, path)

    return match
