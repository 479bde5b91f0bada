"""Every setting that takes weights, by the command that takes them: refused, and nothing ran."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _hub

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError
from mal_core.models.encoder import build_encoder
from mal_core.models.official import load_official_checkpoint
from mal_core.models.pretrained import hub_tensors
from mal_core.models.safe_weights import WANTED
from mal_core.training.loop import LabelerTrainer
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal
from tests.malicious import write_checkpoint

OFFICIAL = {"state_dict": {"student.backbone.cls_token": torch.zeros(1, 1, 8)}}
CODE = f"is refused: to open it is to call posix.mkdir, which is code and no weights. Nothing of it was run. {WANTED}"  # noqa: E501


@pytest.fixture
def mal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `mal` in this process: exit status, stderr."""
    from flows.commands.cli import main

    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str]:
        status = main([*arguments, f"workdir={tmp_path / 'work'}"])
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "evil.pth", tmp_path / "ran")


def settings_of(drawn: Path) -> list[str]:
    return [
        f"data.{split}.{key}={drawn / split / name}"
        for split in ("train", "val")
        for key, name in (("images", "images"), ("annotations", "annotations.json"))
    ]


PLACES = {
    "labeler": ("label", "checkpoint={}", "checkpoint={}"),
    "export": ("export", "checkpoint={}", "checkpoint={}"),
    "encoder": ("train", "encoder.weights={}", "encoder.weights={}"),
    "segmenter, before phase 1": ("run", "segmenter.weights={}", "segmenter.weights={}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_with_code_are_refused_wherever_a_setting_takes_them(
    place: str, drawn: Path, evil: Path, tmp_path: Path, mal: Callable[..., tuple[int, str]]
) -> None:
    verb, setting, named = PLACES[place]
    files = [] if verb == "export" else settings_of(drawn)
    status, err = mal(verb, *files, setting.format(evil))
    assert status == 2
    assert err.splitlines()[-1] == f"mal: {named.format(evil)} {CODE}"
    assert "Traceback" not in err
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_the_papers_code_is_no_exception(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "official.ckpt", tmp_path / "ran", OFFICIAL)
    with pytest.raises(CheckpointError) as caught:
        load_official_checkpoint(path)
    assert str(caught.value) == f"checkpoint={path} {CODE}"
    assert not (tmp_path / "ran").exists()


def test_a_labeler_in_the_store_is_no_exception(
    drawn: Path, tmp_path: Path, mal: Callable[..., tuple[int, str]]
) -> None:
    stored = write_checkpoint(
        tmp_path / "store" / "train-mal" / ("a" * 32) / "checkpoint.pth", tmp_path / "ran"
    )
    (stored.parent / "MANIFEST.json").write_text("{}")
    status, err = mal("label", *settings_of(drawn), "checkpoint=latest")
    assert status == 2
    assert err.splitlines()[-1] == f"mal: checkpoint={stored} {CODE}"
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def trainer() -> LabelerTrainer:
    from mal_core.models.labeler import build_labeler

    config = tiny_mal()
    return LabelerTrainer(build_labeler(TINY_ENCODER, config)[0], config, seed=0)


def test_the_state_of_an_interrupted_training_is_no_exception(
    trainer: LabelerTrainer, tmp_path: Path
) -> None:
    path = write_checkpoint(tmp_path / "state.pth", tmp_path / "ran")
    with pytest.raises(CheckpointError) as caught:
        trainer.load(path)
    assert str(caught.value) == f"state {path} {CODE}"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("change", [{"labeler": {}}, {"step": "a"}, {"optimizer": None}])
def test_a_state_of_something_else_is_no_traceback(
    change: dict[str, Any], trainer: LabelerTrainer, tmp_path: Path
) -> None:
    trainer.save(tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    torch.save({**state, **change}, tmp_path / "state.pth")
    with pytest.raises(CheckpointError, match=r"is not of this training .* Delete it"):
        trainer.load(tmp_path / "state.pth")


def test_a_file_in_the_cache_of_a_hub_is_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    path = write_checkpoint(tmp_path / "hub" / "checkpoints" / "vit.pth", tmp_path / "ran")
    with pytest.raises(CheckpointError) as caught:
        hub_tensors({"url": "https://example.org/vit.pth"})
    assert str(caught.value) == f"the hub's file {path} {CODE}"
    assert not (tmp_path / "ran").exists()


def test_nor_is_the_cache_of_hugging_face(
    evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    def download(*_place: str, filename: str = "", **_rest: object) -> str:
        """What the hub's client does offline, once a file is in its cache."""
        if filename.endswith(".safetensors") or not _place:
            raise EntryNotFoundError(filename)
        return str(evil)

    monkeypatch.setattr(_hub, "hf_hub_download", download)
    cfg = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert cfg is not None
    with pytest.raises(CheckpointError) as caught:
        build_encoder(EncoderConfig(name="vit_tiny_patch16_224", pretrained=True), 64)
    assert str(caught.value) == f"the hub's file of {cfg.hf_hub_id} {CODE}"
    assert not (tmp_path / "ran").exists()


def test_names_in_the_settings_of_a_labeler_lead_to_no_other_file(tmp_path: Path) -> None:
    from mal_core.models.checkpoints import load_labeler

    other = {"name": "vit_tiny_patch16_224", "options": {"checkpoint_path": os.devnull}}
    torch.save({"format": 1, "encoder": other, "mal": {}}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=r"its settings cannot be read \(encoder.options.che"):
        load_labeler(tmp_path / "c.pth")
