"""Which change reruns which stage; trainings are stand-ins here, test_run.py has the real ones."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flows.commands import cache_verbs
from flows.stages import graph, inputs, phase1, phase2, results
from flows.stages.run import Run
from flows.store import contents, stage_names
from flows.store.stage_names import EVALUATE
from mal_core.errors import ConfigError
from mal_core.review.corrections import import_corrections
from phase2_configs.runner.label_weights import MODULES
from tests.flows.stand_ins import (
    EVERYTHING,
    HUMAN,
    LABEL,
    NOTHING,
    PHASE_2,
    PSEUDO,
    TRAIN,
    Pipeline,
    StandIns,
)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    return StandIns(monkeypatch)


@pytest.fixture
def pipeline(tmp_path: Path, drawn: Path, stand_ins: StandIns) -> Pipeline:
    found = Pipeline(tmp_path, drawn, stand_ins)
    assert found.run() == EVERYTHING
    return found


@pytest.mark.parametrize(
    ("override", "reruns"),
    [
        ("workdir=elsewhere", NOTHING),
        ("data.name=elsewhere", NOTHING),
        ("mal.num_workers=3", NOTHING),
        ("mal.checkpoint_every=7", NOTHING),
        ("segmenter.num_workers=2", NOTHING),
        ("segmenter_jobs=2", NOTHING),
        ("time_limit_minutes=5", NOTHING),
        ("node_wait_minutes=5", NOTHING),
        ("mal.max_steps=7", {TRAIN, LABEL, PSEUDO}),
        ("mal.crf.zeta=0.2", {TRAIN, LABEL, PSEUDO}),
        ("encoder.name=vit_tiny_patch16_224", {TRAIN}),
        ("mal.mask_threshold=0.4", {LABEL, PSEUDO}),
        ("seed=1", EVERYTHING),
        ("segmenter.max_steps=5", PHASE_2),
        ("segmenters=[mask2former_swin_cpu]", PHASE_2),
    ],
)
def test_setting_reruns_exactly_the_stages_it_decides(
    override: str,
    reruns: set[str],
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pipeline.run(override) == reruns
    assert pipeline.run(override) == NOTHING


def test_data_are_called_after_their_file_and_content_unless_they_have_a_name(
    pipeline: Pipeline,
) -> None:
    def called(*overrides: str) -> list[str]:
        run = Run(pipeline.config(*overrides))
        return [results.data_name(run, scored=scored) for scored in (True, False)]

    before = called()
    scored, labeled = before
    assert scored.startswith("annotations-")
    assert labeled.startswith("annotations-")
    assert scored != labeled
    (pipeline.data / "val").rename(pipeline.data / "moved")
    moved = pipeline.data / "moved"
    assert called(f"data.val.annotations={moved / 'annotations.json'}") == before
    (moved / "annotations.json").rename(pipeline.data / "again.json")
    renamed, _ = called(f"data.val.annotations={pipeline.data / 'again.json'}")
    assert renamed == scored.replace("annotations", "again")
    pipeline.edit(lambda content: content["annotations"].pop())
    places = [f"data.val.annotations={pipeline.data / 'again.json'}"]
    assert called(*places)[1] != labeled
    assert called(*places, "data.name=My photos") == ["My photos", "My photos"]


def test_processes_decide_the_output_and_machines_do_not(pipeline: Pipeline) -> None:
    nodes = ("num_nodes=2", "rendezvous=alpha:29500", "segmenter_jobs=1")
    assert pipeline.run(*nodes) == {TRAIN, LABEL, *PHASE_2}
    assert pipeline.run("mal.num_processes=2", "segmenter.num_processes=2") == NOTHING
    assert pipeline.run(*nodes, "node_wait_minutes=1", "rendezvous=beta:1") == NOTHING


def test_touched_and_moved_data_rerun_nothing(pipeline: Pipeline) -> None:
    for path in pipeline.data.rglob("*.*"):
        os.utime(path)
    assert pipeline.run() == NOTHING
    pipeline.data = pipeline.data.rename(pipeline.root / "moved")
    assert pipeline.run() == NOTHING


def append_byte(images: Path) -> None:
    """Change the first image's content, and nothing that is seen."""
    with min(images.iterdir()).open("ab") as stream:
        stream.write(b"\0")


def test_one_byte_of_a_training_image_reruns_everything(pipeline: Pipeline) -> None:
    append_byte(pipeline.data / "train" / "images")
    assert pipeline.run() == EVERYTHING


