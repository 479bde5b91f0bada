"""Weights are read and never run: what is refused, with which words, and what honest files hold."""

import argparse
import os
import re
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models import safe_weights
from mal_core.models.safe_weights import WANTED, read_weights
from mal_core.processes.children import child_environment
from tests.malicious import Payload, bare_pickle, really_malicious, write_checkpoint

ROOT = Path(__file__).resolve().parents[3]


def legacy(path: Path, mark: Path) -> None:
    content = {"a": torch.zeros(1), "x": Payload(eval, f"__import__('os').mkdir({str(mark)!r})")}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def called(function: Any, *arguments: Any) -> Any:
    return lambda path, mark: torch.save({"x": Payload(function, *arguments)}, path)


REFUSED = {
    "zip": (write_checkpoint, "posix.mkdir"),
    "the format before zip": (legacy, "eval"),
    "a bare pickle": (lambda path, mark: path.write_bytes(bare_pickle(mark, 2)), "posix.mkdir"),
    "a program": (
        called(subprocess.check_output, "true"),
        "commands.check_output",
    ),  # by its name in Python 2, as protocol 2 has it
    "a module's content": (called(os.getenv, "HOME"), "os.getenv"),
    "code as text": (called(exec, "raise SystemExit"), "exec"),
    "an import": (called(__import__, "antigravity"), "__import__"),
    "a file": (called(open, "/etc/passwd"), "io.open"),
    "numpy's own unpickler": (called(np.load, "x.npy"), "numpy.load"),
    "torch's own unpickler": (called(torch.load, "x.pth"), "torch.serialization.load"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_names_code_is_refused_and_nothing_runs(case: str, tmp_path: Path) -> None:
    write, name = REFUSED[case]
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    write(path, mark)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, f"checkpoint={path}")
    assert str(caught.value) == (
        f"checkpoint={path} is refused: to open it is to call {name}, which is code and no "
        f"weights. Nothing of it was run. {WANTED}"
    )
    assert not mark.exists()


def test_the_payloads_of_these_tests_do_run_where_nobody_looks(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "evil.pth", tmp_path / "ran")
    assert really_malicious(path, tmp_path / "ran")


ODD = "it is damaged, or of another kind"
UNREADABLE = {
    "empty": (b"", "it is empty"),
    "text": (b"hello, these are\nno weights", "it is text, which begins with 'hello, "),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "it is a pointer of git LFS; run `git lfs pull` where it lies",
    ),
    "a page": (b"<!DOCTYPE html>", "it is a web page or XML; download the file itself"),
    "gzip": (b"\x1f\x8b\x08", "it is packed by gzip; unpack it"),
    "a newer pickle": (bare_pickle(Path("/nowhere"), 4), ODD),
    "half a zip": (b"PK\x03\x04" + bytes(60), ODD),
    "safetensors by another name": (
        b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}',
        "it looks like safetensors; end its name with .safetensors",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_of_something_else_is_named(case: str, tmp_path: Path) -> None:
    content, seen = UNREADABLE[case]
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, f"w={path}")
    assert str(caught.value).startswith(f"w={path} is no readable file of weights: {seen}")
    assert str(caught.value).endswith(f". {WANTED}")


def test_a_file_of_torch_that_is_called_safetensors_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "a.safetensors", "w")
    assert str(caught.value) == (
        "w is no readable file of weights: it looks like a PyTorch file; end its name with .pth. "
        f"{WANTED}"
    )


def test_a_file_that_lost_its_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, "w")
    assert str(caught.value) == f"w is no readable file of weights: {ODD}. {WANTED}"


def test_arrays_of_python_objects_are_refused(tmp_path: Path) -> None:
    torch.save({"x": np.array([None, "a"], dtype=object)}, tmp_path / "objects.pth")
    with pytest.raises(CheckpointError, match="no readable file of weights"):
        read_weights(tmp_path / "objects.pth", "w")


def test_what_honest_trainings_leave_beside_tensors_is_read(tmp_path: Path) -> None:
    honest = {
        "state_dict": OrderedDict(a=torch.ones(2)),
        "ap": np.float64(0.5),
        "iter": np.int64(7),
        "palette": np.arange(6, dtype=">i2").reshape(2, 3).T,
        "names": np.array(["cat", "Straße"]),
        "args": argparse.Namespace(lr=0.1),
    }
    torch.save(honest, tmp_path / "honest.pth")
    for _ in range(2):  # and once more as we would write it
        found = read_weights(tmp_path / "honest.pth", "w")
        assert torch.equal(found["state_dict"]["a"], torch.ones(2))
        assert (found["ap"], found["iter"], found["args"].lr) == (0.5, 7, 0.1)
        assert found["palette"].tolist() == honest["palette"].tolist()
        assert found["names"].tolist() == ["cat", "Straße"]
        torch.save(found, tmp_path / "honest.pth")


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors", "w")["a"].sum() == 3


def test_what_others_allow_torch_to_call_does_not_count_here(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "evil.pth", tmp_path / "ran")
    with torch.serialization.safe_globals([(os.mkdir, "builtins.mkdir"), os.getenv]):
        torch.save({"x": Payload(os.getenv, "HOME")}, tmp_path / "env.pth")
        for file in (path, tmp_path / "env.pth"):
            with pytest.raises(CheckpointError, match="is refused"):
                read_weights(file, "w")
        assert os.getenv in torch.serialization.get_safe_globals()


def test_methods_are_not_fetched_by_name(tmp_path: Path) -> None:
    torch.save({"x": Payload(getattr, torch.Size([1]), "count")}, tmp_path / "method.pth")
    assert read_weights(tmp_path / "method.pth", "w") == {"x": None}


def test_no_other_place_in_this_project_unpickles() -> None:
    unpickling = re.compile(
        r"\btorch\.load\(|torch\.hub\.load|\bpickle\.loads?\(|allow_pickle|yaml\.(unsafe_|full_)?load\("
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("mal_core", "flows", "phase2_configs", "scenes")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(safe_weights.__file__)
        for line in path.read_text().splitlines()
        if unpickling.search(line)
    ]
    assert not found


def test_children_of_a_careless_shell_are_careful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    environment = child_environment()
    assert environment["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in environment


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_an_encoder_has_no_other_way_to_weights(key: str) -> None:
    message = (
        f"encoder.options.{key} is not possible: weights come by encoder.weights=FILE or "
        "encoder.pretrained=true only."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        EncoderConfig(name="vit_tiny_patch16_224", options={key: "evil.pth"})
