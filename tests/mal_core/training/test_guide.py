"""A guide: what it is worth beside the network, what it may not do, what is refused."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from mal_core.config import RefinementConfig, SelfTrainingConfig
from mal_core.errors import ConfigError, DatasetError
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import box_to_rle, mask_to_rle
from mal_core.geometry.rotated import inside_corners
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import upright_parts
from mal_core.labeling.views import DrawnMask, views_of
from mal_core.models.checkpoints import load_labeler
from mal_core.quality.beliefs import Beliefs
from mal_core.quality.patch import mask_iou
from mal_core.training import loop, self_training
from mal_core.training.guide import Guide, loudness, read_guide
from mal_core.training.loop import LabelerTrainer, train_labeler
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal
from tests.mal_core.training.test_loop import equal_weights, losses_of

ONE_ROUND = SelfTrainingConfig(rounds=1, length=1 / 3)


def file_of(path, dataset, masks):
    """A COCO file with these masks, by annotation id."""
    images = [
        {"id": one.image_id, "file_name": one.file_name, "height": one.height, "width": one.width}
        for one in dataset.images
    ]
    entries = [
        {
            "id": box.annotation_id,
            "image_id": box.image_id,
            "category_id": box.category_id,
            "bbox": [*box.box_xyxy[:2], *np.subtract(box.box_xyxy[2:], box.box_xyxy[:2])],
            "segmentation": masks[box.annotation_id],
        }
        for box in dataset.boxes
        if box.annotation_id in masks
    ]
    categories = [{"id": one.category_id, "name": one.name} for one in dataset.categories]
    content = {"images": images, "annotations": entries, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def guided(path, **changes):
    settings = {"max_steps": 12, "self_training": ONE_ROUND, "guide": path}
    return tiny_mal(**{**settings, **changes})


def drawn(dataset, logits):
    """The first box as a network of these log-odds in the whole photo draws it."""
    (record, box) = (dataset.images[0], dataset.boxes[0])
    image = np.full((record.height, record.width, 3), 128, np.uint8)
    config = tiny_mal()
    (item,) = views_of(Photo(record=record, boxes=(box,), source=image), config)
    x0, y0, x1, y1 = pixel_box(np.array(box.box_xyxy), record.height, record.width)
    inside = logits[y0:y1, x0:x1].astype(np.float32)
    beliefs = Beliefs(final=inside, network=inside, spill=0.0, tokens=None, unlike=None)
    return DrawnMask(
        item=item, box=(x0, y0, x1, y1), mask=inside > 0, beliefs=beliefs, dropped=0, filled=0
    )


def test_a_guide_that_agrees_decides_where_the_network_is_unsure(tmp_path):
    dataset, masks = draw_ellipses(tmp_path, 1)
    ((key, truth),) = masks.items()
    unsure = np.where(truth, 3.0, -3.0)
    notch = np.flatnonzero(truth.any(1))[:6]  # the network misses the object's top
    unsure[notch] = -0.5
    own = drawn(dataset, unsure)
    found = Guide(masks={key: mask_to_rle(truth)}).heard(own, tiny_mal())
    x0, y0, x1, y1 = own.box
    assert mask_iou(own.mask, truth[y0:y1, x0:x1] > 0) < 1
    assert np.array_equal(found.mask, truth[y0:y1, x0:x1] > 0)


def test_a_guide_that_took_another_thing_is_not_heard(tmp_path):
    dataset, masks = draw_ellipses(tmp_path, 1)
    ((key, truth),) = masks.items()
    own = drawn(dataset, np.where(truth, 0.1, -0.1))
    part = truth.copy()
    part[:, (own.box[0] + own.box[2]) // 2 - 2 :] = 0
    assert Guide(masks={key: mask_to_rle(part)}).heard(own, tiny_mal()) is own
    assert Guide(masks={}).heard(own, tiny_mal()) is own


def test_a_guides_mask_never_leaves_the_box(tmp_path):
    dataset, masks = draw_ellipses(tmp_path, 1)
    ((key, truth),) = masks.items()
    own = drawn(dataset, np.where(truth, 0.1, -0.1))
    found = Guide(masks={key: mask_to_rle(np.ones_like(truth))}).heard(own, tiny_mal())
    assert found.box == own.box
    assert found.mask.shape == own.mask.shape


def test_colors_are_heard_after_the_guide(tmp_path):
    dataset, masks = draw_ellipses(tmp_path, 1)
    ((key, truth),) = masks.items()
    own = drawn(dataset, np.where(truth, 2.0, -2.0))
    image = np.where(truth[..., None] > 0, 220, 30).repeat(3, axis=2).astype(np.uint8)
    own = dataclasses.replace(own, item=dataclasses.replace(own.item, image=image))
    ragged = truth.copy()
    ragged[::6] = 0
    how = RefinementConfig(enabled=True, color_weight=3.0)
    found = Guide(masks={key: mask_to_rle(ragged)}).heard(own, tiny_mal(refinement=how))
    x0, y0, x1, y1 = own.box
    inside = truth[y0:y1, x0:x1] > 0
    assert mask_iou(found.mask, inside) > mask_iou(ragged[y0:y1, x0:x1] > 0, inside) + 0.05


def test_the_vote_grows_with_agreement_and_has_an_end():
    votes = [loudness(iou) for iou in (0.0, 0.5, 0.6, 0.8, 0.95, 0.99, 1.0)]
    assert votes == sorted(votes)
    assert votes[:2] == [0, 0]
    assert votes[-1] == votes[-2] < 20


def test_a_guide_changes_what_the_round_learns_and_nothing_before(tmp_path):
    dataset, masks = draw_ellipses(tmp_path / "images", 4)
    path = file_of(tmp_path / "guide.json", dataset, {k: mask_to_rle(m) for k, m in masks.items()})
    config = guided(path, max_steps=30)
    alone = dataclasses.replace(config, guide=None)
    for name, one in (("with", config), ("without", alone)):
        train_labeler(dataset, TINY_ENCODER, one, seed=0, output_dir=tmp_path / name)
    both = [losses_of(tmp_path / name) for name in ("with", "without")]
    before = [[loss for step, loss in losses if step <= 30] for losses in both]
    after = [[loss for step, loss in losses if step > 30] for losses in both]
    assert before[0] == before[1]
    assert after[0] != after[1]
    _, kept = load_labeler(tmp_path / "with" / "checkpoint.pth")
    assert str(kept.guide) == "guide.json"


def test_a_killed_guided_round_ends_with_the_same_weights(tmp_path, monkeypatch):
    dataset, masks = draw_ellipses(tmp_path / "images", 4)
    path = file_of(tmp_path / "guide.json", dataset, {k: mask_to_rle(m) for k, m in masks.items()})
    config = guided(path)
    whole = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "whole")
    step = LabelerTrainer.train_step

    def killed(self, *batches):
        if self.step == 14:
            raise KeyboardInterrupt
        return step(self, *batches)

    def killed_while_labeling(*_):
        raise KeyboardInterrupt

    parts = tmp_path / "parts"
    for place, name, end in (
        (self_training, "_label", killed_while_labeling),
        (LabelerTrainer, "train_step", killed),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, end)
            with pytest.raises(KeyboardInterrupt):
                train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=parts)
    again = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=parts)
    assert equal_weights(whole, again)
    assert not (parts / loop.STATE).exists()


def test_boxes_that_a_guide_lacks_are_counted(tmp_path, caplog):
    dataset, masks = draw_ellipses(tmp_path, 3)
    rles = {key: mask_to_rle(mask) for key, mask in list(masks.items())[:2]}
    path = file_of(tmp_path / "guide.json", dataset, rles)
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 9})
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        assert read_guide(path, dataset).masks == rles
    assert "masks for 2 of 3 boxes; 1 learn from their boxes alone; 1 of its" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: {}, "no annotation has the id of a box"),
        (lambda m: {**m, 100: {"size": [9, 9], "counts": [81]}}, r"annotation 100 has a mask of"),
        (lambda m: {**m, 100: [[1, 2, None, 4, 5, 6]]}, "annotation 100 has a polygon with null"),
        (
            lambda m: {key: box_to_rle(np.array([0, 0, 4, 4]), 96, 96) for key in m},
            "its masks are not those of the boxes",
        ),
    ],
)
def test_a_guide_that_cannot_be_followed_is_refused(tmp_path, change, said):
    dataset, masks = draw_ellipses(tmp_path, 2)
    rles = change({key: mask_to_rle(mask) for key, mask in masks.items()})
    path = file_of(tmp_path / "guide.json", dataset, rles)
    with pytest.raises(DatasetError, match=said):
        train_labeler(dataset, TINY_ENCODER, guided(path), seed=0, output_dir=tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_guide_without_a_round_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"rounds=0 is not possible.*with mal\.guide"):
        tiny_mal(guide=tmp_path / "guide.json")


def test_a_guides_mask_of_a_rotated_box_is_turned_as_its_box_is(tmp_path):
    dataset, masks = draw_ellipses(tmp_path, 1)
    ((key, _),) = masks.items()
    corners = (48.0, 14.0, 82.0, 48.0, 62.0, 68.0, 28.0, 34.0)
    inside = inside_corners(corners, np.array([0, 0, 96, 96]))
    box = dataclasses.replace(dataset.boxes[0], box_xyxy=(28.0, 14.0, 82.0, 68.0), corners=corners)
    photo = Photo(
        record=dataset.images[0], boxes=(box,), source=np.full((96, 96, 3), 128, np.uint8)
    )
    (part,) = upright_parts(photo)
    (item,) = views_of(part.photo, tiny_mal())
    x0, y0, x1, y1 = pixel_box(
        np.array(item.annotation.box_xyxy), item.record.height, item.record.width
    )
    inside_box = np.full((y1 - y0, x1 - x0), 3.0, np.float32)
    inside_box[:4] = -0.5  # the network misses one end of the object
    beliefs = Beliefs(final=inside_box, network=inside_box, spill=0.0, tokens=None, unlike=None)
    own = DrawnMask(
        item=item, box=(x0, y0, x1, y1), mask=inside_box > 0, beliefs=beliefs, dropped=0, filled=0
    )
    guide = Guide(masks={key: mask_to_rle(inside.astype(np.uint8))}, corners={key: corners})
    found = guide.heard(own, tiny_mal())
    assert own.mask.mean() < 0.88
    assert found.mask[1:4, 3:-3].mean() > 0.9
    assert found.mask.mean() > own.mask.mean() + 0.05
