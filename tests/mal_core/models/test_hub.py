"""A hub that does not answer is asked once, and its cache is read all the same."""

import re
import socket
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.labelers.weights import find_detector
from mal_core.models.encoder import build_encoder
from mal_core.models.hub import hub_or_cache
from mal_core.models.pretrained import hub_tensors

REPOSITORY = "timm/deit_tiny_patch16_224.fb_in1k"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy of the machine, no cache of the user."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where nothing listens."""
    place = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setattr(constants, "ENDPOINT", place)
    return place


def cached(folder: Path) -> dict[str, torch.Tensor]:
    """The hub's cache with one file."""
    root = folder / f"models--{REPOSITORY.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("a" * 40)
    (root / "snapshots" / ("a" * 40)).mkdir(parents=True)
    tensors = {"norm.weight": torch.ones(3)}
    save_file(tensors, root / "snapshots" / ("a" * 40) / "model.safetensors")
    return tensors


def test_a_closed_port_is_told_at_once(endpoint: str) -> None:
    started = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        build_encoder(EncoderConfig(name="deit_tiny_patch16_224", pretrained=True), 64)
    assert time.monotonic() - started < 5
    assert str(caught.value) == (
        "weights for encoder.name='deit_tiny_patch16_224' from hub: deit_tiny_patch16_224 could "
        f"not be loaded ({endpoint} is out of reach, and the hub's cache here lacks {REPOSITORY}). "
        "Give a local file that fits as encoder.weights=PATH, or encoder.pretrained=false for "
        "random weights."
    )


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = f"HF_HUB_OFFLINE is set, and the hub's cache here lacks {REPOSITORY}"
    with pytest.raises(ConnectionError, match=f"^{re.escape(said)}$"):
        hub_tensors({"hf_hub_id": REPOSITORY})


def test_what_lies_in_the_cache_needs_no_hub(endpoint: str) -> None:
    written = cached(Path(constants.HF_HUB_CACHE))
    read = hub_tensors({"hf_hub_id": REPOSITORY})
    assert torch.equal(read["norm.weight"], written["norm.weight"])
    assert constants.HF_HUB_OFFLINE is False


def test_the_weights_of_another_labeler_are_told_alike(endpoint: str) -> None:
    said = (
        f"--weights some/detector: no folder here; {endpoint} is out of reach, and the hub's "
        "cache here lacks some/detector."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        find_detector("some/detector", ["owlv2"])


@pytest.mark.parametrize("through", ["direct", "proxy", "no_proxy"])
def test_who_listens_on_the_way_is_asked(through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        open_at = f"127.0.0.1:{server.getsockname()[1]}"
        closed_at = f"127.0.0.1:{closed_port()}"
        hub, proxy = (closed_at, open_at) if through == "proxy" else (open_at, closed_at)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://{hub}")
        if through != "direct":
            monkeypatch.setenv("http_proxy", proxy)
        if through == "no_proxy":
            monkeypatch.setenv("no_proxy", "127.0.0.1")
        with hub_or_cache():
            assert not constants.HF_HUB_OFFLINE
