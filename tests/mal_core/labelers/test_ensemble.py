"""Several labelers at once: whom they believe, and what labeling a file promises for them too."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import mal_core
from flows.commands.cli import main
from flows.settings import composing
from flows.stages.drawing import check_labeler
from mal_core.config.labelers import LabelerConfig, MemberConfig
from mal_core.errors import ConfigError
from mal_core.labelers import ensemble as ensembles
from mal_core.labelers.drawing import flat
from mal_core.labelers.ensemble import Ensemble, Standing, Standings, joined
from mal_core.labelers.judging import Judged
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.sampling import sample_boxes
from mal_core.labeling import work as labeling
from mal_core.processes.files import sha256_file
from mal_core.quality.score import Quality
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord
from tests.builders import CocoFiles, write_coco
from tests.mal_core.labelers.test_drawers import disc_photo
from tests.mal_core.labelers.test_mal import write_checkpoint

WEAK = {"members": ["box", "grabcut"]}


def heard(*pairs: tuple[list[int], float]) -> dict[int, Judged]:
    return {
        place: Judged(
            logits=flat(np.array([mask], bool)),
            quality=Quality(score=score, interval=(0, 1), components={}),
        )
        for place, (mask, score) in enumerate(pairs)
    }


def test_votes_count_as_far_as_scores_come_near_to_the_best():
    three = heard(([1, 1, 0], 0.8), ([1, 0, 1], 0.78), ([0, 0, 1], 0.77))
    assert (joined(three, Standing(), "agree")[0] > 0).tolist() == [True, False, True]
    one_is_better = heard(([1, 1, 0], 0.9), ([1, 0, 1], 0.5), ([0, 0, 1], 0.5))
    assert (joined(one_is_better, Standing(), "agree")[0] > 0).tolist() == [True, True, False]


@pytest.mark.parametrize("mode", ["agree", "choose"])
def test_a_leader_is_beaten_by_a_margin_only(mode):
    close = heard(([1, 0, 0], 0.80), ([0, 0, 1], 0.82))
    clear = heard(([1, 0, 0], 0.70), ([0, 0, 1], 0.84))
    leads = Standing(leader=0)
    assert joined(close, leads, mode)[0, 0] > 0 > joined(close, leads, mode)[0, 2]
    assert joined(close, Standing(), mode)[0, 2] > 0
    assert joined(clear, leads, mode)[0, 2] > 0 > joined(clear, leads, mode)[0, 0]


def test_a_single_score_counts_less_than_a_mean():
    pair = heard(([1, 0, 0], 0.70), ([0, 0, 1], 0.80))
    known = Standing(means=(0.75, 0.70), leader=0)
    assert joined(pair, known, "choose")[0, 0] > 0
    far = heard(([1, 0, 0], 0.40), ([0, 0, 1], 0.90))
    assert joined(far, known, "choose")[0, 2] > 0


@pytest.mark.parametrize("mode", ["agree", "choose"])
def test_it_draws_with_the_member_that_sees_the_object(mode):
    photo, disc = disc_photo()
    labeler = mal_core.load_labeler(labeler="ensemble", mode=mode, **WEAK)
    masks, scores = labeler.label(photo, [[30, 20, 70, 60], [5, 5, 5, 5]])
    assert (masks[0] & disc).sum() / (masks[0] | disc).sum() > 0.95
    assert not masks[1].any()
    assert 0 < scores[0] <= 1


def disks_file(folder: Path, *, photos: int = 4) -> CocoFiles:
    files = write_coco(folder, num_images=photos, with_crowd=True)
    content = json.loads(files.annotations.read_text())
    rng = np.random.default_rng(3)
    for record in content["images"]:
        image = rng.integers(90, 130, (record["height"], record["width"], 3), dtype=np.uint8)
        own = [a for a in content["annotations"] if a["image_id"] == record["id"]]
        for entry in own:
            x, y, w, h = entry["bbox"]
            center = (int(x + w / 2), int(y + h / 2))
            cv2.ellipse(image, center, (int(w / 2), int(h / 2)), 0, 0, 360, (30, 40, 220), -1)
        cv2.imwrite(str(files.images / record["file_name"]), image)
    return files


def test_the_leader_is_the_member_that_scores_best_on_a_sample(tmp_path):
    files = disks_file(tmp_path)
    config = drawer_recipe("ensemble", **WEAK)
    labeler = mal_core.load_labeler(labeler="ensemble", **WEAK)
    result = labeler.label_file(files.images, files.annotations, tmp_path / "out.json")
    assert result.num_masks + result.num_crowds + sum(result.num_skipped.values()) == (
        result.num_boxes
    )
    assert isinstance(labeler._writer, Ensemble)
    standing = labeler._writer.standings.of_all
    assert standing.leader == 1
    assert standing.means[1] > standing.means[0]
    assert config.leader is None
    entries = json.loads((tmp_path / "out.json").read_text())["annotations"]
    masked = [entry for entry in entries if not entry["iscrowd"]]
    assert all("members" in entry["score_components"] for entry in masked)


def test_classes_may_have_leaders_of_their_own():
    found = Standings(of_all=Standing(leader=0), of_class={"3": Standing(leader=1)})
    assert (found.of(3).leader, found.of(4).leader) == (1, 0)


def test_a_stated_leader_leads_whatever_the_sample_says(tmp_path):
    files = disks_file(tmp_path)
    labeler = mal_core.load_labeler(labeler="ensemble", leader="box", **WEAK)
    labeler.label_file(files.images, files.annotations, tmp_path / "out.json")
    assert isinstance(labeler._writer, Ensemble)
    assert labeler._writer.standings.of_all.leader == 0


def test_one_of_two_members_of_a_kind_can_lead():
    members = (
        MemberConfig(name="grabcut", iterations=1),
        MemberConfig(name="grabcut", iterations=9),
        MemberConfig(name="ellipse"),
    )
    config = LabelerConfig(name="ensemble", members=members, leader="grabcut 2")
    assert Ensemble(config, []).standings.of_all.leader == 1
    with pytest.raises(ConfigError, match="wanted one of the members: grabcut 1, grabcut 2, ell"):
        LabelerConfig(name="ensemble", members=members, leader="grabcut")


def test_a_class_with_few_boxes_has_no_leader_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "FEWEST", 3)
    files = disks_file(tmp_path)
    labeler = mal_core.load_labeler(labeler="ensemble", per_class=True, **WEAK)
    labeler.label_file(files.images, files.annotations, tmp_path / "out.json")
    entries = json.loads(files.annotations.read_text())["annotations"]
    counts = [entry["category_id"] for entry in entries if not entry["iscrowd"]]
    assert isinstance(labeler._writer, Ensemble)
    known = labeler._writer.standings.of_class
    assert {int(key) for key in known} == {key for key in counts if counts.count(key) >= 3}


def command(files: CocoFiles, folder: Path, output: Path, *more: str) -> int:
    data = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    place = [f"workdir={folder / 'w'}", f"store={folder / 's'}", f"output={output}"]
    return main(["label", "labeler=ensemble", *data, *place, *more])


@pytest.mark.slow
def test_our_own_network_is_a_member_and_shards_change_no_byte(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(labeling, "IMAGES_PER_BATCH", 1)
    files, checkpoint = disks_file(tmp_path), write_checkpoint(tmp_path)
    told = ["labeler.members=[mal,{name:grabcut,iterations:2}]", f"checkpoint={checkpoint}"]
    told += ["mal.label_crop_size=64"]
    assert command(files, tmp_path / "a", tmp_path / "one.json", *told) == 0
    assert "boxes in" in capsys.readouterr().out
    shards = command(files, tmp_path / "b", tmp_path / "two.json", *told, "label_shards=2")
    assert shards == 0
    assert sha256_file(tmp_path / "one.json") == sha256_file(tmp_path / "two.json")
    config = drawer_recipe("ensemble", members=["mal", {"name": "grabcut", "iterations": 2}])
    assert config.members[1].iterations == 2
    alone = mal_core.load_labeler(
        checkpoint, labeler="ensemble", members=["mal", {"name": "grabcut", "iterations": 2}]
    )
    alone.label_file(files.images, files.annotations, tmp_path / "three.json")
    masks = [
        [entry["segmentation"] for entry in json.loads(path.read_text())["annotations"]]
        for path in (tmp_path / "one.json", tmp_path / "three.json")
    ]
    assert masks[0] == masks[1]


class _KilledError(Exception):
    pass


def test_what_was_killed_continues_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(labeling, "IMAGES_PER_BATCH", 1)
    files = disks_file(tmp_path)
    whole = mal_core.load_labeler(labeler="ensemble", **WEAK)
    whole.label_file(files.images, files.annotations, tmp_path / "whole.json")
    drawn: list[int] = []
    original = Ensemble._outcome

    def killed(self, photo, judged):
        if len(drawn) == 4:
            drawn.append(0)
            raise _KilledError
        drawn.append(judged.box.annotation_id)
        return original(self, photo, judged)

    monkeypatch.setattr(Ensemble, "_outcome", killed)
    found: list[int] = []
    compare = Ensemble._compared
    monkeypatch.setattr(Ensemble, "_compared", lambda s, d: (found.append(1), compare(s, d))[1])
    for _ in range(2):
        halves = mal_core.load_labeler(labeler="ensemble", **WEAK)
        try:
            halves.label_file(files.images, files.annotations, tmp_path / "halves.json")
        except _KilledError:
            assert not (tmp_path / "halves.json").exists()
    assert (tmp_path / "halves.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert found == [1]  # the leaders of the first attempt are those of the second
    assert len(drawn) < 1 + 2 * 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"members": ["grabcut"]}, "two or more labelers"),
        ({"members": ["grabcut", "ensemble"]}, "no ensemble among them"),
        ({"members": ["mal", "mal"]}, "mal can be a member once"),
        ({"members": ["box", "grabcut"], "leader": "mal"}, "one of the members"),
        ({"members": ["box", {"weights": "x"}]}, "names no labeler"),
        ({"members": ["box", "grabkut"]}, "^labeler.members: .*sam3. Did you mean 'grabcut'"),
        ({"members": ["box", "box"]}, "box is there twice"),
        ({"members": ["box", {"name": "sam2", "weights": None}]}, "^labeler.members: sam2 needs"),
        ({"members": ["box", {"name": "grabcut", "iteration": 3}]}, "no setting 'iteration'"),
        (
            {"members": ["box", {"name": "grabcut", "iterations": 0}]},
            "^labeler.members: grabcut: iter",
        ),
        ({"members": ["box", {"name": "grabcut", "iterations": "x"}]}, "members: grabcut: iter"),
    ],
)
def test_members_that_cannot_be_are_refused_in_a_sentence(settings, words):
    with pytest.raises(ConfigError, match=words):
        drawer_recipe("ensemble", **settings)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["labelers=[box,elipse]"], "^labelers: there is no 'elipse'"),
        (["labelers=[box,{name:sam,weights:x,boxes_per_pass:0}]"], "^labelers: sam: boxes_per_"),
        (["mal.guide=ensemble", "guide.members=[box,elipse]"], "^guide.members: there is no 'el"),
    ],
)
def test_the_setting_that_names_members_is_told(overrides, words):
    with pytest.raises(ConfigError, match=words):
        composing.compose(overrides)


def test_weights_of_a_member_that_are_not_there_are_told_as_the_members(tmp_path):
    member = f"{{name:sam2,weights:{tmp_path / 'none'}}}"
    config = composing.compose(["labeler=ensemble", f"labeler.members=[grabcut,{member}]"])
    with pytest.raises(ConfigError, match=r"^labeler\.members: sam2") as caught:
        check_labeler(config)
    assert "labeler.weights" not in str(caught.value)


def test_settings_of_an_ensemble_belong_to_one():
    with pytest.raises(ConfigError, match=r"are of an ensemble, but labeler=grabcut draws"):
        composing.compose(["labeler=grabcut", "labeler.members=[box,ellipse]"])
    with pytest.raises(ConfigError, match=r"takes no checkpoint|without"):
        mal_core.load_labeler("c.pth", labeler="ensemble", **WEAK)
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        mal_core.load_labeler(labeler="ensemble")


def test_an_ensemble_with_our_network_trains_it_and_one_without_does_not():
    own = composing.compose(["labeler=ensemble"])
    assert own.trains_labeler
    assert [one.name for one in own.labeler.members] == ["mal", "grabcut", "ellipse"]
    free = composing.compose(["labeler=ensemble", "labeler.members=[box,{name:grabcut}]"])
    assert not free.trains_labeler
    assert isinstance(free.labeler, LabelerConfig)


def test_a_sample_is_the_same_whenever_it_is_asked_for_and_spreads_over_photos():
    images = tuple(
        ImageRecord(image_id=k, file_name=f"{k}.png", height=9, width=9) for k in range(30)
    )
    boxes = tuple(
        BoxAnnotation(
            annotation_id=k, image_id=k % 30, category_id=k % 7 == 0, box_xyxy=(0, 0, 9, 9)
        )
        for k in range(600)
    )
    dataset = BoxDataset(
        annotations_path=Path("a"), image_root=Path(), categories=(), images=images, boxes=boxes,
        skipped=(), num_crowds=0, num_clipped=0,
    )  # fmt: skip
    found = sample_boxes(dataset, 64)
    assert [one.boxes for one in found] == [one.boxes for one in sample_boxes(dataset, 64)]
    ids = [box.annotation_id for one in found for box in one.boxes]
    assert len(ids) == len(set(ids)) == 64
    assert max(len(one.boxes) for one in found) <= 8
    assert all(len(one.boxes) + len(one.company_xyxy) == 20 for one in found)
    both = [box for one in sample_boxes(dataset, 64, per_class=40) for box in one.boxes]
    assert sum(box.category_id == 1 for box in both) >= 40
    assert len(sample_boxes(dataset, 10**6)) == 30
