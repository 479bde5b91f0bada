"""Read checkpoints in the format of the reference implementation of MAL.

Shape letters: E feature dim, N patch tokens.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mal_core.config import MalConfig
from mal_core.errors import CheckpointError
from mal_core.models.encoder import ConvStem, Encoder
from mal_core.models.labeler import MaskAutoLabeler, MaskNetwork
from mal_core.models.safe_weights import read_weights

NUM_HEADS = {96: 3, 192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Attention heads leave no trace in the tensors; these widths fix them (spec 3.1)."""
CROP_SIZE = 512
NETWORKS = ("student", "teacher")
GRID_EPSILON = 0.1
"""Added to the grid before the ratio, so that rounding never loses a row (spec 3.1)."""
RENAMES = (
    (r"^backbone\.patch_embed\.proj\.(\d+)\.([013])\.", None),
    (r"^backbone\.", "encoder.vit."),
    (r"^roi_head\.mlp1\.", "instance_head.layers.0."),
    (r"^roi_head\.mlp2\.", "instance_head.layers.2."),
    (r"^mask_head\.convs\.(\d+)\.conv\.", r"pixel_head.convs.\1."),
)
"""Theirs to ours, first match wins; the stem's rule is `_stem_name`."""


def is_official(content: object) -> bool:
    """Whether a loaded file has the reference implementation's tensors."""
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    return isinstance(tensors, dict) and any(key.startswith("student.") for key in tensors)


def load_official_checkpoint(path: Path | str, *, num_heads: int | None = None) -> MaskAutoLabeler:
    """Rebuild student and teacher from a checkpoint of the reference implementation.

    All sizes are inferred from the tensors. The result follows the reference where its
    quirks change numbers (`compat_official`): box areas of exactly 1024 and 9216 px^2 get
    logits of zero, and without scale adjustment logits have S/2 instead of S/4.

    Args:
        path: A file with `state_dict`, keys `student.*` and `teacher.*`.
        num_heads: Attention heads, where the width is none of the published ones.

    Returns:
        The labeler in evaluation mode. Crops are normalised with ImageNet's mean and std.

    Raises:
        CheckpointError: Unreadable, or with keys that are missing or unexplained; the
            message names them.
    """
    path = Path(path)
    return labeler_from_official(_read(path), path, num_heads=num_heads)


def labeler_from_official(
    content: Mapping[str, object], path: Path, *, num_heads: int | None = None
) -> MaskAutoLabeler:
    """The labeler of an already loaded file; see `load_official_checkpoint`.

    Raises:
        CheckpointError: Keys are missing or unexplained; the message names them.
    """
    tensors = cast("dict[str, Tensor]", content["state_dict"])
    unexplained = [key for key in tensors if key.split(".")[0] not in NETWORKS]
    renamed = {
        name: {
            _rename(key.removeprefix(f"{name}.")): value
            for key, value in tensors.items()
            if key.startswith(f"{name}.")
        }
        for name in NETWORKS
    }
    if unexplained or not all(renamed.values()):
        raise CheckpointError(_mismatch(path, unexplained, [n for n in NETWORKS if not renamed[n]]))
    labeler = MaskAutoLabeler(_build(renamed["student"], path, num_heads), teacher_momentum=0.996)
    for name in NETWORKS:
        result = getattr(labeler, name).load_state_dict(_checked(renamed[name], path), strict=False)
        if result.missing_keys or result.unexpected_keys:
            message = _mismatch(path, result.unexpected_keys, result.missing_keys, name)
            raise CheckpointError(message)
    return labeler.eval()


def official_config(labeler: MaskAutoLabeler) -> MalConfig:
    """How the reference implementation labels with this network (spec 6)."""
    head = cast("list[nn.Conv2d]", list(labeler.student.pixel_head.convs))
    return MalConfig(
        crop_size=CROP_SIZE,
        batch_size=4,
        max_steps=1,
        learning_rate=1.5e-6,
        head_channels=head[0].out_channels,
        head_convs=len(head),
        mask_threshold=0.1,
        compat_official=True,
    )


class OfficialVisionTransformer(VisionTransformer):
    """timm's ViT with the reference's way of resampling position embeddings."""

    def _pos_embed(self, patches: Tensor) -> Tensor:
        """Patch embeddings (B, h, w, E) -> tokens (B, 1 + h w, E)."""
        batch, height, width, _ = patches.shape
        positions = resample_positions(cast("Tensor", self.pos_embed), height, width)
        class_token = cast("Tensor", self.cls_token).expand(batch, -1, -1)
        tokens = torch.cat([class_token, patches.flatten(1, 2)], dim=1)
        return cast("Tensor", self.pos_drop(tokens + positions))


