"""Masks that are to be weighed by their scores need some."""

import json
import logging
from pathlib import Path

import pytest

from flows.stages import graph
from flows.stages.given_labels import unscored_note
from flows.stages.run import Run
from flows.store.stage_names import LABEL
from mal_core.errors import ConfigError
from tests.flows.stand_ins import Pipeline, StandIns


@pytest.fixture
def pipeline(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return Pipeline(tmp_path, drawn, StandIns(monkeypatch))


def labels(folder: Path, drawn: Path, *, missing: int | None, human: int = 0) -> tuple[Path, int]:
    """Labels of which the first ones have no score, None: all; and how many masks they are."""
    content = json.loads((drawn / "train" / "annotations.json").read_text())
    masks = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    for place, entry in enumerate(masks):
        if missing is not None and place >= missing + human:
            entry["score"] = 0.5
        elif missing is not None and place >= missing:
            entry["source"] = "human"
    file = folder / "given.json"
    file.write_text(json.dumps(content))
    return file, len(masks)


@pytest.mark.parametrize("how", ["score", "threshold"])
def test_labels_without_any_score_cannot_be_weighed(
    how: str, pipeline: Pipeline, drawn: Path, tmp_path: Path
) -> None:
    given, count = labels(tmp_path, drawn, missing=None)
    chosen = [f"pseudo_labels={given}", f"segmenter.label_weights={how}"]
    with pytest.raises(ConfigError) as caught:
        graph.perform(Run(pipeline.config(*chosen)), LABEL)
    assert str(caught.value) == (
        f"segmenter.label_weights={how}: none of the {count} masks of {given} has a score; "
        "`mal score` writes them. Or train without weights."
    )


def test_masks_without_a_score_are_counted(
    pipeline: Pipeline, drawn: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given, count = labels(tmp_path, drawn, missing=2, human=1)
    run = Run(pipeline.config(f"pseudo_labels={given}", "segmenter.label_weights=score"))
    with caplog.at_level(logging.INFO):
        graph.perform(run, LABEL)
    told = [each for each in caplog.messages if "label_weights" in each]
    assert told == [
        f"note: segmenter.label_weights=score: of {count - 1} masks of given.json, 2 without a "
        "score count in full (weight 1); `mal score` writes them"
    ]


def test_scored_labels_and_unweighed_ones_need_no_note(
    pipeline: Pipeline, drawn: Path, tmp_path: Path
) -> None:
    given, _ = labels(tmp_path, drawn, missing=0)
    weighed = f"pseudo_labels={given}", "segmenter.label_weights=score"
    assert unscored_note(Run(pipeline.config(*weighed))) is None
    given, _ = labels(tmp_path, drawn, missing=None)
    assert unscored_note(Run(pipeline.config(f"pseudo_labels={given}"))) is None
