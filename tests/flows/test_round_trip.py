"""Masks in both splits of VOC, YOLO and YouTube-VIS: checked, labeled and evaluated."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.commands.label_scores import score_labels
from flows.settings import composing
from flows.stages import graph, inputs
from flows.stages.run import Run
from flows.store.stage_names import LABEL
from mal_core.geometry.masks import mask_to_rle
from tests.flows.stand_ins import StandIns
from tests.mal_core.formats.drawn_formats import (
    HEIGHT,
    WIDTH,
    draw,
    masks,
    write_json,
    write_voc_with_masks,
    write_yolo_with_masks,
)

Json = dict[str, Any]
OWN = {"track_id": "mine", "origin": "camera 2", "attributes": {"deep": [None, 2**70]}}


def write_ytvis(folder: Path) -> Path:
    """Two tracks over the two pictures, one of them hidden in the first, with keys of their own."""
    first, second, last = map(mask_to_rle, masks())
    sides = {"width": WIDTH, "height": HEIGHT}
    common = {"video_id": 3, "iscrowd": 0, **OWN}
    folder.mkdir(parents=True)
    content = {
        "info": {"version": 7},
        "videos": [{"id": 3, **sides, "file_names": ["a.jpg", "b.jpg"], "place": "yard"}],
        "annotations": [
            {
                "id": 8,
                "category_id": 1,
                "bboxes": [[4, 5, 12, 10], None],
                "segmentations": [first, None],
                **common,
            },
            {
                "id": 5,
                "category_id": 2,
                "bboxes": [[20, 2, 15, 25], [0, 0, 40, 30]],
                "segmentations": [second, last],
                **common,
            },
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return write_json(folder / "ytvis.json", content)


WRITE = {"voc": write_voc_with_masks, "yolo": write_yolo_with_masks, "ytvis": write_ytvis}


def both_splits(root: Path, name: str, **options: int) -> list[str]:
    images = draw(root / "images", **options)
    chosen = [f"data={name}"]
    for split in ("train", "val"):
        folder = root / split
        annotations = (
            write_voc_with_masks(folder, **options) if name == "voc" else WRITE[name](folder)
        )
        chosen += [f"data.{split}.images={images}", f"data.{split}.annotations={annotations}"]
    return chosen


def read(path: Path) -> Json:
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("name", ["voc", "yolo", "ytvis"])
def test_all_objects_return_with_their_ids_and_keys(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandIns(monkeypatch)
    places = [f"store={tmp_path / 'store'}", f"workdir={tmp_path / 'w'}"]
    config = composing.compose([*both_splits(tmp_path, name), *places])
    run = Run(config)
    notes = "\n".join(inputs.read_check(inputs.check(run, need_val=True))["notes"])
    assert notes.count("3 annotations = 3 boxes + 0 crowds") == 2
    assert notes.count("3 human masks, 2 classes") == 2
    graph.perform(run, LABEL)
    assert config.data.train is not None
    before = read(inputs.inputs(run).train.annotations)
    after = read(tmp_path / "w" / "labels" / "train.json")
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        assert new["segmentation"] != old["segmentation"]
        kept = old.keys() - {"segmentation", "area"}
        assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
    assert [after[key] for key in ("images", "categories")] == [
        before[key] for key in ("images", "categories")
    ]
    native = tmp_path / "w" / "labels" / ("ytvis.json" if name == "ytvis" else name)
    for labels in (native, tmp_path / "w" / "labels" / "train.json"):
        given = [f"labels={labels}", f"human={config.data.train.annotations}", f"data={name}"]
        given += [f"images={tmp_path / 'images'}"] * (name == "yolo")
        score_labels(composing.compose([*given, *places, f"output={tmp_path / 'scores.json'}"]))
        found = read(tmp_path / "scores.json")
        assert (found["objects"], found["missing"]) == (3, 0)
        assert found["mask_iou"]["all"] == pytest.approx(0.75, abs=0.02), "boxes lack no quarter"


def test_a_video_file_returns_with_all_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandIns(monkeypatch)
    places = [f"store={tmp_path / 'store'}", f"workdir={tmp_path / 'w'}"]
    graph.perform(Run(composing.compose([*both_splits(tmp_path, "ytvis"), *places])), LABEL)
    old = read(tmp_path / "train" / "ytvis.json")
    new = read(tmp_path / "w" / "labels" / "ytvis.json")
    for content in (old, new):
        for track in content["annotations"]:
            track.pop("areas", None)
            track["segmentations"] = [mask is None for mask in track["segmentations"]]
    assert new == old


@pytest.mark.slow
def test_voc_with_masks_in_both_splits_runs_to_its_report(mal, phase_1, tmp_path):
    chosen = both_splits(tmp_path, "voc", scale=3)
    assert mal.run("check", *chosen).count("3 human masks, 2 classes") == 2
    mal.run(
        "evaluate",
        *chosen,
        *phase_1,
        "segmenters=[solov2_r18]",
        "segmenter.max_steps=2",
        "segmenter.batch_size=1",
        "segmenter.image_size=96",
        "segmenter_jobs=2",
    )
    assert (mal.workdir / "report.html").is_file()
    assert read(mal.workdir / "retention.json")["segmenters"].keys() == {"solov2_r18"}
    labels = mal.workdir / "labels" / "voc"
    human = f"human={tmp_path / 'train' / 'Annotations'}"
    scored = mal.run("evaluate", "data=voc", f"labels={labels}", human)
    assert "3 objects with a human mask, " in scored
