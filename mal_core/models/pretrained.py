"""Pretrained tensors of an encoder: read, unwrapped, and every one of them explained."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models import load_state_dict_from_hf
from torch import Tensor

from mal_core.errors import CheckpointError

CONTAINERS = ("state_dict", "model", "model_state", "teacher", "student")
"""Where training programs put the tensors of a checkpoint; the first that fits is taken."""
PREFIXES = ("module.base_encoder.", "base_encoder.", "module.backbone.", "backbone.", "module.")
"""What wrappers put before an encoder's own names: MoCo-v3, DINO, DataParallel."""
EXTRAS = (
    r"(module\.)?(momentum_encoder|predictor)\.",  # MoCo-v3
    r"decoder_(embed|pos_embed|blocks|norm|pred)\b",  # MAE
    r"(module\.)?head\.(mlp|last_layer)\b",  # DINO
    r"head\.\d+\.",  # the projection of a contrastive method
    r"mask_token$",
    r"(head|head_dist|fc|classifier)\.(weight|bias)$",
    r"head\.fc\.(weight|bias)$",
)
"""Parts of known trainings that are no part of an encoder."""
SHOWN_KEYS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What the encoder's weights are.

    Attributes:
        source: "random", "hub: NAME" or the path of the local file.
        num_loaded: Tensors of the encoder that came from the source.
        random_parts: Modules that did not come from the source.
        unused: Tensors of the source that are no part of an encoder, such as a classifier.
    """

    source: str
    num_loaded: int = 0
    random_parts: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for logs and reports."""
        if self.source == "random":
            return "encoder weights: random"
        parts = [f"encoder weights: {self.source} ({self.num_loaded} tensors)"]
        if self.random_parts:
            parts.append(f"random: {', '.join(self.random_parts)}")
        if self.unused:
            parts.append(f"not used: {shorten(self.unused)}")
        return "; ".join(parts)


def shorten(keys: tuple[str, ...] | list[str]) -> str:
    """The first keys, and how many more there are."""
    hidden = len(keys) - SHOWN_KEYS
    suffix = f" and {hidden} more" if hidden > 0 else ""
    return ", ".join(keys[:SHOWN_KEYS]) + suffix


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors file or of a PyTorch checkpoint.

    Raises:
        CheckpointError: Unreadable, or nothing in it is a mapping of names to tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types here
        message = (
            f"encoder.weights={path} is no readable file of weights ({type(error).__name__}). "
            "Wanted: .safetensors, or a PyTorch file that holds tensors and plain values only."
        )
        raise CheckpointError(message) from error
    tensors = _tensors_in(content)
    if not tensors:
        message = f"encoder.weights={path} holds no named tensors."
        raise CheckpointError(message)
    return tensors


def _tensors_in(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for name in CONTAINERS:
        if isinstance(content.get(name), Mapping):
            return _tensors_in(content[name])
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def hub_tensors(settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Download (or take from the hub's cache) the tensors of one of timm's models.

    Args:
        settings: timm's pretrained_cfg of the model.

    Raises:
        CheckpointError: timm knows no weights of this model.
        OSError: The hub is out of reach.
    """
    filename = settings.get("hf_hub_filename")
    if settings.get("hf_hub_id"):
        named = {"filename": filename} if filename else {}
        return dict(load_state_dict_from_hf(settings["hf_hub_id"], weights_only=True, **named))
    if settings.get("url") and not settings.get("custom_load"):
        loaded = torch.hub.load_state_dict_from_url(
            settings["url"], map_location="cpu", weights_only=True
        )
        return _tensors_in(loaded)
    message = f"timm has no weights for {settings.get('architecture')}: give encoder.weights=FILE."
    raise CheckpointError(message)


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's tensors under their own names, and the names of known extras."""
    prefix = next((p for p in PREFIXES if any(key.startswith(p) for key in tensors)), "")
    kept: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, value in tensors.items():
        inner = key.removeprefix(prefix)
        if any(re.match(pattern, inner) for pattern in EXTRAS):
            unused.append(key)
        else:
            kept[inner] = value
    return kept, tuple(unused)


def mismatch(error: RuntimeError) -> str:
    """Which keys are missing, unexplained or of another shape, out of a message of torch."""
    text = " ".join(str(error).split())
    found = []
    for title, label in (("Missing key", "missing"), ("Unexpected key", "unexplained")):
        match = re.search(rf"{title}\(s\) in state_dict: ((?:\"[^\"]+\",? ?)+)", text)
        if match:
            keys = re.findall(r'"([^"]+)"', match[1])
            found.append(f"{label}: {shorten(keys)}")
    sizes = re.findall(r"size mismatch for ([\w.]+)", text)
    if sizes:
        found.append(f"of another shape: {shorten(sizes)}")
    return "; ".join(found)
