"""The labeler put to the test on composites."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mal_core.labeling import trial
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.models.labeler import build_labeler
from mal_core.types import BoxDataset, PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, cut_views, draw_ellipses, tiny_mal


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "FEWEST_COMPOSITES", 8)
    monkeypatch.setattr(trial, "LABELS_PER_COMPOSITE", 1)
    monkeypatch.setattr(trial, "SOURCES_PER_COMPOSITE", 1)


def labeled(folder: Path) -> tuple[BoxDataset, MaskWriter, list[PseudoLabel]]:
    torch.manual_seed(0)
    config = tiny_mal(mask_threshold=0.3)
    labeler, _ = build_labeler(TINY_ENCODER, config)
    writer = MaskWriter(labeler, config)
    dataset, _ = draw_ellipses(folder, 12)
    views = (
        view
        for record, box in zip(dataset.images, dataset.boxes, strict=True)
        for view in cut_views(record, [box], dataset.image_root, config)
    )
    labels = [outcome for outcome in writer.label(views) if isinstance(outcome, PseudoLabel)]
    return dataset, writer, labels


def test_scores_are_fitted_to_what_the_labeler_makes_of_composites(tmp_path, few):
    dataset, writer, labels = labeled(tmp_path)
    assert len(labels) == 12
    model = trial.fit_quality(dataset, writer, labels)
    assert model is not None
    assert "masks of known IoU" in model.origin
    assert model.weights != writer.quality.weights
    scores = model.predict([label.components for label in labels])
    assert ((scores > 0) & (scores < 1)).all()
    assert trial.fit_quality(dataset, writer, labels) == model


def test_too_few_labels_leave_the_librarys_model(tmp_path):
    dataset, writer, labels = labeled(tmp_path)
    assert trial.fit_quality(dataset, writer, labels) is None
    assert trial.fit_quality(dataset, writer, []) is None


def test_only_masks_whose_views_agree_are_cut_out(tmp_path, few):
    dataset, writer, labels = labeled(tmp_path)
    bench = trial._Bench(dataset, writer, labels)
    assert 1 <= len(bench.cutouts) <= len(labels) // 2
    assert all(np.count_nonzero(cutout.mask) for cutout in bench.cutouts)
