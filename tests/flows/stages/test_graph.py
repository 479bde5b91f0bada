"""The graph of stages says what is so: inputs, settings, order; and one command composes once."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.settings import composing
from flows.stages import graph, session
from flows.stages.run import Run
from flows.store import stage_names
from flows.store.local import StageKey
from flows.store.stage_names import (
    BOXES,
    CHECK,
    EVALUATE,
    GUIDE,
    IMAGES,
    LABEL,
    ONE_CLASS,
    PREDICT,
    SEGMENT,
    TRAIN,
)
from mal_core.config.roles import Role
from mal_core.errors import ConfigError
from tests.flows.stand_ins import Pipeline, StandIns

FLOWS = Path(__file__).resolve().parents[3] / "flows"


@pytest.fixture
def pipeline(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    return Pipeline(tmp_path, drawn, StandIns(monkeypatch))


class Recorder(Run):
    """A run that notes which stage asks for the output of which, and in what order they work."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.worked: list[str] = []

    def get(self, key: StageKey, work: Any, *, title: str = "") -> Any:
        def noted(folder: Path) -> None:
            work(folder)
            self.worked.append(key.stage)

        return super().get(key, noted, title=title)


def names(stages: tuple[graph.Stage, ...]) -> list[str]:
    return [one.name for one in stages]


def test_the_order_of_the_graph_is_the_order_of_the_work(pipeline: Pipeline) -> None:
    config = pipeline.config()
    walked = names(graph.walk(config))
    assert walked == [CHECK, BOXES, TRAIN, LABEL, SEGMENT, EVALUATE]
    run = Recorder(config)
    graph.perform(run, EVALUATE)
    assert own(run) == walked


def own(run: Recorder) -> list[str]:
    """Stages that a run worked on, in order, without those per file."""
    return [name for name in dict.fromkeys(run.worked) if not graph.BY_NAME[name].per_file]


def test_what_stages_ask_for_on_their_way_is_in_the_graph(pipeline: Pipeline) -> None:
    run = Recorder(pipeline.config("data.class_agnostic=true"))
    graph.perform(run, EVALUATE)
    order = list(dict.fromkeys(run.worked))
    assert {IMAGES, ONE_CLASS} < set(order) <= set(graph.BY_NAME)
    for name in order:
        before = set(order[: order.index(name)])
        assert set(graph.BY_NAME[name].inputs) & set(order) <= before, name


@pytest.mark.parametrize("last", [TRAIN, LABEL, SEGMENT])
def test_a_stage_computes_what_the_graph_says_it_needs_and_nothing_else(
    last: str, pipeline: Pipeline
) -> None:
    run = Recorder(pipeline.config())
    graph.perform(run, last)
    assert set(own(run)) == set(names(graph.walk(run.config, last)))


def test_a_guide_draws_before_the_training_where_a_labeler_is_named(pipeline: Pipeline) -> None:
    run = Recorder(pipeline.config("mal.guide=box"))
    assert names(graph.walk(run.config, LABEL)) == [CHECK, BOXES, GUIDE, TRAIN, LABEL]
    graph.perform(run, LABEL)
    assert [one for one in run.worked if one not in (IMAGES, CHECK, BOXES)] == [
        LABEL, GUIDE, TRAIN, LABEL,
    ]  # fmt: skip


def test_a_given_labeler_leaves_training_out(pipeline: Pipeline) -> None:
    weights = pipeline.root / "weights.pth"
    weights.write_text("weights")
    config = pipeline.config(f"checkpoint={weights}")
    assert names(graph.walk(config, LABEL)) == [CHECK, BOXES, LABEL]
    assert names(graph.walk(config)) == [CHECK, BOXES, LABEL, SEGMENT, EVALUATE]


def test_inputs_and_files_exist(pipeline: Pipeline) -> None:
    known = set(composing.known_keys())
    for number, stage in enumerate(graph.STAGES):
        earlier = {one.name for one in graph.STAGES[:number]}
        assert set(stage.inputs) <= earlier, stage.name
        assert set(stage.brings) <= set(stage.inputs), stage.name
        assert set(stage.files) <= known, stage.name


def test_a_record_lists_the_settings_that_decide_its_stage() -> None:
    train, label = graph.BY_NAME[TRAIN].settings, graph.BY_NAME[LABEL].settings
    assert {"mal.max_steps", "encoder.name", "mal.crf.zeta", "seed"} <= set(train)
    assert {"mal.mask_threshold", "mal.refinement.grid"} <= set(label)
    assert not set(train) & set(label)
    assert "guide.iterations" in graph.BY_NAME[GUIDE].settings
    assert not [one for one in (*train, *label) if one.startswith("guide.")]
    assert Role.OPERATION not in {stage.decided_by for stage in graph.STAGES}
    assert graph.BY_NAME[PREDICT].required == composing.files_of(
        "data.train", "data.val", "data.test"
    )


def test_names_of_trained_stages_are_literals_in_one_place() -> None:
    names = "|".join(re.escape(one) for one in (TRAIN, LABEL, SEGMENT, EVALUATE))
    literal = re.compile(rf"""["']({names})["']""")
    found = {path.name for path in FLOWS.rglob("*.py") if literal.search(path.read_text())}
    assert found == {Path(str(stage_names.__file__)).name}


def test_a_forced_stage_is_computed_once_however_often_it_is_asked_for(
    pipeline: Pipeline,
) -> None:
    run = Recorder(pipeline.config())
    graph.perform(run, EVALUATE)
    again = Recorder(pipeline.config())
    again.force([TRAIN, LABEL])
    graph.perform(again, EVALUATE)
    assert again.worked == [TRAIN, LABEL]


def test_a_session_composes_once_and_opens_one_run(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    real = composing.compose_raw
    monkeypatch.setattr(composing, "compose_raw", lambda given: asked.append(given) or real(given))
    with session.joined() as outer, session.joined() as inner:
        run = outer.run(pipeline.overrides)
        assert inner.run(list(pipeline.overrides), graph.BY_NAME[EVALUATE].required) is run
        assert inner.config(pipeline.overrides) is run.config
    assert len(asked) == 1
    assert session.current() is None


def test_a_session_refuses_what_a_later_question_needs(pipeline: Pipeline) -> None:
    boxes_alone = [one for one in pipeline.overrides if not one.startswith("data.val")]
    with session.joined() as opened:
        opened.config(boxes_alone, graph.BY_NAME[LABEL].required)
        with pytest.raises(ConfigError, match=r"data\.val\.images, data\.val\.annotations"):
            opened.config(boxes_alone, graph.BY_NAME[EVALUATE].required)
