"""Pretrained tensors of an encoder: read, unwrapped, and every one of them explained."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from huggingface_hub.errors import LocalEntryNotFoundError
from timm.models import load_state_dict_from_hf
from timm.models._hub import download_cached_file
from torch import Tensor

from mal_core.errors import CheckpointError
from mal_core.models.hub import hub_or_cache, out_of_reach
from mal_core.models.safe_weights import read_weights, refusal

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
    r"(prompt_encoder|mask_decoder)\.",  # SAM
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
    """The named tensors of a .safetensors file or of a PyTorch checkpoint, of any shape and dtype.

    Raises:
        CheckpointError: Unreadable, or nothing in it is a mapping of names to tensors.
    """
    content = read_weights(path, f"encoder.weights={path}")
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

    Returns:
        By timm's names, of any shape and dtype.

    Raises:
        CheckpointError: timm knows no weights of this model, or its file names code.
        OSError: The hub is out of reach.
    """
    if settings.get("hf_hub_id"):
        return _from_hugging_face(settings["hf_hub_id"], settings.get("hf_hub_filename"))
    if settings.get("url") and not settings.get("custom_load"):
        path = Path(download_cached_file(settings["url"], progress=False))
        return _tensors_in(read_weights(path, f"the hub's file {path}"))
    message = f"timm has no weights for {settings.get('architecture')}: give encoder.weights=FILE."
    raise CheckpointError(message)


def _from_hugging_face(repository: str, filename: str | None) -> dict[str, Tensor]:
    named = {"filename": filename} if filename else {}
    try:
        with hub_or_cache():
            return dict(load_state_dict_from_hf(repository, weights_only=True, **named))
    except LocalEntryNotFoundError as error:
        raise ConnectionError(out_of_reach(repository)) from error
    except (RuntimeError, UnpicklingError) as error:
        found = error if isinstance(error, UnpicklingError) else error.__cause__
        if not isinstance(found, UnpicklingError):
            raise
        raise CheckpointError(refusal(found, f"the hub's file of {repository}")) from error


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's tensors under their own names, and the names of known extras.

    Args:
        tensors: Of a whole model, of any shape.

    Returns:
        Those of the encoder as they are, same shapes, and the names of those left out.
    """
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
