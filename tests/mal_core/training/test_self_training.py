"""Rounds of self-training: what they learn, that they resume exactly, what they refuse."""

import json

import numpy as np
import pytest
import torch

from mal_core.config import SelfTrainingConfig
from mal_core.data.crops import TrainBatches
from mal_core.errors import ConfigError, TrainingError
from mal_core.geometry.masks import box_to_rle
from mal_core.models.checkpoints import load_labeler
from mal_core.models.labeler import build_labeler
from mal_core.training import loop, self_training
from mal_core.training.loop import LabelerTrainer, train_labeler
from mal_core.training.schedule import learning_rate_at
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal
from tests.mal_core.training.test_loop import equal_weights, losses_of

ROUNDS = SelfTrainingConfig(rounds=2, length=1 / 3)


def with_rounds(**changes):
    return tiny_mal(**{"max_steps": 12, "checkpoint_every": 5, "self_training": ROUNDS, **changes})


def filled_boxes(dataset):
    size = {image.image_id: (image.height, image.width) for image in dataset.images}
    return {
        box.annotation_id: box_to_rle(np.array(box.box_xyxy), *size[box.image_id])
        for box in dataset.boxes
    }


def test_targets_lie_where_the_crops_show_them(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    batch = TrainBatches(dataset, tiny_mal(batch_size=6), 3, filled_boxes(dataset))[0]
    plain = TrainBatches(dataset, tiny_mal(batch_size=6), 3)[0]
    assert plain.target is None
    assert torch.equal(batch.image, plain.image)
    assert batch.target is not None
    assert batch.target.shape == (6, 32, 32)
    coarse = torch.nn.functional.avg_pool2d(batch.target, 2)
    assert (coarse - batch.box_mask).abs().mean() < 0.03


def test_only_boxes_with_a_label_are_drawn(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    labels = dict(list(filled_boxes(dataset).items())[:2])
    batches = TrainBatches(dataset, tiny_mal(), 0, labels)
    assert {batches._box_at(position).annotation_id for position in range(9)} == set(labels)


def test_a_round_begins_an_epoch_of_its_labels(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    labels, seen = filled_boxes(dataset), []
    for first in (0, 8, 9):
        batches = TrainBatches(dataset, tiny_mal(), 0, labels, first=first)
        seen.append([batches._box_at(first + place).annotation_id for place in range(6)])
    assert [sorted(epoch) for epoch in seen] == [sorted(labels)] * 3
    assert len(set(map(tuple, seen))) == 3


def test_a_round_labels_as_many_boxes_as_it_has_crops_to_learn_from(tmp_path, monkeypatch):
    dataset, _ = draw_ellipses(tmp_path / "images", 12)
    config, label, labeled = with_rounds(batch_size=2), self_training._label, []

    def noted(of_boxes, *rest):
        labeled.append([box.annotation_id for box in of_boxes.boxes])
        return label(of_boxes, *rest)

    monkeypatch.setattr(self_training, "_label", noted)
    for folder in ("once", "again"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / folder)
    crops = config.round_steps * config.batch_size
    assert [len(set(round_)) for round_ in labeled] == [crops] * 4
    assert crops < len(dataset.boxes)
    first, second, *again = labeled
    assert again == [first, second]
    assert first != second
    assert first == sorted(first)


def test_the_outline_head_says_nothing_until_it_is_trained():
    labeler, _ = build_labeler(TINY_ENCODER, with_rounds())
    network = labeler.student.eval()
    image, boxes = torch.randn(2, 3, 64, 64), torch.tensor([[0.0, 0, 20, 20], [0, 0, 200, 200]])
    coarse = network(image, boxes)
    fine = network(image, boxes, torch.ones(2, 16, 16))
    assert coarse.shape == (2, 1, 16, 16)
    assert fine.shape == (2, 1, 32, 32)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(fine, 2), coarse, atol=0.2, rtol=0.1)


def test_every_round_starts_the_learning_rate_again():
    config = with_rounds(max_steps=10, self_training=SelfTrainingConfig(rounds=2, length=1.0))
    rates = [learning_rate_at(step, config) for step in range(config.total_steps)]
    assert rates[:10] == rates[10:20] == rates[20:]


def test_an_interrupted_round_continues_on_the_same_trajectory(tmp_path, monkeypatch):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = with_rounds()
    whole = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "whole")
    step, label = LabelerTrainer.train_step, self_training._label

    def killed_in_the_round(self, *batches):
        if self.step == 18:
            raise KeyboardInterrupt
        return step(self, *batches)

    def killed_while_labeling(*_):
        raise KeyboardInterrupt

    parts = tmp_path / "parts"
    for place, name, killed in (
        (self_training, "_label", killed_while_labeling),
        (LabelerTrainer, "train_step", killed_in_the_round),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, killed)
            with pytest.raises(KeyboardInterrupt):
                train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=parts)
        assert (parts / loop.STATE).exists()
    assert self_training._label is label
    again = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=parts)
    assert equal_weights(whole, again)
    assert losses_of(parts) == losses_of(tmp_path / "whole")
    assert [step for step, _ in losses_of(parts)] == [10, 12, 16, 20]
    assert not list(parts.glob("labels_of_round_*"))
    assert not (parts / loop.STATE).exists()


def test_the_rounds_train_the_outline_head_and_the_checkpoint_keeps_it(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    path = train_labeler(dataset, TINY_ENCODER, with_rounds(), seed=0, output_dir=tmp_path / "run")
    labeler, config = load_labeler(path)
    assert config.self_training == ROUNDS
    assert labeler.student.outline_head is not None
    assert labeler.student.outline_head.change.weight.abs().max() > 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "scalars.jsonl").read_text().splitlines()]
    assert {"loss_mil", "loss_crf"} <= set(lines[0])
    assert {"loss_dice", "loss_bce"} <= set(lines[-1])


def test_a_round_without_a_single_label_says_so(tmp_path, monkeypatch):
    dataset, _ = draw_ellipses(tmp_path / "images", 2)
    monkeypatch.setattr(self_training, "_label", lambda *_: {})
    with pytest.raises(TrainingError, match=r"none of the 2 boxes gets a mask.*max_steps"):
        train_labeler(dataset, TINY_ENCODER, with_rounds(), seed=0, output_dir=tmp_path / "run")


def test_rounds_are_not_the_reference_implementation():
    with pytest.raises(ConfigError, match=r"self_training\.rounds"):
        with_rounds(compat_official=True)


def test_what_a_label_job_chooses_does_not_decide_what_rounds_learn():
    rounds = SelfTrainingConfig(rounds=1, label_crop_size=96, expansions=(0.5, 0.2))
    plain = self_training.labeling_of_rounds(with_rounds(self_training=rounds))
    chosen = with_rounds(
        self_training=rounds, mask_threshold=0.3, test_expansion=0.1, label_network="both"
    )
    assert self_training.labeling_of_rounds(chosen) == plain
    assert (plain.label_crop_size, plain.test_expansion, plain.extra_expansions) == (
        96,
        0.5,
        (0.2,),
    )
