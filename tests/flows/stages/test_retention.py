"""What the report of a run says of its labeler; trainings are stand-ins here."""

from pathlib import Path

import pytest

from flows.stages import graph
from flows.stages.run import Run
from flows.store import stage_names
from flows.store.stage_names import EVALUATE
from tests.flows.stand_ins import LABEL, PHASE_2, TRAIN, Pipeline, StandIns


@pytest.mark.parametrize(
    ("given", "phase_1", "encoder", "asked"),
    [
        (["labeler=grabcut"], "none: masks of grabcut", "none", {LABEL}),
        (
            ["labeler=ensemble", "labeler.members=[grabcut,ellipse]"],
            "none: masks of ensemble (grabcut, ellipse)",
            "none",
            {LABEL},
        ),
        (
            ["checkpoint={checkpoint}"],
            "none: masks of mal, of the given checkpoint",
            "that of the given checkpoint",
            {LABEL},
        ),
        (
            ["labeler=ensemble", "labeler.members=[mal,ellipse]", "mal.batch_size=4"],
            "7 steps of 4 crops of 192 px; masks of ensemble (mal, ellipse)",
            "vit_tiny_patch16_224, weights: random",
            {TRAIN, LABEL},
        ),
    ],
)
def test_a_report_says_who_drew_and_shows_a_training_only_where_there_was_one(
    given: list[str],
    phase_1: str,
    encoder: str,
    asked: set[str],
    tmp_path: Path,
    drawn: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = Pipeline(tmp_path, drawn, StandIns(monkeypatch))
    checkpoint = pipeline.root / "other.pth"
    checkpoint.write_text("other")
    settings = [text.format(checkpoint=checkpoint) for text in given]
    tiny = ["encoder.name=vit_tiny_patch16_224", "encoder.pretrained=false"]
    tiny += ["mal.max_steps=7", "mal.crop_size=192"]
    (report,) = graph.perform(Run(pipeline.config(*settings, *tiny)), EVALUATE)
    assert set(pipeline.stand_ins.asked) == asked | PHASE_2
    assert (report.context["phase 1"], report.context["encoder"]) == (phase_1, encoder)
    trained = stage_names.TRAIN in {one.stage for one in report.cost.stages}
    assert trained == (TRAIN in asked)
