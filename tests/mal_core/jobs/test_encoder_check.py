"""An encoder is looked at before others work for it, in a child whose errors come back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.jobs.encoder_check import EncoderJob, check_in_child, main
from mal_core.processes.child_errors import read_failure
from mal_core.processes.records import write_record

SMALL = {"depth": 1, "embed_dim": 32, "num_heads": 2}


def asked(job_path: Path, encoder: EncoderConfig) -> int:
    write_record(job_path, EncoderJob(encoder=encoder, crop_size=64))
    return main(job_path)


def test_an_encoder_that_can_be_built_leaves_no_word(tmp_path: Path) -> None:
    small = EncoderConfig(name="vit_tiny_patch16_224", pretrained=False, options=SMALL)
    assert asked(tmp_path / "job.json", small) == 0
    assert read_failure(tmp_path / "job.json") is None


def test_one_that_no_crop_suits_is_named(tmp_path: Path) -> None:
    assert asked(tmp_path / "job.json", EncoderConfig(name="mixer_b16_224", pretrained=False))
    failure = read_failure(tmp_path / "job.json")
    assert isinstance(failure, ConfigError)
    assert "mixer_b16_224" in str(failure)


def test_weights_of_another_network_come_back_from_the_child(tmp_path: Path) -> None:
    weights = tmp_path / "other.safetensors"
    save_file({"layer1.0.conv1.weight": torch.zeros(8, 3, 3, 3)}, weights)
    encoder = EncoderConfig(name="vit_tiny_patch16_224", weights=weights, options=SMALL)
    with pytest.raises(CheckpointError, match=r"other\.safetensors could not be loaded \(missing"):
        check_in_child(encoder, 64)
