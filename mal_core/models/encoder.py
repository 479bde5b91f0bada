"""A timm Vision Transformer as a feature map, with an account of what was loaded.

Shape letters: B crops, E feature dim, S crop side, h w feature grid.
"""

import difflib
import logging
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What the encoder's weights are.

    Attributes:
        source: "random", "hub: NAME" or the path of the local file.
        random_parts: Modules that did not come from the source.
    """

    source: str
    random_parts: tuple[str, ...]

    def __str__(self) -> str:
        """One line for logs and reports."""
        if self.source == "random":
            return "encoder weights: random"
        suffix = f"; random: {', '.join(self.random_parts)}" if self.random_parts else ""
        return f"encoder weights: {self.source}{suffix}"


class ConvStem(nn.Module):
    """Strided 3x3 convolutions in place of the one-step patch projection (spec 3.1)."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        num_stages = int(math.log2(patch_size))
        channels = [3, *(width >> (num_stages - 1 - i) for i in range(num_stages))]
        stages: list[nn.Module] = []
        for before, after in pairwise(channels):
            stages += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, after, eps=1e-6),
                nn.GELU(),
            ]
        self.stages = nn.Sequential(*stages, nn.Conv2d(width, width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, S, S) -> patch embeddings (B, E, S/p, S/p)."""
        return self.stages(image)


class Encoder(nn.Module):
    """Last-layer patch tokens of a timm ViT, as a map.

    Attributes:
        width: Feature dim E.
        patch_size: Pixels per token side.
        mean, std: Per-channel normalisation that the weights expect.
    """

    def __init__(self, vit: VisionTransformer, frozen_stages: int) -> None:
        super().__init__()
        self.vit = vit
        self.width: int = vit.embed_dim
        self.patch_size: int = vit.patch_embed.patch_size[0]
        source = cast("dict[str, Any]", vit.pretrained_cfg)
        self.mean: tuple[float, ...] = tuple(source["mean"])
        self.std: tuple[float, ...] = tuple(source["std"])
        self._freeze(frozen_stages)

    def _freeze(self, frozen_stages: int) -> None:
        if frozen_stages:
            self.vit.patch_embed.requires_grad_(False)
            self.vit.blocks[:frozen_stages].requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self.vit.set_grad_checkpointing(True)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) -> features (B, E, S/p, S/p)."""
        tokens = self.vit.forward_features(image)[:, self.vit.num_prefix_tokens :]
        side = image.shape[-1] // self.patch_size
        return tokens.transpose(1, 2).unflatten(2, (side, side))


def check_encoder_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ConfigError: Unknown name; the message lists similar ones.
    """
    if timm.is_model(name):
        return
    similar = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=5, cutoff=0.4)
    message = (
        f"encoder.name={name!r} is no timm model; similar names: {', '.join(similar) or 'none'}."
    )
    raise ConfigError(message)


def build_encoder(config: EncoderConfig, crop_size: int) -> tuple[Encoder, LoadReport]:
    """Build the encoder and load its weights.

    Position embeddings of pretrained weights are resampled to the crop's grid.

    Raises:
        ConfigError: Unknown model, no Vision Transformer, or options that do not fit.
        CheckpointError: The weights do not fit the model, or the hub is out of reach.
    """
    check_encoder_name(config.name)
    vit = _create(config, crop_size)
    if not isinstance(vit, VisionTransformer):
        message = f"encoder.name={config.name!r} is not a plain Vision Transformer of timm."
        raise ConfigError(message)
    random_parts: tuple[str, ...] = ()
    patch_size = vit.patch_embed.patch_size[0]
    if crop_size % patch_size:
        message = f"mal.crop_size={crop_size} is no multiple of the patch size {patch_size}."
        raise ConfigError(message)
    if config.stem == "conv":
        vit.patch_embed.proj = ConvStem(vit.embed_dim, patch_size)
        random_parts = ("convolutional stem",)
    report = LoadReport(source=_source(config), random_parts=random_parts)
    return Encoder(vit, config.frozen_stages), report


def _source(config: EncoderConfig) -> str:
    if config.weights is not None:
        return str(config.weights)
    return f"hub: {config.name}" if config.pretrained else "random"


def _create(config: EncoderConfig, crop_size: int) -> nn.Module:
    arguments: dict[str, Any] = {
        "num_classes": 0,
        "img_size": crop_size,
        "dynamic_img_size": True,
        "drop_path_rate": config.drop_path,
        **config.options,
    }
    if config.weights is not None:
        _require_file(config.weights)
        arguments["pretrained_cfg_overlay"] = {"file": str(config.weights)}
    try:
        return timm.create_model(
            config.name, pretrained=config.pretrained or config.weights is not None, **arguments
        )
    except TypeError as error:
        message = f"encoder.name={config.name!r} with options {config.options}: {error}"
        raise ConfigError(message) from error
    except (RuntimeError, OSError, KeyError) as error:
        message = (
            f"weights for encoder.name={config.name!r} from {_source(config)} could not be loaded "
            f"({type(error).__name__}: {_start(error)}). Give a local file that fits as "
            "encoder.weights=PATH, or encoder.pretrained=false for random weights."
        )
        raise CheckpointError(message) from error


def _start(error: Exception) -> str:
    """What torch and the hub say first; what follows is advice for programmers."""
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _require_file(path: Path) -> None:
    if not path.is_file():
        message = f"encoder.weights={path}: no such file."
        raise ConfigError(message)


def normalize(image_u8: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 images (B, S, S, 3) -> normalised float32 (B, 3, S, S)."""
    image = image_u8.permute(0, 3, 1, 2).to(torch.float32) / 255
    shift = torch.tensor(mean, device=image.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=image.device).view(1, 3, 1, 1)
    return (image - shift) / scale
