"""Any encoder of timm as one feature map, with an account of what was loaded.

Shape letters: B crops, E feature dim, S crop side, h w feature grid.
"""

import dataclasses
import logging
import math
from itertools import pairwise
from typing import Any, Self, cast

import timm
import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from mal_core.config import EncoderConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.models import lite_names
from mal_core.models.encoder_names import check_encoder_name
from mal_core.models.encoder_options import drop_path_arguments, sketch
from mal_core.models.hierarchical import HierarchicalEncoder, hierarchical_arguments
from mal_core.models.pretrained import (
    LoadReport,
    hub_tensors,
    mismatch,
    read_tensors,
    split_tensors,
)
from mal_core.models.safe_weights import not_finite
from mal_core.models.weight_packages import packaged_weights

logger = logging.getLogger(__name__)

SHOWN_CHARACTERS = 600
Plain = VisionTransformer | Eva | VisionTransformerSAM
"""Of one stride; the last is SAM's image encoder."""


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
    """Last-layer patch tokens of a plain Vision Transformer, as a map; of SAM's, its neck's map.

    Attributes:
        width: Feature dim E.
        patch_size: Pixels per token side, p.
        mean, std: Per-channel normalisation that the weights expect.
    """

    def __init__(self, vit: Plain, frozen_stages: int) -> None:
        super().__init__()
        self.vit = vit
        self.width: int = vit.num_features
        self.patch_size = _patch_size(vit)
        self.mean, self.std = normalisation(vit)
        self.frozen: list[nn.Module] = []
        if frozen_stages:
            blocks = cast("nn.ModuleList", vit.blocks)
            self.frozen = [vit.patch_embed, *blocks[:frozen_stages]]
        for part in (*self.frozen, getattr(vit, "fc_norm", None), getattr(vit, "attn_pool", None)):
            if part is not None:  # the pooling parts of some models are never asked
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode: no dropped paths."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self.vit.set_grad_checkpointing(True)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) -> features (B, E, h, w), h = w = S/p rounded.

        Where p does not divide S the image is resized to the nearest side that it divides.
        """
        side = max(1, round(image.shape[-1] / self.patch_size))
        wanted = side * self.patch_size
        if wanted != image.shape[-1]:
            image = F.interpolate(image, size=(wanted, wanted), mode="bilinear")
        found = self.vit.forward_features(image)
        if isinstance(self.vit, VisionTransformerSAM):
            return found
        tokens = found[:, self.vit.num_prefix_tokens :]
        return tokens.transpose(1, 2).unflatten(2, (side, side))


def build_encoder(
    config: EncoderConfig, crop_size: int
) -> tuple[Encoder | HierarchicalEncoder, LoadReport]:
    """Build the encoder and load its weights.

    Position embeddings of pretrained weights are resampled to the crop's grid.

    Raises:
        ConfigError: Unknown model, one without feature maps, or options that do not fit.
        CheckpointError: Tensors are missing, unexplained or of another shape, or the hub is
            out of reach.
    """
    check_encoder_name(config.name)
    arguments = _arguments(config, crop_size)  # what does not suit is refused before a download
    tensors, unused = _pretrained(config)
    model = _create(config, tensors, {**arguments, **config.options})
    random_parts: list[str] = []
    num_loaded = len(model.state_dict()) if tensors else 0
    encoder: Encoder | HierarchicalEncoder
    if isinstance(model, Plain):
        if config.stem == "conv":
            model.patch_embed.proj = ConvStem(model.embed_dim, _patch_size(model))
            random_parts = ["convolutional stem"]
            num_loaded -= 2
        encoder = Encoder(model, config.frozen_stages)
    else:
        encoder = HierarchicalEncoder(model, config.frozen_stages, pretrained=bool(tensors))
        random_parts = ["fusion of the feature maps"]
    report = LoadReport(
        source=_source(config),
        num_loaded=num_loaded,
        random_parts=tuple(random_parts),
        unused=unused,
    )
    return encoder, report


def _patch_size(vit: Plain) -> int:
    """Pixels per token side."""
    return cast("int", cast("Any", vit.patch_embed).patch_size[0])


def normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel that a timm model's weights expect."""
    settings = cast("dict[str, Any]", model.pretrained_cfg)
    return tuple(settings["mean"]), tuple(settings["std"])


def _source(config: EncoderConfig) -> str:
    if config.weights is not None:
        return str(config.weights)
    if not config.pretrained:
        return "random"
    installed = packaged_weights(config.name)
    return f"hub: {config.name}" if installed is None else f"package: {installed.name}"


