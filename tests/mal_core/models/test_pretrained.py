"""Files of weights: read safely, unwrapped, sorted into an encoder's own and known extras."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from mal_core.errors import CheckpointError
from mal_core.models.pretrained import (
    LoadReport,
    hub_tensors,
    mismatch,
    read_tensors,
    split_tensors,
)

ONE = {"norm.weight": torch.ones(2)}


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"model": t}, lambda t: {"teacher": t}])
def test_tensors_are_found_in_their_container(wrap, tmp_path):
    torch.save(wrap(ONE), tmp_path / "a.pth")
    assert torch.equal(read_tensors(tmp_path / "a.pth")["norm.weight"], ONE["norm.weight"])


def test_safetensors_are_read(tmp_path):
    save_file(ONE, tmp_path / "a.safetensors")
    assert list(read_tensors(tmp_path / "a.safetensors")) == ["norm.weight"]


def test_settings_beside_the_tensors_are_no_code(tmp_path):
    torch.save({"model": ONE, "args": Namespace(lr=1)}, tmp_path / "a.pth")
    assert list(read_tensors(tmp_path / "a.pth")) == ["norm.weight"]


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_text_is_refused(name, tmp_path):
    (tmp_path / name).write_text("these are no weights")
    with pytest.raises(CheckpointError, match="no readable file"):
        read_tensors(tmp_path / name)


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="no named tensors"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.base_encoder."])
def test_wrappers_come_off(prefix):
    kept, unused = split_tensors({f"{prefix}norm.weight": torch.ones(1)})
    assert (list(kept), unused) == (["norm.weight"], ())


def test_only_known_extras_are_set_aside():
    names = ["head.norm.weight", "head.weight", "decoder_blocks.0.norm1.bias", "mask_token", "new"]
    kept, unused = split_tensors({name: torch.ones(1) for name in names})
    assert list(kept) == ["head.norm.weight", "new"]
    assert unused == ("head.weight", "decoder_blocks.0.norm1.bias", "mask_token")


def test_a_mismatch_names_every_kind_of_key():
    layer = torch.nn.Linear(2, 3)
    with pytest.raises(RuntimeError) as caught:
        layer.load_state_dict({"weight": torch.zeros(4, 4), "other": torch.zeros(1)})
    assert mismatch(caught.value) == ("missing: bias; unexplained: other; of another shape: weight")


def test_a_model_without_published_weights_is_refused():
    with pytest.raises(CheckpointError, match=r"no weights for a_model: give encoder\.weights"):
        hub_tensors({"architecture": "a_model"})


def test_the_report_says_what_is_loaded_random_and_left_over():
    report = LoadReport(source="a.pth", num_loaded=7, random_parts=("stem",), unused=("head.bias",))
    assert str(report) == ("encoder weights: a.pth (7 tensors); random: stem; not used: head.bias")
