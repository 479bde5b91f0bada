"""Mask Auto-Labeler: a student that learns and a teacher that follows it slowly.

Shape letters: B crops, S crop side.
"""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mal_core.config import EncoderConfig, MalConfig
from mal_core.geometry.boxes import MEDIUM_AREA, SMALL_AREA, size_bin
from mal_core.models.decoder import InstanceHead, PixelHead
from mal_core.models.encoder import ConvStem, Encoder, build_encoder
from mal_core.models.hierarchical import HierarchicalEncoder
from mal_core.models.outline import OutlineHead
from mal_core.models.pretrained import LoadReport
from mal_core.quality.familiarity import FamiliarCrops

LOGIT_STRIDE = 4
"""Crop pixels per logit."""
FEATURE_STRIDES = (32, 16, 8)
"""Crop pixels per feature that the pixel head sees, for small, medium and large boxes."""

NO_BIN = -1


class Sight(NamedTuple):
    """What a network makes of crops.

    Attributes:
        logits: As `MaskNetwork.forward` returns them.
        unaware: Logits before the outline head, which nobody has told where the box lies; shape
            (B, 1, S/4, S/4).
        features: Of the encoder, shape (B, E, h, w).
    """

    logits: Tensor
    unaware: Tensor
    features: Tensor


class MaskNetwork(nn.Module):
    """Encoder and decoder: one class-agnostic mask per crop (spec 3).

    Attributes:
        outline_head: Where self-training has rounds; None is the paper's network.
    """

    def __init__(self, encoder: Encoder | HierarchicalEncoder, config: MalConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.instance_head = InstanceHead(encoder.width, config.head_channels)
        self.pixel_head = PixelHead(encoder.width, config.head_channels, config.head_convs)
        rounds = config.self_training.rounds
        self.outline_head = OutlineHead(encoder.width) if rounds else None
        self.scale_adjustment = config.scale_adjustment
        self.compat_official = config.compat_official

    def forward(self, image: Tensor, boxes_xyxy: Tensor, box_mask: Tensor | None = None) -> Tensor:
        """Mask logits for the object of each crop.

        Args:
            image: Normalised crops, shape (B, 3, S, S).
            boxes_xyxy: Their boxes in px of the original image, shape (B, 4); only
                the areas matter, for the choice of scale (spec 3.3).
            box_mask: Filled boxes on the logit grid, shape (B, S/4, S/4), for the outline
                head; without them, or without that head, the boxes stay unseen.

        Returns:
            Logits, float, shape (B, 1, S/4, S/4), S/2 from the outline head. With
            `compat_official`: zeros for areas of exactly 32^2 and 96^2 px^2 (spec Q2), and
            S/2 instead of S/4 in evaluation mode without scale adjustment (spec 3.3).
        """
        return self.see(image, boxes_xyxy, box_mask).logits

    def see(self, image: Tensor, boxes_xyxy: Tensor, box_mask: Tensor | None = None) -> Sight:
        """The same, with what it was made from.

        Args:
            image: Normalised crops, shape (B, 3, S, S).
            boxes_xyxy: Their boxes in px of the original image, shape (B, 4).
            box_mask: Filled boxes on the logit grid, shape (B, S/4, S/4), or None.
        """
        features = self.encoder(image)
        instance = self.instance_head(features)
        double = self.compat_official and not (self.scale_adjustment or self.training)
        side = image.shape[-1] // (LOGIT_STRIDE // 2 if double else LOGIT_STRIDE)
        logits = features.new_zeros(len(image), 1, side, side, dtype=torch.float32)
        for rows, feature_side in self._scale_groups(boxes_xyxy, image.shape[-1]):
            scaled = _resize(features[rows], feature_side)
            pixels = self.pixel_head(scaled)
            dots = torch.einsum("bc,bchw->bhw", instance[rows], pixels)
            logits[rows] = _resize(dots.float().unsqueeze(1), side)
        if self.outline_head is None or box_mask is None:
            return Sight(logits, logits, features)
        outlined: Tensor = self.outline_head(image, features, logits, box_mask)
        return Sight(outlined, logits, features)

    def _scale_groups(
        self, boxes_xyxy: Tensor, crop_size: int
    ) -> Iterator[tuple[Tensor, int | None]]:
        """Rows of each size group with the feature side it is decoded at; None: as it is."""
        if not self.scale_adjustment:
            yield torch.arange(len(boxes_xyxy), device=boxes_xyxy.device), None
            return
        width = boxes_xyxy[:, 2] - boxes_xyxy[:, 0]
        height = boxes_xyxy[:, 3] - boxes_xyxy[:, 1]
        area = (width * height).double().cpu().numpy()
        bins = size_bin(area)
        if self.compat_official:
            bins[np.isin(area, (SMALL_AREA, MEDIUM_AREA))] = NO_BIN
        for index, stride in enumerate(FEATURE_STRIDES):
            rows = np.flatnonzero(bins == index)
            if len(rows):
                yield torch.from_numpy(rows).to(boxes_xyxy.device), crop_size // stride


def _resize(values: Tensor, side: int | None) -> Tensor:
    if side is None or values.shape[-1] == side:
        return values
    return F.interpolate(values, size=(side, side), mode="bilinear")


def _draw_again(network: MaskNetwork) -> None:
    """New random weights for everything that no pretrained file has."""
    stems = [part for part in network.encoder.modules() if isinstance(part, ConvStem)]
    for module in (network.instance_head, network.pixel_head, *stems):
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.GroupNorm):
                layer.reset_parameters()


class MaskAutoLabeler(nn.Module):
    """Student, its exponential moving average, and what is needed to feed them.

    Attributes:
        student: Trained by gradient.
        teacher: Equal to the student at step 0, then its moving average (spec 3.4). With
            `compat_official` its heads and convolutional stem start from other random
            weights than the student's (spec Q3).
        mean, std: Normalisation of the crops.
        familiar: The crops it was trained on as its student sees them; None: not known.
    """

    familiar: FamiliarCrops | None = None

    def __init__(self, student: MaskNetwork, teacher_momentum: float) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        if student.compat_official:
            _draw_again(self.teacher)
        self.teacher_momentum = teacher_momentum
        self.mean = student.encoder.mean
        self.std = student.encoder.std

    @torch.no_grad()
    def update_teacher(self) -> None:
        """Move the teacher towards the student: t <- m t + (1 - m) s."""
        weight = 1 - self.teacher_momentum
        torch._foreach_lerp_(
            list(self.teacher.parameters()), list(self.student.parameters()), weight
        )


def build_labeler(encoder: EncoderConfig, config: MalConfig) -> tuple[MaskAutoLabeler, LoadReport]:
    """A labeler ready to train, and where the encoder's weights come from."""
    network, report = build_encoder(encoder, config.crop_size)
    return MaskAutoLabeler(MaskNetwork(network, config), config.teacher_momentum), report