def resample_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings at another size, bicubic (spec 3.1).

    Args:
        positions: Of the class token and N patches, float, shape (1, 1 + N, E).
        height, width: Size of the new grid, patches.

    Returns:
        Float, shape (1, 1 + height * width, E).
    """
    side = math.isqrt(positions.shape[1] - 1)
    if (height, width) == (side, side):
        return positions
    grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = (height + GRID_EPSILON) / side, (width + GRID_EPSILON) / side
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _rename(key: str) -> str:
    for pattern, replacement in RENAMES:
        match = re.match(pattern, key)
        if match:
            start = _stem_name(match) if replacement is None else match.expand(replacement)
            return start + key[match.end() :]
    return key


def _stem_name(match: re.Match[str]) -> str:
    """Stage and layer of their nested stem -> position in our flat one."""
    stage, layer = int(match[1]), int(match[2])
    return f"encoder.vit.patch_embed.proj.stages.{3 * stage + layer}."


def _build(tensors: Mapping[str, Tensor], path: Path, num_heads: int | None) -> MaskNetwork:
    """A network of the sizes that the tensors have."""
    width = _tensor(tensors, "encoder.vit.cls_token", path).shape[-1]
    heads = num_heads or NUM_HEADS.get(width)
    if heads is None or width % heads:
        message = f"{path}: width {width} is none of {sorted(NUM_HEADS)}; give num_heads."
        raise CheckpointError(message)
    positions = _tensor(tensors, "encoder.vit.pos_embed", path).shape[1]
    convs = [key for key in tensors if re.fullmatch(r"pixel_head\.convs\.\d+\.weight", key)]
    stem = [key for key in tensors if ".stages." in key and tensors[key].shape[-2:] == (3, 3)]
    patch_size = 2 ** len(stem)
    vit = OfficialVisionTransformer(
        img_size=math.isqrt(positions - 1) * patch_size,
        patch_size=patch_size,
        num_classes=0,
        embed_dim=width,
        depth=1
        + max((int(n) for n in _numbers(tensors, r"encoder\.vit\.blocks\.(\d+)\.")), default=0),
        num_heads=heads,
        dynamic_img_size=True,
    )
    vit.patch_embed.proj = ConvStem(width, patch_size)
    normalisation = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    setattr(vit, "pretrained_cfg", normalisation)  # noqa: B010 - timm declares no such attribute
    channels = _tensor(tensors, "pixel_head.convs.0.weight", path).shape[0]
    config = MalConfig(
        crop_size=CROP_SIZE,
        batch_size=1,
        max_steps=1,
        learning_rate=1.0,
        head_channels=channels,
        head_convs=len(convs),
        compat_official=True,
    )
    return MaskNetwork(Encoder(vit, frozen_stages=0), config)


def _numbers(tensors: Mapping[str, Tensor], pattern: str) -> list[str]:
    return [match[1] for key in tensors if (match := re.match(pattern, key))]


def _tensor(tensors: Mapping[str, Tensor], key: str, path: Path) -> Tensor:
    if key not in tensors:
        raise CheckpointError(_mismatch(path, [], [key]))
    return tensors[key]


def _checked(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same tensors, refused when one holds no finite numbers."""
    broken = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        message = f"{path}: not finite: {', '.join(broken[:5])}."
        raise CheckpointError(message)
    return dict(tensors)


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        message = f"checkpoint={path}: no such file."
        raise CheckpointError(message)
    content = read_weights(path, f"checkpoint={path}")
    if not is_official(content):
        message = f"checkpoint={path} has no tensors `student.*`: not the reference's format."
        raise CheckpointError(message)
    return cast("dict[str, object]", content)


def _mismatch(
    path: Path, unexplained: list[str], missing: list[str], network: str | None = None
) -> str:
    parts = [f"{path}: the tensors are not those of the reference implementation."]
    where = f" of the {network}" if network else ""
    if unexplained:
        parts.append(f"Unexplained{where}: {', '.join(unexplained)}.")
    if missing:
        parts.append(f"Missing{where}: {', '.join(missing)}.")
    return " ".join(parts)
