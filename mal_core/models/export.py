"""The labeling network as an ONNX file that runs without this project.

Shape letters: B crops, S crop side.
"""

import logging
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mal_core.config import MalConfig
from mal_core.errors import ConfigError
from mal_core.geometry.boxes import MEDIUM_AREA, SMALL_AREA
from mal_core.models.checkpoints import load_labeler
from mal_core.models.encoder import normalize
from mal_core.models.labeler import FEATURE_STRIDES, LOGIT_STRIDE, MaskAutoLabeler, MaskNetwork
from mal_core.processes.files import sha256_file
from mal_core.processes.own_file import own_path, record

logger = logging.getLogger(__name__)
OPSET = 18
EXAMPLE_BATCH = 2
LARGEST_FILE = 1_900_000_000
"""Bytes; the format allows 2 GiB in one file."""


class ExportedNetwork(nn.Module):
    """The network or networks that label, from pixels to logits, without a branch on data.

    Every size of box is decoded and the fitting one is taken, where `MaskNetwork` decodes
    each crop once: an ONNX graph has no groups of rows.
    """

    def __init__(self, labeler: MaskAutoLabeler, config: MalConfig) -> None:
        super().__init__()
        chosen = {"student": ["student"], "teacher": ["teacher"], "both": ["student", "teacher"]}
        names = chosen[config.label_network]
        self.networks = nn.ModuleList(getattr(labeler, name) for name in names)
        self.mean, self.std = labeler.mean, labeler.std
        self.sees_box = labeler.student.outline_head is not None

    def forward(self, crops: Tensor, boxes_xyxy: Tensor, box_masks: Tensor | None = None) -> Tensor:
        """The mean over networks.

        Args:
            crops: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: In px of their images, shape (B, 4).
            box_masks: Filled boxes on the logit grid, float32, shape (B, S/4, S/4), where the
                network has an outline head.

        Returns:
            Logits, shape (B, S/4, S/4), or (B, S/2, S/2) from the outline head.
        """
        image = normalize(crops, self.mean, self.std)
        width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).double().unbind(1)
        views = [_logits(network, image, width * height, box_masks) for network in self.networks]
        return torch.stack(views).mean(0)


def _logits(network: nn.Module, image: Tensor, area: Tensor, box_masks: Tensor | None) -> Tensor:
    assert isinstance(network, MaskNetwork)  # noqa: S101 - a ModuleList forgets types
    features = network.encoder(image)
    logits = _coarse(network, image, features, area)
    if network.outline_head is None or box_masks is None:
        return logits
    outlined: Tensor = network.outline_head(image, features, logits[:, None], box_masks)
    return outlined.squeeze(1)


def _coarse(network: MaskNetwork, image: Tensor, features: Tensor, area: Tensor) -> Tensor:
    instance = network.instance_head(features)
    crop_size = image.shape[-1]
    if not network.scale_adjustment:
        stride = LOGIT_STRIDE // 2 if network.compat_official else LOGIT_STRIDE
        return _decode(network, features, instance, crop_size // stride)
    edges = (0.0, SMALL_AREA, MEDIUM_AREA, float("inf"))
    total = features.new_zeros(())
    for index, stride in enumerate(FEATURE_STRIDES):
        side = crop_size // stride
        if features.shape[-1] != side:
            scaled = F.interpolate(features, size=(side, side), mode="bilinear")
        else:
            scaled = features
        inside = (area >= edges[index]) & (area < edges[index + 1])
        if network.compat_official:
            inside = inside & (area != edges[index])
        decoded = _decode(network, scaled, instance, crop_size // LOGIT_STRIDE)
        total = total + torch.where(inside[:, None, None], decoded, 0.0)
    return total


def _decode(network: MaskNetwork, features: Tensor, instance: Tensor, side: int) -> Tensor:
    dots = torch.einsum("bc,bchw->bhw", instance, network.pixel_head(features))
    if dots.shape[-1] == side:
        return dots
    return F.interpolate(dots.unsqueeze(1), size=(side, side), mode="bilinear").squeeze(1)


def export_onnx(checkpoint: Path, output: Path, chosen: MalConfig) -> dict[str, str]:
    """Write the networks that label as ONNX.

    Args:
        checkpoint: Of this project or of the reference implementation.
        output: Receives the file.
        chosen: `label_network` and `label_crop_size` of it are used.

    Returns:
        What the file's metadata says: crop size, growth of the crop, threshold.

    Raises:
        CheckpointError: The checkpoint is no checkpoint.
        ConfigError: The optional packages for the export are not installed.
    """
    labeler, trained = load_labeler(checkpoint)
    side = chosen.label_crop_size or trained.crop_size
    network = ExportedNetwork(labeler, chosen).eval()
    for part in network.modules():
        if hasattr(part, "fused_attn"):  # timm's; SAM's has three dimensions, ONNX's four
            part.fused_attn = False  # type: ignore[assignment]
    crops = torch.zeros(EXAMPLE_BATCH, side, side, 3, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 200, 200]])
    inputs = {"crops": crops, "boxes_xyxy": boxes}
    if network.sees_box:
        grid = side // LOGIT_STRIDE
        inputs["box_masks"] = torch.ones(EXAMPLE_BATCH, grid, grid)
    batch = torch.export.Dim("batch")
    metadata = {
        "crop_size": str(side),
        "test_expansion": str(chosen.test_expansion),
        "mask_threshold": str(chosen.mask_threshold),
        "label_network": chosen.label_network,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter, about itself
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
    except ImportError as error:
        message = f"`mal export` needs the packages of mal-pipeline[export]: {error}."
        raise ConfigError(message) from error
    assert program is not None  # noqa: S101 - without a file name torch returns it
    program.model.metadata_props.update(metadata)
    if sum(value.nbytes for value in network.state_dict().values()) > LARGEST_FILE:
        # The tensors go to a file beside it, whose name stands in the graph.
        program.save(str(output), external_data=True)
        record(output, sha256_file(output))
    else:
        with own_path(output) as temporary:
            program.save(str(temporary))
    return metadata
