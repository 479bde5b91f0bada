"""Checkpoints whose parts do not belong together: refused by name, before memory is taken."""

import dataclasses
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models.checkpoints import load_labeler, save_labeler
from mal_core.models.labeler import build_labeler
from mal_core.processes.records import to_json
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

Content = dict[str, Any]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[Content], object]], Path]:
    """A sound checkpoint, with a change."""

    def write(change: Callable[[Content], object], encoder: EncoderConfig = TINY_ENCODER) -> Path:
        path = tmp_path / "labeler.pth"
        labeler, report = build_labeler(encoder, tiny_mal())
        save_labeler(
            path,
            labeler,
            encoder=to_json(encoder),
            mal=to_json(tiny_mal()),
            load_report=str(report),
        )
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
        return path

    return write


def name_of(content: Content) -> str:
    return next(iter(content["student"]))


@pytest.mark.parametrize("options", [{}, {"depth": 2}], ids=["timms_depth", "own_depth"])
def test_a_sound_one_is_read(options: Content, changed: Callable[..., Path]) -> None:
    small = {"embed_dim": 24, "num_heads": 1, **options}
    encoder = dataclasses.replace(TINY_ENCODER, options=small)
    labeler, _ = load_labeler(changed(lambda content: None, encoder))
    assert not labeler.training


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_numbers_that_are_none_are_named(network: str, changed: Callable[..., Path]) -> None:
    key = ""

    def change(content: Content) -> None:
        nonlocal key
        key = name_of(content)
        content[network][key] = torch.full_like(content[network][key], float("nan"))

    path = changed(change)
    with pytest.raises(CheckpointError) as caught:
        load_labeler(path)
    assert str(caught.value) == (
        f"checkpoint={path} holds a NaN or an infinity in {network}.{key}: its training went "
        "astray, or the file is damaged. Train it again."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["student"].pop(name_of(c)), "missing: "),
        (lambda c: c["student"].update(extra=torch.zeros(1)), "unexplained: extra."),
        (lambda c: c["student"].update({name_of(c): torch.zeros(7)}), "of another shape: "),
        (lambda c: c["student"].update({name_of(c): "text"}), "of another shape: "),
        (lambda c: c.update(student=[1]), "missing: "),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    change: Callable[[Content], object], said: str, changed: Callable[..., Path]
) -> None:
    path = changed(change)
    with pytest.raises(CheckpointError) as caught:
        load_labeler(path)
    start, found, _ = str(caught.value).partition(said)
    assert start.startswith(f"{path}: the student's tensors do not fit its settings: ")
    assert found


@pytest.mark.parametrize("familiar", [5, {"points": [1], "limit": 1.0}, {"points": None}])
def test_what_is_no_set_of_familiar_crops_is_told(
    familiar: object, changed: Callable[..., Path]
) -> None:
    path = changed(lambda content: content.update(familiar=familiar))
    with pytest.raises(CheckpointError, match="its settings cannot be read"):
        load_labeler(path)


def test_settings_that_ask_for_all_memory_get_none(changed: Callable[..., Path]) -> None:
    """Ten million features are 1.2 PB of weights."""
    wide = {"embed_dim": 10_000_000, "num_heads": 1, "depth": 1}
    path = changed(lambda content: content["encoder"]["options"].update(wide))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CheckpointError, ConfigError)):
        load_labeler(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize(
    "deep",
    [
        lambda content: content["encoder"]["options"].update(depth=10**9),
        lambda content: content["encoder"]["options"].update(depths=(2, 10**9)),
        lambda content: content["mal"].update(head_convs=10**9),
    ],
    ids=["blocks", "stages", "convolutions"],
)
def test_settings_that_ask_for_all_time_get_none(
    deep: Callable[[Content], object], changed: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointError, match=r"\d+ tensors are not those of 1000000000 layers"):
        load_labeler(changed(deep))
