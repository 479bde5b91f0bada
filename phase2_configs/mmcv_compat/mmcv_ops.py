"""mmcv's compiled ops on torchvision's kernels, for CPU and CUDA.

Implemented: what SOLOv2, Cascade Mask R-CNN and Mask2Former call, with mmcv's own calling
convention (results are written into tensors the caller allocated). Every other op can be looked
up, because `import mmcv.ops` looks all of them up, and raises when called.
"""

from types import ModuleType

import torch
import torchvision
from torch import Tensor

from phase2_configs.mmcv_compat.deformable import (
    Operation,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    replayed_gradients,
)

BUILD_COMMAND = "make setup MMCV_OPS=compiled"
AVERAGE_POOLING = 1


class MissingOperationError(NotImplementedError):
    """An op of mmcv that has no counterpart here was called."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"mmcv's op {name!r} is not compiled in this environment and has no torchvision "
            f"kernel; build mmcv's own ops with: {BUILD_COMMAND}"
        )


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: xyxy in pixels, shape (N, 4).
        scores: Shape (N,).
        iou_threshold: Boxes overlapping a better one by more than this are dropped.
        offset: 0 for continuous coordinates, 1 for inclusive pixel indices.

    Returns:
        Indices of the kept boxes, best first, int64, shape (K,).
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def _require_average(name: str, pool_mode: int) -> None:
    if pool_mode != AVERAGE_POOLING:
        raise MissingOperationError(f"{name}(pool_mode='max')")


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool features inside boxes.

    Args:
        features: Float, shape (B, C, H, W).
        rois: Index into the batch and xyxy in px, float, shape (N, 5).
        output: Receives the result, float, shape (N, C, h, w).
        argmax_y, argmax_x: Left as they are, any shape.
        aligned_height, aligned_width: h and w.
        spatial_scale: Cells per px.
        sampling_ratio: Samples per cell and axis; 0 chooses.
        pool_mode: 1, the mean; nothing else is there.
        aligned: Cell centres lie at half cells.
    """
    _require_average("roi_align_forward", pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(
        torchvision.ops.roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Spread gradients of pooled features back over the features.

    Args:
        grad_output: Float, shape (N, C, h, w).
        rois: Index into the batch and xyxy in px, float, shape (N, 5).
        argmax_y, argmax_x: Not read, any shape.
        grad_input: The gradient is added, float, shape (B, C, H, W).
        aligned_height, aligned_width: h and w.
        spatial_scale, sampling_ratio, pool_mode, aligned: As in `roi_align_forward`.
    """
    _require_average("roi_align_backward", pool_mode)
    grad_input.add_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _focal_loss(logits: Tensor, labels: Tensor, weight: Tensor, gamma: float, alpha: float):
    """Focal loss per logit, shape (N, C); labels outside 0..C-1 are background."""
    classes = torch.arange(logits.size(1), device=logits.device)
    targets = (labels[:, None] == classes).to(logits.dtype)
    losses = torchvision.ops.sigmoid_focal_loss(logits, targets, alpha, gamma)
    if weight.numel():
        padded = torch.cat([weight, weight.new_ones(1)])  # background keeps its loss
        losses = losses * padded[labels.clamp(max=logits.size(1))][:, None]
    return losses


def sigmoid_focal_loss_forward(
    logits: Tensor, labels: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Focal loss of every logit.

    Args:
        logits: Float, shape (N, C).
        labels: Classes, int64, shape (N,); those outside 0..C-1 are background.
        weight: Of each class, float, shape (C,); empty for none.
        output: Receives the losses, float, shape (N, C).
        gamma, alpha: As published.
    """
    output.copy_(_focal_loss(logits, labels, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Gradient of the sum of the focal losses.

    Args:
        logits: Float, shape (N, C).
        labels: Classes, int64, shape (N,).
        weight: Of each class, float, shape (C,); empty for none.
        grad_input: Receives d loss / d logit, float, shape (N, C).
        gamma, alpha: As published.
    """

    def loss(leaf: Tensor) -> Tensor:
        return _focal_loss(leaf, labels, weight, gamma, alpha)

    (gradient,) = replayed_gradients(loss, [logits], torch.ones_like(logits))
    grad_input.copy_(gradient)


def get_compiler_version() -> str:
    """What mmcv reports as its compiler."""
    return "none: torchvision kernels"


def get_compiling_cuda_version() -> str:
    """What mmcv reports as the CUDA it was compiled with."""
    return "not available"


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        nms,
        roi_align_forward,
        roi_align_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}


class OpsModule(ModuleType):
    """The module that mmcv sees as `mmcv._ext`."""

    def __getattr__(self, name: str) -> Operation:
        """The op of that name, or one that raises when called.

        Raises:
            AttributeError: `name` is a dunder; those are questions of the import system.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        if name in OPERATIONS:
            return OPERATIONS[name]

        def missing(*args: object, **kwargs: object) -> None:
            raise MissingOperationError(name)

        return missing
