"""The instance-aware mask decoder: logits are the inner product of K and V.

Shape letters: B crops, E feature dim, C head channels, h w feature grid.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class InstanceHead(nn.Module):
    """K: one vector for the object in the crop (spec 3.2)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, channels), nn.ReLU(), nn.Linear(channels, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, E, h, w) -> instance vectors (B, C)."""
        return self.layers(features.mean((2, 3)))


class PixelHead(nn.Module):
    """V: one non-negative vector per pixel, at twice the resolution of its input (spec 3.2)."""

    def __init__(self, width: int, channels: int, num_convs: int) -> None:
        super().__init__()
        widths = [width, *[channels] * num_convs]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, E, h, w) -> pixel vectors (B, C, 2h, 2w)."""
        last = len(self.convs) - 1
        for index, conv in enumerate(self.convs):
            if index == last:
                features = F.interpolate(features, scale_factor=2, mode="bilinear")
            features = F.relu(conv(features))
        return features
