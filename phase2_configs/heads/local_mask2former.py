"""Mask2Former whose queries have places: one per cell of a grid, for crowded images.

A short training does not teach hundreds of free queries which object of a crowd each is for.
Here a query starts at the middle of its cell, with a window of attention and of masks around
it (see `places`), so that the assignment knows from the first step who is near; it may shift
and widen its window. Nor does it teach queries to leave an object to a neighbor: in prediction
matrix NMS does. Decoder, assignment and losses are Mask2Former's.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.layers import mask_matrix_nms
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from phase2_configs.heads.places import (
    GAIN,
    PLACES,
    UNIT_CELLS,
    centers,
    place_features,
    place_kernels,
)

STRIDE = 4
"""Of mask features, px."""
FIRST_SHARPNESS, FIRST_HEIGHT = 1.9, 0.5
"""Of the windows before training: they reach half a unit far."""
SIGMA = 6.0
"""Of matrix NMS: equal masks keep a four hundredth of their score."""


class _Rows(nn.Module):
    """Vectors of as many queries as the image at hand has, where mmdet looks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight: Tensor | None = None


@MODELS.register_module()
class LocalMask2FormerHead(Mask2FormerHead):
    """Mask2Former's head with a query per cell, all equal but for their places.

    Args:
        cell_px: Side of a cell. Where an image would get fewer than `num_queries` of them,
            they are smaller.
    """

    def __init__(self, *args: Any, cell_px: float = 16.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width = self.query_feat.weight.shape[1]
        self.cell_px = cell_px
        self.least_queries = self.num_queries
        self.first_query = nn.Parameter(torch.randn(1, width))
        self.query_feat, self.query_embed = _Rows(), _Rows()
        self.place_embed = nn.Linear(width, PLACES)
        nn.init.zeros_(self.place_embed.weight)
        with torch.no_grad():
            first = torch.tensor([0.0, 0.0, FIRST_SHARPNESS, FIRST_HEIGHT])
            self.place_embed.bias.copy_(first / GAIN)

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What mmdet's head gives of each layer; in prediction of the last one's best queries.

        Args:
            x: Maps of the backbone, strides 4 to 32, each of shape (B, F, h, w).
            batch_data_samples: As mmdet's.

        Returns:
            Classes, each of shape (B, Q, K + 1), and mask logits, each of shape (B, Q, h, w).
        """
        self._place_queries(x[0])
        classes, masks = super().forward(x, batch_data_samples)
        if self.training:
            return classes, masks
        best = [self._best(*image) for image in zip(classes[-1], masks[-1], strict=True)]
        kept_classes, kept_masks = zip(*best, strict=True)
        return [torch.stack(kept_classes)], [torch.stack(kept_masks)]

    def _best(self, classes: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The queries of an image that may be kept, their scores less what others see as well."""
        scores = classes.float().softmax(-1)[:, :-1]
        kept = scores.amax(-1).topk(min(self.least_queries, len(scores))).indices
        scores, masks = scores[kept], masks[kept]
        best, labels = scores.max(-1)
        binary = masks > 0
        areas = binary.sum((1, 2)).float().clamp(min=1)
        # As mmdet scores them in the end: a mask that is sure of its pixels goes first.
        best = best * (masks.float().sigmoid() * binary).sum((1, 2)) / areas
        lowered, _, _, order = mask_matrix_nms(binary, labels, best, sigma=SIGMA, mask_area=areas)
        scores = scores[order] * (lowered / best[order].clamp(min=1e-9))[:, None]
        nothing = 1 - scores.sum(-1, keepdim=True)
        return torch.cat([scores, nothing], -1).clamp(min=1e-9).log(), masks[order]

    def _place_queries(self, finest: Tensor) -> None:
        """Queries for images of this feature map of stride 4, shape (B, C, h, w)."""
        height, width = (STRIDE * side for side in finest.shape[-2:])
        cell = self.cell_px
        if not self.training:
            cell = min(cell, math.sqrt(height * width / self.least_queries))
        shape = math.ceil(height / cell), math.ceil(width / cell)
        y, x = (centers(n, side, finest) for n, side in zip(shape, (height, width), strict=True))
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        self.places_y, self.places_x = rows.flatten(), columns.flatten()
        self.num_queries = len(self.places_x)
        self.unit = UNIT_CELLS * cell
        self.query_feat.weight = self.first_query.expand(self.num_queries, -1)
        # The encoding that keys of the same place have, at the grid's own resolution.
        mask = finest.new_zeros((1, *shape), dtype=torch.bool)
        self.query_embed.weight = self.decoder_positional_encoding(mask)[0].flatten(1).T

    def _forward_head(
        self, decoder_out: Tensor, mask_feature: Tensor, attn_mask_target_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classes, mask logits, and where each query must not look, as mmdet's."""
        queries = self.transformer_decoder.post_norm(decoder_out)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(queries), mask_feature)
        with torch.autocast(masks.device.type, enabled=False):  # squared distances need 32 bits
            said = self.place_embed(queries.float())
            kernels = place_kernels(said, self.places_x, self.places_y, self.unit)
            places = place_features(masks.shape[-2:], STRIDE, masks)
            masks = masks.float() + torch.einsum("bqc,chw->bqhw", kernels, places)
        seen = functional.interpolate(
            masks.detach(), attn_mask_target_size, mode="bilinear", align_corners=False
        )
        hidden = (seen.flatten(2) < 0).repeat_interleave(self.num_heads, dim=0)
        return self.cls_embed(queries), masks, hidden
