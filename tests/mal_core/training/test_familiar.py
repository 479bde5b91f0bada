"""A checkpoint remembers its training crops, and labels say which boxes are unlike them."""

import numpy as np

from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.work import LabelWork
from mal_core.models.checkpoints import load_labeler
from mal_core.training.loop import train_labeler
from mal_core.types import PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal


def test_drift_is_told_by_any_labeling_with_the_checkpoint(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 24)
    config = tiny_mal(max_steps=2, mask_threshold=0.01)
    path = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")
    labeler, config = load_labeler(path)
    assert labeler.familiar is not None
    assert len(labeler.familiar.points) == 24
    writer, work = MaskWriter(labeler, config), LabelWork(dataset)
    own = [one for batch in work.batches for one in writer.outcomes(work.photos(batch))]
    strange = writer.outcomes(
        Photo(record=record, boxes=tuple(work.boxes_of[record.image_id]), source=noise(record))
        for record in dataset.images[:8]
    )
    known, foreign = ([unlikeness(one) for one in found] for found in (own, strange))
    assert max(known) < 0.1
    assert min(foreign) > 0.3


def unlikeness(outcome: object) -> float:
    assert isinstance(outcome, PseudoLabel)
    return outcome.components["unlike"]


def noise(record) -> np.ndarray:
    generator = np.random.default_rng(record.image_id)
    return generator.integers(0, 255, (record.height, record.width, 3), dtype=np.uint8)


def test_a_few_boxes_are_nothing_to_compare_with(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 3)
    config = tiny_mal(max_steps=1)
    path = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")
    assert load_labeler(path)[0].familiar is None