def test_one_byte_of_a_validation_image_reruns_phase_2(pipeline: Pipeline) -> None:
    append_byte(pipeline.data / "val" / "images")
    assert pipeline.run() == PHASE_2


def test_one_box_reruns_everything(pipeline: Pipeline) -> None:
    def shrink(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"][2] -= 1

    pipeline.edit(shrink)
    assert pipeline.run() == EVERYTHING


def test_changed_mask_never_reruns_phase_1_training(pipeline: Pipeline) -> None:
    def swap(content: dict[str, Any]) -> None:
        content["annotations"][0]["segmentation"] = content["annotations"][1]["segmentation"]

    pipeline.edit(swap)
    assert pipeline.run() == {LABEL, HUMAN}


def test_force_reruns_the_stage_and_what_changes_after_it(pipeline: Pipeline) -> None:
    assert pipeline.run(force=(stage_names.TRAIN,)) == {TRAIN}


def test_file_without_masks_has_no_human_arm(pipeline: Pipeline) -> None:
    def strip(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            del entry["segmentation"]

    pipeline.edit(strip)
    assert HUMAN not in pipeline.run()
    (report,) = graph.perform(Run(pipeline.config()), EVALUATE)
    (result,) = report.segmenters
    assert result.human is None
    assert set(result.retention().values()) == {None}
    assert report.quality is None


def test_each_arm_is_trained_with_each_seed_and_one_more_seed_trains_only_itself(
    pipeline: Pipeline,
) -> None:
    assert pipeline.run("segmenter_seeds=[0]") == set()
    assert pipeline.run("segmenter_seeds=[0,7]") == {HUMAN, PSEUDO}
    (report,) = graph.perform(Run(pipeline.config("segmenter_seeds=[0,7]")), EVALUATE)
    (result,) = report.segmenters
    assert result.seeds == (0, 7)
    assert [len(runs) for runs in result.runs.values()] == [2, 2]
    folder = pipeline.config().workdir / "segmenters" / "solov2_r18" / "pseudo"
    assert (folder / "predictions.json").is_file()
    assert (folder / "seed_7" / "predictions.json").is_file()


def test_labels_from_elsewhere_replace_phase_1(pipeline: Pipeline) -> None:
    train = inputs.inputs(Run(pipeline.config())).train.annotations
    given = pipeline.root / "given.json"
    given.write_text(train.read_text())
    pipeline.stand_ins.asked.clear()
    run = Run(pipeline.config(f"pseudo_labels={given}"))
    (report,) = graph.perform(run, EVALUATE)
    assert not {TRAIN, LABEL} & set(pipeline.stand_ins.asked)
    assert PSEUDO in pipeline.stand_ins.asked
    assert report.quality is not None
    assert report.quality.mask_iou.all == pytest.approx(1.0)
    assert report.context["phase 1"] == "none: labels from given.json"


def test_the_content_of_a_guide_decides_the_labeler_and_its_place_does_not(
    pipeline: Pipeline,
) -> None:
    train = inputs.inputs(Run(pipeline.config())).train.annotations
    one, same, other = (pipeline.root / name for name in ("one.json", "same.json", "other.json"))
    for path in (one, same, other):
        path.write_text(train.read_text())
    other.write_text(other.read_text() + " ")
    assert pipeline.run(f"mal.guide={one}") == {TRAIN, LABEL, PSEUDO}
    assert pipeline.run(f"mal.guide={same}") == NOTHING
    assert pipeline.run(f"mal.guide={other}") >= {TRAIN, LABEL}
    run = Run(pipeline.config(f"mal.guide={one}"))
    (report,) = graph.perform(run, EVALUATE)
    assert report.context["phase 1"].endswith("px, guided by the masks of one.json")


def test_a_labeler_that_guides_draws_first_and_its_masks_decide(pipeline: Pipeline) -> None:
    def asked(*overrides: str, force: tuple[str, ...] = ()) -> list[str]:
        pipeline.run("mal.guide=grabcut", *overrides, force=force)
        return [one for one in pipeline.stand_ins.asked if one not in PHASE_2]

    assert asked() == [LABEL, TRAIN, LABEL]
    assert pipeline.stand_ins.encoders == [pipeline.config().encoder.name]
    assert asked() == []
    assert asked(force=(stage_names.GUIDE,)) == [LABEL]
    pipeline.stand_ins.encoders.clear()
    assert asked("mal.max_steps=7") == [TRAIN, LABEL]
    assert pipeline.stand_ins.encoders == [], "the guide has drawn already"
    assert asked("guide.iterations=4") == [LABEL, TRAIN, LABEL]
    drawn = phase1.draw_guide(Run(pipeline.config("mal.guide=grabcut"))).path / "guide.json"
    assert pipeline.run(f"mal.guide={drawn}") == NOTHING


def test_a_guide_is_what_labeling_by_it_has_stored(pipeline: Pipeline) -> None:
    alone = Run(pipeline.config("labeler=box"))
    pipeline.stand_ins.asked.clear()
    graph.perform(alone, stage_names.LABEL)
    run = Run(pipeline.config("mal.guide=box"))
    graph.perform(run, stage_names.LABEL)
    assert pipeline.stand_ins.asked == [LABEL, TRAIN, LABEL]
    shown = run.config.workdir / "guide" / "train.json"
    labels = phase1.generate_pseudo_labels(alone)
    assert shown.read_bytes() == (labels.path / "train.json").read_bytes()


def test_a_mask_that_people_drew_changes_no_guide(pipeline: Pipeline) -> None:
    def crowd(dent: float) -> None:
        def change(content: dict[str, Any]) -> None:
            entry = content["annotations"][0]
            x, y, w, h = entry["bbox"]
            corners = [x + dent, y + dent, x + w, y, x + w, y + h, x, y + h]
            entry.update(iscrowd=1, segmentation=[corners])

        pipeline.edit(change)

    crowd(1.0)
    pipeline.run("mal.guide=box")
    drawn = phase1.draw_guide(Run(pipeline.config("mal.guide=box"))).path / "guide.json"
    masked = ["segmentation" in one for one in json.loads(drawn.read_text())["annotations"]]
    assert masked == [False, *[True] * (len(masked) - 1)]
    crowd(3.0)
    assert TRAIN not in pipeline.run("mal.guide=box")


def test_a_report_names_the_guide_its_time_and_what_it_read(pipeline: Pipeline) -> None:
    members = "guide.members=[ellipse,{name: grabcut, iterations: 4}]"
    run = Run(pipeline.config("mal.guide=ensemble", members))
    (report,) = graph.perform(run, EVALUATE)
    said = report.context["phase 1"]
    assert said.endswith("px, guided by the masks of ensemble (ellipse, grabcut)")
    assert [one.stage for one in report.cost.stages[:3]] == [
        stage_names.GUIDE,
        stage_names.TRAIN,
        stage_names.LABEL,
    ]


def test_the_code_that_weighs_labels_decides_trainings_with_weights_alone(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(phase2.WEIGHING) == sorted(MODULES)
    weighed = "segmenter.label_weights=threshold"
    pipeline.run()
    assert pipeline.run(weighed) == {PSEUDO}
    monkeypatch.setattr(phase2, "WEIGHING", phase2.WEIGHING[:1])
    assert pipeline.run() == NOTHING
    assert pipeline.run(weighed) == {PSEUDO}


def test_a_guide_of_a_training_that_does_not_happen_is_refused(pipeline: Pipeline) -> None:
    guide = pipeline.root / "guide.json"
    guide.write_text("{}")
    given = f"mal.guide={guide}"
    with pytest.raises(ConfigError, match=r"mal\.guide=.*labeler=box has none"):
        pipeline.config(given, "labeler=box")
    with pytest.raises(ConfigError, match=r"mal\.guide=.*pseudo_labels=FILE replaces that"):
        pipeline.config(given, f"pseudo_labels={guide}")


def test_corrected_labels_train_the_pseudo_arm_again_and_nothing_else(pipeline: Pipeline) -> None:
    train = inputs.inputs(Run(pipeline.config())).train.annotations
    assert pipeline.run(f"pseudo_labels={train}") >= {PSEUDO}
    key = json.loads(train.read_text())["annotations"][0]["id"]
    decisions, corrected = pipeline.root / "decisions.json", pipeline.root / "corrected.json"
    choices = [{"annotation_id": key, "decision": "reject"}]
    decisions.write_text(json.dumps({"review": 1, "decisions": choices}))
    import_corrections(train, decisions, corrected)
    assert pipeline.run(f"pseudo_labels={corrected}") == {PSEUDO}
    assert pipeline.run(f"pseudo_labels={corrected}") == set()
    stored = phase1.generate_pseudo_labels(Run(pipeline.config(f"pseudo_labels={corrected}")))
    skipped = json.loads((stored.path / "skipped.json").read_text())
    assert [one["reason"] for one in skipped["skipped"]] == ["a reviewer rejected its mask"]


def test_class_agnostic_changes_phase_2_and_leaves_the_labels_their_classes(
    pipeline: Pipeline,
) -> None:
    before = phase1.generate_pseudo_labels(Run(pipeline.config())).path
    assert pipeline.run("data.class_agnostic=true") == PHASE_2
    run = Run(pipeline.config("data.class_agnostic=true"))
    assert phase1.generate_pseudo_labels(run).path == before
    for path in (phase2.train_annotations(run, "pseudo")[0], phase2.scored_split(run).annotations):
        content = json.loads(path.read_text())
        assert content["categories"] == [{"id": 1, "name": "object"}]
        assert {entry["category_id"] for entry in content["annotations"]} == {1}
    (report,) = graph.perform(run, EVALUATE)
    (result,) = report.segmenters
    assert [one.name for one in result.classes] == ["object"]


def test_given_checkpoint_is_used_and_nothing_is_trained(pipeline: Pipeline) -> None:
    checkpoint = pipeline.root / "other.pth"
    checkpoint.write_text("other")
    pipeline.stand_ins.asked.clear()
    target = pipeline.root / "out" / "labels.json"
    run = Run(pipeline.config(f"checkpoint={checkpoint}", f"output={target}"))
    graph.perform(run, stage_names.LABEL)
    assert pipeline.stand_ins.asked == [LABEL]
    assert target.is_file()
    pipeline.stand_ins.asked.clear()
    graph.perform(Run(pipeline.config(f"checkpoint={checkpoint}")), EVALUATE)
    assert TRAIN not in pipeline.stand_ins.asked
    assert target.with_name("labels.skipped.json").is_file()


def test_why_says_which_stages_would_run_and_what_has_changed(pipeline: Pipeline) -> None:
    config = pipeline.config()
    given = pipeline.overrides
    graph.perform(Run(config), EVALUATE)
    pipeline.stand_ins.asked.clear()
    assert cache_verbs.why(given).splitlines()[-1] == "nothing would run"
    lines = cache_verbs.why([*given, "mal.mask_threshold=0.4"]).splitlines()
    assert lines[:3] == [
        "train-mal: stored",
        "generate-pseudo-labels: would run",
        "  config.mask_threshold: 0.5 -> 0.4",
    ]
    assert "train-segmenter: solov2_r18 on human masks, seed 0: stored" in lines
    place = lines.index("train-segmenter: solov2_r18 on pseudo-labels, seed 0: would run")
    assert lines[place + 1] == "  after generate-pseudo-labels"
    assert pipeline.stand_ins.asked == []


def test_why_tells_a_guide_from_the_labels(pipeline: Pipeline) -> None:
    given = [*pipeline.overrides, "mal.guide=grabcut"]
    lines = cache_verbs.why(given).splitlines()
    assert lines[:6] == [
        "guide: would run",
        "  the store has no output of this stage that was made in such a way",
        "train-mal: would run",
        "  after guide",
        "generate-pseudo-labels: would run",
        "  after guide",
    ]
    graph.perform(Run(pipeline.config("mal.guide=grabcut")), EVALUATE)
    assert cache_verbs.why(given).splitlines()[-1] == "nothing would run"
    lines = cache_verbs.why([*given, "guide.iterations=7"]).splitlines()
    assert lines[:2] == ["guide: would run", "  config.labeler.iterations: 5 -> 7"]


def test_why_says_that_an_attempt_will_be_continued_and_speaks_as_the_settings_do(
    pipeline: Pipeline,
) -> None:
    given = [*pipeline.overrides, "mal.learning_rate=0.001"]
    lines = cache_verbs.why(given).splitlines()
    assert "an interrupted attempt" not in "".join(lines)
    with pytest.raises(contents.WouldRunError) as would:
        phase1.train_mal(Run(pipeline.config(*given[-1:]), store=_looking(pipeline)))
    _looking(pipeline).attempt(would.value.key).mkdir()
    assert "  an interrupted attempt is there and will be continued" in cache_verbs.why(given)
    settings = cache_verbs.why([*pipeline.overrides, "encoder.pretrained=false"])
    assert "  config.encoder.pretrained: true -> false" in settings


def _looking(pipeline: Pipeline) -> contents.LookingStore:
    return contents.LookingStore(pipeline.config().store, graph.PREPARATIONS)
