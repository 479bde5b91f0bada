"""SOLOv2 whose masks know where a pixel lies from their own cell: objects that look alike.

SOLOv2 tells two equal cells of a crowd apart by coordinates that span the image, through the
channels of its mask features; a short training does not learn that for hundreds of objects.
Here a cell's kernel has four weights more, for the window around the cell (see `places`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import SOLOV2Head
from mmdet.registry import MODELS
from torch import Tensor

from phase2_configs.heads.places import PLACES, UNIT_CELLS, centers, place_features, place_kernels


@MODELS.register_module()
class LocalSOLOV2Head(SOLOV2Head):
    """SOLOv2's head with a window around each cell, trained on crops and used on images.

    Targets, losses and NMS are mmdet's.

    Args:
        crop_share: Side of the crops it is trained on in sides of an image. Its grids are
            those of an image; in training they have so many times fewer cells.
    """

    def __init__(self, *args: Any, crop_share: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.image_grids = list(self.num_grids)
        self.crop_grids = [max(1, round(side * crop_share)) for side in self.num_grids]

    def _init_layers(self) -> None:
        self.kernel_out_channels += PLACES
        super()._init_layers()

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Maps for mmdet's losses, C being the channels of its mask features.

        Args:
            x: Levels of the pyramid, each of shape (B, F, h, w).

        Returns:
            Per level the kernels, shape (B, C + 4, g, g), and the classes, shape (B, K, g, g);
            mask features, shape (B, C + 4, h, w).
        """
        self.num_grids = self.crop_grids if self.training else self.image_grids
        kernels, classes, features = super().forward(x)
        shape = features.shape[-2:]
        size = tuple(side * self.mask_stride for side in shape)
        places = place_features(shape, self.mask_stride, features)
        features = torch.cat([features.float(), places.expand(len(features), -1, -1, -1)], 1)
        return [_placed(kernel, size) for kernel in kernels], classes, features

    def loss_by_feat(self, kernels: Any, classes: Any, features: Tensor, **more: Any) -> Any:
        """Mmdet's losses, of features of shape (B, C + 4, h, w); in 32 bits for the squares."""
        with torch.autocast(features.device.type, enabled=False):
            return super().loss_by_feat(kernels, [one.float() for one in classes], features, **more)

    def predict_by_feat(self, kernels: Any, classes: Any, features: Tensor, **more: Any) -> Any:
        """Mmdet's masks of each image, of features of shape (B, C + 4, h, w)."""
        with torch.autocast(features.device.type, enabled=False):
            classes = [one.float() for one in classes]
            return super().predict_by_feat(kernels, classes, features, **more)


def _placed(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """Kernels (B, C + 4, g, g) of a padded image (height, width, px), the last four placed."""
    side = kernel.shape[-1]
    y, x = (centers(side, extent, kernel) for extent in size)
    said = kernel[:, -PLACES:].permute(0, 2, 3, 1)
    weights = place_kernels(said, x, y[:, None], UNIT_CELLS * max(size) / side)
    return torch.cat([kernel[:, :-PLACES].float(), weights.permute(0, 3, 1, 2)], 1)
