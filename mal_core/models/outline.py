"""The outline head: full-resolution colors and the box correct the coarse logits.

Tokens lie 16 px apart and logits 4 px; where an object ends is seen in pixels. This head reads
the crop itself at S/2 and S/4 beside the upsampled tokens, and is told where the box lies,
which the losses from boxes alone must never show the network: a filled box would satisfy them.
It is trained in the rounds of self-training, from masks, and says nothing before.

Shape letters: B crops, E feature dim, S crop side, h w feature grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 32
"""Channels at S/2; twice as many at S/4."""
GROUPS = 8
LARGEST_LOGIT = 8.0
LARGEST_CHANGE = 8.0
CHANGE_SCALE = 4.0
LOGIT_SCALE = 0.25
"""Brings logits into the range of the other inputs."""


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.GroupNorm(GROUPS, after),
        nn.GELU(),
    )


class OutlineHead(nn.Module):
    """Corrects logits at S/4 into logits at S/2; at first by nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        fine, coarse = WIDTH, 2 * WIDTH
        self.fine = nn.Sequential(_layer(4, fine, stride=2), _layer(fine, fine))
        self.coarse = nn.Sequential(_layer(fine, coarse, stride=2), _layer(coarse, coarse))
        self.tokens = nn.Conv2d(width, coarse, 1)
        self.join_coarse = nn.Sequential(_layer(2 * coarse + 1, coarse), _layer(coarse, coarse))
        self.join_fine = nn.Sequential(_layer(coarse + fine + 1, fine), _layer(fine, fine))
        self.change = nn.Conv2d(fine, 1, 1)
        for start in self.change.parameters():
            nn.init.zeros_(start)

    def forward(self, image: Tensor, features: Tensor, logits: Tensor, box_mask: Tensor) -> Tensor:
        """Logits with the outline that the pixels show.

        Args:
            image: Normalised crops, shape (B, 3, S, S).
            features: Of the encoder, shape (B, E, h, w).
            logits: Shape (B, 1, S/4, S/4).
            box_mask: Filled boxes on the same grid, in [0, 1], shape (B, S/4, S/4).

        Returns:
            Float32, shape (B, 1, S/2, S/2).
        """
        box = _as_large(box_mask[:, None].to(image.dtype), image)
        fine = self.fine(torch.cat([image, box], 1))
        coarse = self.coarse(fine)
        known = logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        parts = [coarse, _as_large(self.tokens(features), coarse), _as_large(known, coarse)]
        parts[2] = parts[2] * LOGIT_SCALE
        joined = self.join_coarse(torch.cat(parts, 1))
        start = _as_large(known, fine)
        joined = self.join_fine(torch.cat([_as_large(joined, fine), fine, start * LOGIT_SCALE], 1))
        change = LARGEST_CHANGE * torch.tanh(self.change(joined).float() / CHANGE_SCALE)
        return start.float() + change


def _as_large(values: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(values, size=other.shape[-2:], mode="bilinear")
