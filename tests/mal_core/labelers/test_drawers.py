"""Labelers without training: their masks, and what labeling a file promises for each."""

import json
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

import mal_core
from mal_core.labelers.drawing import Drawing, DrawnPhotos
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.registry import DRAWERS
from mal_core.labeling import work as labeling
from mal_core.labeling.protocol import Photo
from mal_core.types import Outcome
from tests.builders import CATEGORIES, write_coco

FREE = ("box", "ellipse", "grabcut")


def disc_photo() -> tuple[np.ndarray, np.ndarray]:
    """A red disc on textured gray, and its mask."""
    noise = np.random.default_rng(0).integers(100, 140, (80, 100, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:80, :100] + 0.5
    disc = (rows - 40) ** 2 + (columns - 50) ** 2 <= 20**2
    noise[disc] = (200, 40, 40)
    return noise, disc


@pytest.mark.parametrize("name", FREE)
def test_each_labels_a_disc_as_well_as_it_can(name):
    photo, disc = disc_photo()
    masks, scores = mal_core.load_labeler(labeler=name).label(photo, [[30, 20, 70, 60]])
    iou = (masks[0] & disc).sum() / (masks[0] | disc).sum()
    assert iou > {"box": 0.75, "ellipse": 0.97, "grabcut": 0.95}[name]
    assert not masks[0][:20].any()
    assert not masks[0][:, 70:].any()
    assert 0 < scores[0] <= 1


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("box", [[0, 0, 100, 80], [3.2, 4.1, 3.9, 4.8], [99, 79, 100, 80]])
def test_boxes_of_the_whole_photo_and_of_one_pixel_get_masks(name, box):
    photo, _ = disc_photo()
    assert mal_core.load_labeler(labeler=name).label(photo, [box]).masks.any()


@pytest.mark.parametrize("name", FREE)
def test_a_moved_photo_and_box_give_a_moved_mask(name):
    photo, _ = disc_photo()
    labeler = mal_core.load_labeler(labeler=name)
    (before,), _ = labeler.label(photo, [[30, 20, 70, 60]])
    moved = np.roll(photo, (5, 7), axis=(0, 1))
    (after,), _ = labeler.label(moved, [[37, 25, 77, 65]])
    shifted = np.roll(before, (5, 7), axis=(0, 1))
    assert (after & shifted).sum() / (after | shifted).sum() > 0.97


class _KilledError(Exception):
    pass


class _Dying(DrawnPhotos):
    """Ends while it draws, as a kill would."""

    left = 5

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        for outcome in super().outcomes(photos):
            if self.left == 0:
                raise _KilledError
            type(self).left -= 1
            yield outcome


@pytest.mark.parametrize("name", FREE)
def test_what_was_killed_continues_with_the_same_bytes(name, tmp_path, monkeypatch):
    monkeypatch.setattr(labeling, "IMAGES_PER_BATCH", 1)
    files = write_coco(tmp_path, num_images=4, with_crowd=True)
    whole = mal_core.load_labeler(labeler=name)
    counted = whole.label_file(files.images, files.annotations, tmp_path / "whole.json")
    assert (counted.num_boxes, counted.num_masks, counted.num_crowds) == (9, 8, 1)
    dying = mal_core.load_labeler(labeler=name)
    dying._writer = _Dying(DRAWERS[name](drawer_recipe(name)))
    _Dying.left = 5
    with pytest.raises(_KilledError):
        dying.label_file(files.images, files.annotations, tmp_path / "again.json")
    drawn: list[int] = []
    watched = mal_core.load_labeler(labeler=name)
    outcomes = watched._writer.outcomes
    watched._writer.outcomes = lambda photos: (drawn.append(1) or one for one in outcomes(photos))
    watched.label_file(files.images, files.annotations, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert len(drawn) == 4  # the two photos that were not finished


def test_an_empty_drawing_is_an_explained_skip(tmp_path):
    class Nothing:
        def draw(self, _image: object, boxes: Iterable[object]) -> Iterator[Drawing]:
            for _ in boxes:
                yield Drawing(
                    window_xyxy=(0, 0, 2, 2), logits=np.full((2, 2), -1.0, np.float32), confidence=0
                )

    files = write_coco(tmp_path)
    labeler = mal_core.load_labeler(labeler="box")
    labeler._writer = DrawnPhotos(Nothing())
    counted = labeler.label_file(files.images, files.annotations, tmp_path / "labels.json")
    assert counted.num_masks == 0
    assert counted.num_skipped == {"the labeler found no mask pixel": counted.num_boxes}


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(mal_core.ConfigError, match=r"labeler=paint: .*Available: box, ellipse"):
        mal_core.load_labeler(labeler="paint")
    with pytest.raises(mal_core.ConfigError, match="takes none"):
        mal_core.load_labeler(labeler="box", weights="facebook/sam-vit-base")
    with pytest.raises(mal_core.ConfigError, match="needs a checkpoint"):
        mal_core.load_labeler()
    with pytest.raises(mal_core.ConfigError, match="takes no checkpoint"):
        mal_core.load_labeler("checkpoint.pth", labeler="grabcut")
    with pytest.raises(mal_core.ConfigError, match=r"labeler\.iterations=0"):
        mal_core.load_labeler(labeler="grabcut", iterations=0)


@pytest.mark.slow
def test_the_command_writes_what_the_library_does_and_trains_nothing(tmp_path):
    from flows.commands.cli import main

    files = write_coco(tmp_path)
    data = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    common = [*data, f"workdir={tmp_path / 'work'}", f"store={tmp_path / 'store'}"]
    output = tmp_path / "command.json"
    assert main(["label", "labeler=grabcut", *common, f"output={output}", "label_shards=2"]) == 0
    labeler = mal_core.load_labeler(labeler="grabcut")
    labeler.label_file(files.images, files.annotations, tmp_path / "library.json")
    assert output.read_bytes() == (tmp_path / "library.json").read_bytes()
    assert len(json.loads(output.read_text())["categories"]) == len(CATEGORIES)
    stages = {path.name for path in (tmp_path / "store").iterdir()}
    assert "train-mal" not in stages
    assert "generate-pseudo-labels" in stages


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["labeler=box", "checkpoint={file}"], "is of labeler=mal"),
        (["labeler=box", "pseudo_labels={file}"], "leave labeler=box out"),
        (["labeler=box", "labeler.mode=choose"], "does nothing with it; ensemble does. Leave"),
        (["labeler=ellipse", "labeler.precision=bf16"], "with it; sam, sam2, sam3, hq_sam do."),
        (["labeler.iterations=7"], "iterations=7 is not possible with labeler=mal, which does"),
        (
            ["labeler=ensemble", "labeler.members=[box,{{name:sam2,surroundings:1}}]"],
            "grabcut does",
        ),
        (["labeler=sam2", "labeler.weights=null"], "needs labeler.weights="),
        (["labeler=sam", "labeler.weights={file}/x"], "no such folder or file"),
        (["labeler=crayon"], "Available: box, ellipse, ensemble, grabcut"),
    ],
)
def test_the_command_refuses_with_status_2(tmp_path, capsys, settings, words):
    from flows.commands.cli import main

    files = write_coco(tmp_path)
    given = [one.format(file=files.annotations) for one in settings]
    data = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    assert main(["label", *given, *data, f"workdir={tmp_path / 'w'}", f"store={tmp_path}"]) == 2
    assert words in capsys.readouterr().err
