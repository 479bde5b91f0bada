"""Any convolutional or hierarchical model of timm as an mmdet backbone: its last feature maps."""

from typing import Any, Self

import timm
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from phase2_configs.backbones.explained_weights import load_backbone


@MODELS.register_module()
class TimmBackbone(BaseModule):  # type: ignore[misc]
    """Feature maps of a timm model for any neck of mmdet.

    Args:
        name: timm's name of the model; it must offer `features_only`.
        out_indices: Which of its feature maps; the last four have strides 4 to 32.
        frozen_stages: The stem and so many of the chosen stages stay as they are, batch
            statistics too. 0 or -1: none.
        norm_eval: Keep the batch statistics of the weights everywhere: batches of a few
            images have none worth learning.
        options: Keyword arguments for timm's builder.
        init_cfg: `checkpoint` in it is a file of weights, see `explained_weights`.
    """

    def __init__(
        self,
        name: str,
        out_indices: tuple[int, ...] = (-4, -3, -2, -1),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        options: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.features: nn.Module = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            out_indices=out_indices,
            **(options or {}),
        )
        # Depthwise convolutions on a CPU are half again as fast on pixels as on planes.
        self.features.to(memory_format=torch.channels_last)
        self.channels: list[int] = self.features.feature_info.channels()
        self.norm_eval = norm_eval
        self.frozen = _first_parts(self.features, frozen_stages)
        for part in self.frozen:
            part.requires_grad_(False)

    def init_weights(self) -> None:
        """Load what `init_cfg` names, a file or a model of timm, if anything.

        Raises:
            CheckpointError: Tensors are missing, unexplained or of another shape.
        """
        if self.init_cfg:
            load_backbone(self.features, self.init_cfg["checkpoint"])

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode, and all batch statistics with `norm_eval`."""
        super().train(mode)
        still = [*self.frozen]
        if self.norm_eval:
            still += [part for part in self.features.modules() if isinstance(part, _BatchNorm)]
        for part in still:
            part.eval()
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (B, 3, H, W) -> maps (B, C, h, w), finest first."""
        image = image.contiguous(memory_format=torch.channels_last)
        maps = zip(self.features(image), self.channels, strict=True)
        return tuple(_channels_first(found, width) for found, width in maps)


def _channels_first(found: Tensor, width: int) -> Tensor:
    # Swin and its kind keep channels last.
    return found if found.shape[1] == width else found.permute(0, 3, 1, 2).contiguous()


def _first_parts(features: nn.Module, stages: int) -> list[nn.Module]:
    """All modules that end with or before the stage of that number."""
    if stages <= 0:
        return []
    end = features.feature_info.module_name()[stages - 1]
    prefixes = (f"{end}.", f"{end.replace('.', '_')}.")
    named = list(features.named_modules())  # a module, then all inside it
    last = max(i for i, (name, _) in enumerate(named) if name.startswith(prefixes))
    return [part for i, (_, part) in enumerate(named) if i + len([*part.modules()]) - 1 <= last]
