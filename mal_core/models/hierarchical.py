"""Swin, ConvNeXt, EfficientNet and their like: maps of strides 8, 16 and 32, summed at stride 16.

Shape letters: B crops, E feature dim, S crop side.
"""

import inspect
from typing import Any, Self, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mal_core.errors import ConfigError

STRIDES = (8, 16, 32)
STEMS = ("patch_embed", "stem", "conv_stem", "bn1")
STRIDE = 16
"""Pixels per feature of the sum: what a ViT/16 has, so that the decoder sees equal grids."""


def hierarchical_arguments(model: nn.Module, name: str, crop_size: int) -> dict[str, Any]:
    """What the builder of such a model has to be told about the size of its images.

    Args:
        model: The model as built without arguments.
        name: Its name, for messages.
        crop_size: S.

    Raises:
        ConfigError: The model has no maps at strides 8, 16 and 32.
    """
    reductions = [info["reduction"] for info in getattr(model, "feature_info", [])]
    can = all(hasattr(model, part) for part in ("forward_intermediates", "set_grad_checkpointing"))
    if not can or any(reductions.count(stride) != 1 for stride in STRIDES):
        message = (
            f"encoder.name={name!r} is neither a plain Vision Transformer of timm nor a "
            f"hierarchical model with one map at each of the strides {STRIDES}."
        )
        raise ConfigError(message)
    known = inspect.signature(type(model).__init__).parameters
    arguments = {"img_size": crop_size, "strict_img_size": False}
    return {key: value for key, value in arguments.items() if key in known}


class HierarchicalEncoder(nn.Module):
    """The last three stages of a hierarchical model, each normalised and projected, summed.

    The projections start from random weights. Where the sum is taken, strides 8 and 32 are
    resized bilinearly.

    Batch statistics of pretrained weights stay as they are: those of a few crops are noise,
    and the teacher, who averages weights, would have others than the student.

    Attributes:
        width: Feature dim E: the channels of the stride-16 stage.
        patch_size: Pixels per feature side.
        mean, std: Per-channel normalisation that the weights expect.
    """

    def __init__(self, model: nn.Module, frozen_stages: int, *, pretrained: bool = False) -> None:
        super().__init__()
        self.pretrained = pretrained
        infos = cast("list[dict[str, Any]]", list(cast("Any", model).feature_info))
        self.stages = [i for i, info in enumerate(infos) if info["reduction"] in STRIDES]
        self.frozen_names = [info["module"] for info in infos[:frozen_stages]]
        channels = {info["reduction"]: info["num_chs"] for info in infos}
        self.width: int = channels[STRIDE]
        self.patch_size = STRIDE
        settings = cast("dict[str, Any]", model.pretrained_cfg)
        self.mean: tuple[float, ...] = tuple(settings["mean"])
        self.std: tuple[float, ...] = tuple(settings["std"])
        # What follows the last stage is never asked: without it every weight has a gradient.
        cast("Any", model).prune_intermediate_layers(self.stages, prune_norm=True, prune_head=True)
        self.model = model
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, channels[stride]), nn.Conv2d(channels[stride], self.width, 1)
            )
            for stride in STRIDES
        )
        for part in self._frozen():
            part.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        """The stem and the leading stages; none where no stage is frozen."""
        if not self.frozen_names:
            return []
        stems = [getattr(self.model, name, None) for name in STEMS]
        stages = [self.model.get_submodule(name) for name in self.frozen_names]
        return [*(stem for stem in stems if stem is not None), *stages]

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in evaluation mode, and batch norms of pretrained weights."""
        super().train(mode)
        norms = (part for part in self.model.modules() if isinstance(part, _BatchNorm))
        for part in (*self._frozen(), *(norms if self.pretrained else ())):
            part.eval()
        return self

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        cast("Any", self.model).set_grad_checkpointing(True)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image (B, 3, S, S) -> features (B, E, S/16, S/16)."""
        maps = cast("Any", self.model).forward_intermediates(
            image, indices=self.stages, intermediates_only=True, output_fmt="NCHW"
        )
        side = image.shape[-1] // STRIDE
        projected = (project(level) for project, level in zip(self.projections, maps, strict=True))
        total = image.new_zeros(())
        for level in projected:
            total = total + F.interpolate(level, size=(side, side), mode="bilinear")
        return total
