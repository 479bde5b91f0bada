"""Labeling settings of `checkpoint=`: its own, unless the user chooses others."""

import dataclasses
import logging
from pathlib import Path

import pytest

from flows.settings import composing
from flows.settings.from_checkpoint import with_own_labeling
from mal_core.config import MalConfig, RefinementConfig
from mal_core.errors import CheckpointError
from mal_core.models.checkpoints import save_labeler
from mal_core.models.labeler import build_labeler
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

OWN = tiny_mal(
    mask_threshold=0.3,
    test_expansion=0.2,
    refinement=RefinementConfig(enabled=True, color_weight=1.5, color_fits=3),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "checkpoint.pth"
    labeler, report = build_labeler(TINY_ENCODER, OWN)
    save_labeler(
        path,
        labeler,
        encoder=dataclasses.asdict(TINY_ENCODER),
        mal=dataclasses.asdict(OWN),
        load_report=str(report),
    )
    return path


def settings(checkpoint: Path, *overrides: str) -> MalConfig:
    chosen = [f"checkpoint={checkpoint}", *overrides]
    return with_own_labeling(composing.compose(chosen), chosen).mal


def test_a_network_labels_as_it_was_trained_to(checkpoint, caplog):
    with caplog.at_level(logging.INFO):
        found = settings(checkpoint)
    assert (found.mask_threshold, found.test_expansion) == (0.3, 0.2)
    assert found.refinement == OWN.refinement
    composed = composing.compose([f"checkpoint={checkpoint}"]).mal
    assert (found.max_steps, found.crop_size) == (composed.max_steps, composed.crop_size)
    assert f"{checkpoint} brings its own labeling settings (" in caplog.text
    assert "mask_threshold" in caplog.text


def test_what_the_user_chooses_goes_before(checkpoint):
    found = settings(checkpoint, "mal.mask_threshold=0.6", "mal.refinement.color_weight=0.25")
    assert (found.mask_threshold, found.test_expansion) == (0.6, 0.2)
    assert found.refinement == dataclasses.replace(OWN.refinement, color_weight=0.25)


def test_a_recipe_that_the_user_names_goes_before_all(checkpoint, caplog):
    with caplog.at_level(logging.INFO):
        found = settings(checkpoint, "mal=paper", "mal.mask_threshold=0.6")
    assert found == composing.compose(["mal=paper", "mal.mask_threshold=0.6"]).mal
    assert not caplog.text


def test_without_a_checkpoint_nothing_changes():
    config = composing.compose(["mal.mask_threshold=0.6"])
    assert with_own_labeling(config, ["mal.mask_threshold=0.6"]) is config


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match=r"checkpoint=.*x\.pth"):
        settings(tmp_path / "x.pth")
