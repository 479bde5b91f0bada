"""mmcv's deformable attention and convolutions on torchvision's and mmcv's own Python code.

Shape letters: B images, Q queries, M heads, L levels, P points, D channels of a head, K cells of
all levels; C channels in, F out, k kernel side, g groups, o groups of offsets.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor

Operation = Callable[..., Any]


def replayed_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of `function(*inputs)`, computed by running it again under autograd.

    Args:
        function: What the forward pass computed.
        inputs: Float, of any shape.
        grad_output: Gradient of the result, shaped like it.

    Returns:
        One gradient for each input, same shapes.
    """
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    with torch.enable_grad():
        output = function(*leaves)
    return torch.autograd.grad(output, leaves, grad_output)


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
    """Multi-scale deformable attention; called on CUDA only.

    Args:
        value: Float, shape (B, K, M, D).
        shapes: Height and width of each level in cells, int64, shape (L, 2).
        level_starts: Not read, int64, shape (L,).
        locations: x and y as shares of a level, float, shape (B, Q, M, L, P, 2).
        weights: Float, shape (B, Q, M, L, P).
        im2col_step: Not read.

    Returns:
        Float, shape (B, Q, M * D).
    """
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
    """Gradients of the three inputs of `ms_deform_attn_forward` that have one.

    Args:
        value: Float, shape (B, K, M, D).
        shapes: Height and width of each level in cells, int64, shape (L, 2).
        level_starts: Not read, int64, shape (L,).
        locations: x and y as shares of a level, float, shape (B, Q, M, L, P, 2).
        weights: Float, shape (B, Q, M, L, P).
        grad_output: Float, shape (B, Q, M * D).
        grad_value: Receives the gradient, float, shape (B, K, M, D).
        grad_locations: Receives the gradient, float, shape (B, Q, M, L, P, 2).
        grad_weights: Receives the gradient, float, shape (B, Q, M, L, P).
        im2col_step: Not read.
    """
    gradients = replayed_gradients(_attend(shapes), [value, locations, weights], grad_output)
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
    """Deformable convolution v2; groups follow from the shapes.

    Args:
        features: Float, shape (B, C, H, W).
        weight: Float, shape (F, C / g, k, k).
        bias: Float, shape (F,); read where `with_bias` is set.
        ones, columns: Space for mmcv's kernel, any shape; left as they are.
        offset: dy and dx in cells, float, shape (B, 2 * o * k * k, h, w).
        mask: Weights of the samples, float, shape (B, o * k * k, h, w).
        output: Receives the result, float, shape (B, F, h, w).
        settings: mmcv's other arguments.
    """
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
    """Gradients of all inputs of the deformable convolution v2.

    Args:
        features: Float, shape (B, C, H, W).
        weight: Float, shape (F, C / g, k, k).
        bias: Float, shape (F,); read where `with_bias` is set.
        ones, columns: Space for mmcv's kernel, any shape; left as they are.
        offset: dy and dx in cells, float, shape (B, 2 * o * k * k, h, w).
        mask: Weights of the samples, float, shape (B, o * k * k, h, w).
        grad_features, grad_weight, grad_bias, grad_offset, grad_mask: Receive the gradients, each
            shaped like its input.
        grad_output: Float, shape (B, F, h, w).
        settings: mmcv's other arguments.
    """
    inputs = [features, offset, weight, mask]
    targets = [grad_features, grad_offset, grad_weight, grad_mask]
    if settings["with_bias"]:
        inputs.append(bias)
        targets.append(grad_bias)
    gradients = replayed_gradients(_convolve_v2(settings), inputs, grad_output)
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
    """Deformable convolution v1; groups follow from the shapes.

    Args:
        features: Float, shape (B, C, H, W).
        weight: Float, shape (F, C / g, k, k).
        offset: dy and dx in cells, float, shape (B, 2 * o * k * k, h, w).
        output: Receives the result, float, shape (B, F, h, w).
        columns, ones: Space for mmcv's kernel, any shape; left as they are.
        settings: mmcv's other arguments.
    """
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
    """Gradients of features and offsets of the deformable convolution v1.

    Args:
        features: Float, shape (B, C, H, W).
        offset: dy and dx in cells, float, shape (B, 2 * o * k * k, h, w).
        grad_output: Float, shape (B, F, h, w).
        grad_features, grad_offset: Receive the gradients, each shaped like its input.
        weight: Float, shape (F, C / g, k, k).
        columns: Space for mmcv's kernel, any shape; left as it is.
        settings: mmcv's other arguments.
    """
    gradients = replayed_gradients(
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
    """Gradient of the weights of the deformable convolution v1.

    Args:
        features: Float, shape (B, C, H, W).
        offset: dy and dx in cells, float, shape (B, 2 * o * k * k, h, w).
        grad_output: Float, shape (B, F, h, w).
        grad_weight: `scale` times the gradient is added, float, shape (F, C / g, k, k).
        columns, ones: Space for mmcv's kernel, any shape; left as they are.
        scale: Of what is added.
        settings: mmcv's other arguments.
    """
    (gradient,) = replayed_gradients(
        lambda w: _convolve_v1(settings)(features, offset, w),
        [grad_weight],
        grad_output,
    )
    grad_weight.add_(gradient, alpha=scale)
