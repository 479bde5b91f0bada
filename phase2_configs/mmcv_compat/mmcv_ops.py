"""mmcv's compiled ops on torchvision's kernels, for CPU and CUDA.

Implemented: what SOLOv2, Cascade Mask R-CNN and Mask2Former call, with mmcv's own calling
convention (results are written into tensors the caller allocated). Every other op can be looked
up, because `import mmcv.ops` looks all of them up, and raises when called.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
import torchvision
from torch import Tensor

Operation = Callable[..., Any]

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
        Indices of the kept boxes, best first, int64.
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
    """Pool `features` (B, C, H, W) inside `rois` (N, 5: index, xyxy) into `output` (N, C, h, w)."""
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
    """Spread `grad_output` (N, C, h, w) back over `grad_input` (B, C, H, W)."""
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


def _replayed_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of `function(*inputs)`, computed by running it again under autograd."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    with torch.enable_grad():
        output = function(*leaves)
    return torch.autograd.grad(output, leaves, grad_output)


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
    """Write the loss of every logit into `output`; all but `labels` (N,) have shape (N, C)."""
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
    """Write d loss / d logit into `grad_input`, shape (N, C)."""

    def loss(leaf: Tensor) -> Tensor:
        return _focal_loss(leaf, labels, weight, gamma, alpha)

    (gradient,) = _replayed_gradients(loss, [logits], torch.ones_like(logits))
    grad_input.copy_(gradient)


def _attend(shapes: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Multi-scale deformable attention over levels of the given (height, width) rows."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # Plain integers: iterating a CUDA tensor would wait for the device at every level.
    sizes = shapes.tolist()
    return lambda value, locations, weights: multi_scale_deformable_attn_pytorch(
        value, sizes, locations, weights
    )


def ms_deform_attn_forward(
    value: Tensor,
    shapes: Tensor,
    level_starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Attention output, shape (B, queries, heads x channels); called on CUDA only."""
    return _attend(shapes)(value, locations, weights)


def ms_deform_attn_backward(
    value: Tensor,
    shapes: Tensor,
    level_starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_locations: Tensor,
    grad_weights: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Write the gradients of the three inputs that have one."""
    gradients = _replayed_gradients(_attend(shapes), [value, locations, weights], grad_output)
    for target, gradient in zip((grad_value, grad_locations, grad_weights), gradients, strict=True):
        target.copy_(gradient)


def _convolve(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Operation:
    def convolve(
        features: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        return torchvision.ops.deform_conv2d(
            features, offset, weight, bias, stride, padding, dilation, mask
        )

    return convolve


def _convolve_v2(settings: dict[str, Any]) -> Operation:
    return _convolve(
        (settings["stride_h"], settings["stride_w"]),
        (settings["pad_h"], settings["pad_w"]),
        (settings["dilation_h"], settings["dilation_w"]),
    )


def modulated_deform_conv_forward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **settings: Any,
) -> None:
    """Deformable convolution v2 into `output`; groups follow from the shapes."""
    used_bias = bias if settings["with_bias"] else None
    output.copy_(_convolve_v2(settings)(features, offset, weight, mask, used_bias))


def modulated_deform_conv_backward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_features: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    **settings: Any,
) -> None:
    """Write the gradients of all inputs of the deformable convolution v2."""
    inputs = [features, offset, weight, mask]
    targets = [grad_features, grad_offset, grad_weight, grad_mask]
    if settings["with_bias"]:
        inputs.append(bias)
        targets.append(grad_bias)
    gradients = _replayed_gradients(_convolve_v2(settings), inputs, grad_output)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def _convolve_v1(settings: dict[str, Any]) -> Operation:
    return _convolve(
        (settings["dH"], settings["dW"]),
        (settings["padH"], settings["padW"]),
        (settings["dilationH"], settings["dilationW"]),
    )


def deform_conv_forward(
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **settings: Any,
) -> None:
    """Deformable convolution v1 into `output`; groups follow from the shapes."""
    output.copy_(_convolve_v1(settings)(features, offset, weight))


def deform_conv_backward_input(
    features: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_features: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **settings: Any,
) -> None:
    """Write the gradients of features and offsets of the deformable convolution v1."""
    gradients = _replayed_gradients(
        lambda x, o: _convolve_v1(settings)(x, o, weight), [features, offset], grad_output
    )
    grad_features.copy_(gradients[0])
    grad_offset.copy_(gradients[1])


def deform_conv_backward_parameters(
    features: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **settings: Any,
) -> None:
    """Add `scale` times the gradient of the weights of the deformable convolution v1."""
    (gradient,) = _replayed_gradients(
        lambda w: _convolve_v1(settings)(features, offset, w),
        [grad_weight],
        grad_output,
    )
    grad_weight.add_(gradient, alpha=scale)


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