def _arguments(config: EncoderConfig, crop_size: int) -> dict[str, Any]:
    """What this family of models has to be told: the size of its images, dropped paths."""
    model = sketch(config.name, config.options)
    return {
        **_size_arguments(model, config, crop_size),
        **drop_path_arguments(config.name, config.options, config.drop_path),
    }


def _size_arguments(model: nn.Module, config: EncoderConfig, crop_size: int) -> dict[str, Any]:
    if not isinstance(model, Plain):
        if config.stem == "conv":
            message = f"encoder.stem=conv: {config.name!r} is no plain Vision Transformer."
            raise ConfigError(message)
        return hierarchical_arguments(model, config.name, crop_size)
    patch_size = _patch_size(model)
    if config.stem == "conv" and patch_size & (patch_size - 1):
        message = f"encoder.stem=conv: the patch size {patch_size} is no power of two."
        raise ConfigError(message)
    if isinstance(model, VisionTransformerSAM):
        return {}  # it resamples its position embeddings itself, with every pass
    side = max(1, round(crop_size / patch_size)) * patch_size
    return {"img_size": side, "dynamic_img_size": True}


def _pretrained(config: EncoderConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's own tensors, none for random weights, and the names of known extras."""
    if config.weights is None and not config.pretrained:
        return {}, ()
    try:
        if config.weights is not None:
            if not config.weights.is_file():
                message = f"encoder.weights={config.weights}: no such file."
                raise ConfigError(message)
            tensors = read_tensors(config.weights)
        elif (installed := packaged_weights(config.name)) is not None:
            tensors = read_tensors(installed)
        else:
            settings = timm.get_pretrained_cfg(config.name)
            tensors = hub_tensors({} if settings is None else dataclasses.asdict(settings))
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        told = isinstance(error, ConnectionError)  # by our own words
        reason = str(error) if told else f"{type(error).__name__}: {error}"
        raise CheckpointError(_refusal(config, reason)) from error
    kept, unused = split_tensors(_in_timms_names(tensors, config.name))
    _require_usable(config, kept)
    return kept, unused


def _require_usable(config: EncoderConfig, tensors: dict[str, Tensor]) -> None:
    if not tensors:
        raise CheckpointError(_refusal(config, "it has no tensors of an encoder"))
    wrong = not_finite(tensors)
    if wrong is not None:
        raise CheckpointError(_refusal(config, f"{wrong} holds a NaN or an infinity"))


def _in_timms_names(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    if "_conv_stem.weight" not in tensors:
        return tensors
    with torch.device("meta"):
        blocks = lite_names.blocks_of(timm.create_model(name, num_classes=0).state_dict())
    return {lite_names.timm_name(key, blocks): value for key, value in tensors.items()}


def _create(
    config: EncoderConfig, tensors: dict[str, Tensor], arguments: dict[str, Any]
) -> nn.Module:
    # num_classes of the weights is what keeps timm's loading strict: with any other number it
    # drops the classifier and then ignores every key that is missing or left over.
    overlay = {"state_dict": tensors, "num_classes": 0} if tensors else {"num_classes": 0}
    try:
        model = timm.create_model(
            config.name,
            pretrained=bool(tensors),
            num_classes=0,
            pretrained_cfg_overlay=overlay,
            **arguments,
        )
    except (TypeError, AssertionError, ValueError) as error:
        message = f"encoder.name={config.name!r} with options {config.options}: {error}"
        raise ConfigError(message) from error
    except (RuntimeError, KeyError) as error:
        detail = mismatch(error) if isinstance(error, RuntimeError) else ""
        reason = detail or f"{type(error).__name__}: {error}"
        raise CheckpointError(_refusal(config, reason)) from error
    settings = cast("dict[str, Any]", model.pretrained_cfg)
    settings.pop("state_dict", None)  # else every copy of the model carries the tensors
    return model


def _refusal(config: EncoderConfig, reason: str) -> str:
    """What is wrong with the weights and what to do; programmers' advice is cut off."""
    text = " ".join(reason.split())
    text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return (
        f"weights for encoder.name={config.name!r} from {_source(config)} could not be loaded "
        f"({text}). Give a local file that fits as encoder.weights=PATH, or "
        "encoder.pretrained=false for random weights."
    )


def normalize(image_u8: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 images (B, S, S, 3) -> normalised float32 (B, 3, S, S)."""
    image = image_u8.permute(0, 3, 1, 2).to(torch.float32) / 255
    shift = torch.tensor(mean, device=image.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=image.device).view(1, 3, 1, 1)
    return (image - shift) / scale
