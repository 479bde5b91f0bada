"""Calls of mmcv's ops in mmcv's calling convention; each returns what the op wrote."""

from types import ModuleType

import torch
from torch import Tensor


def random_boxes(generator: torch.Generator, count: int, size: int) -> Tensor:
    corner = torch.rand(count, 2, generator=generator) * size * 0.6
    extent = torch.rand(count, 2, generator=generator) * size * 0.4
    return torch.cat([corner, corner + extent], dim=1)


def case_nms(ops: ModuleType, generator: torch.Generator, device: str, offset: int) -> Tensor:
    boxes = random_boxes(generator, 200, 40).to(device)
    scores = torch.rand(200, generator=generator).to(device)
    return ops.nms(boxes, scores, iou_threshold=0.4, offset=offset)


def case_roi_align(
    ops: ModuleType, generator: torch.Generator, device: str, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    features = torch.rand(2, 3, 20, 24, generator=generator).to(device)
    index = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    rois = torch.cat([index, random_boxes(generator, 4, 40)], dim=1).to(device)
    settings = {
        "aligned_height": 5,
        "aligned_width": 4,
        "spatial_scale": 0.5,
        "sampling_ratio": sampling_ratio,
        "pool_mode": 1,
        "aligned": aligned,
    }
    output = features.new_zeros(4, 3, 5, 4)
    unused = features.new_zeros(0)
    ops.roi_align_forward(features, rois, output, unused, unused, **settings)
    grad_output = torch.rand(output.shape, generator=generator).to(device)
    grad_input = torch.zeros_like(features)
    ops.roi_align_backward(grad_output, rois, unused, unused, grad_input, **settings)
    return output, grad_input


def case_modulated_deform_conv(
    ops: ModuleType, generator: torch.Generator, device: str
) -> list[Tensor]:
    """Kernel 3, stride 2, padding 1, two channel groups, two offset groups."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    features, weight, bias = rand(2, 4, 9, 11), rand(6, 2, 3, 3), rand(6)
    offset, mask = rand(2, 2 * 2 * 9, 5, 6) * 4 - 2, rand(2, 2 * 9, 5, 6)
    settings = {
        "kernel_h": 3,
        "kernel_w": 3,
        "stride_h": 2,
        "stride_w": 2,
        "pad_h": 1,
        "pad_w": 1,
        "dilation_h": 1,
        "dilation_w": 1,
        "group": 2,
        "deformable_group": 2,
        "with_bias": True,
    }
    output = features.new_zeros(2, 6, 5, 6)
    buffers = features.new_zeros(0), features.new_zeros(0)
    ops.modulated_deform_conv_forward(
        features, weight, bias, buffers[0], offset, mask, output, buffers[1], **settings
    )
    grads = [torch.zeros_like(tensor) for tensor in (features, weight, bias, offset, mask)]
    ops.modulated_deform_conv_backward(
        features,
        weight,
        bias,
        buffers[0],
        offset,
        mask,
        buffers[1],
        *grads,
        rand(*output.shape),
        **settings,
    )
    return [output, *grads]


def case_deform_conv(ops: ModuleType, generator: torch.Generator, device: str) -> list[Tensor]:
    """Kernel 3, stride 1, padding 1."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    features, weight, offset = rand(2, 4, 7, 8), rand(5, 4, 3, 3), rand(2, 18, 7, 8) * 4 - 2
    settings = {
        "kW": 3,
        "kH": 3,
        "dW": 1,
        "dH": 1,
        "padW": 1,
        "padH": 1,
        "dilationW": 1,
        "dilationH": 1,
        "group": 1,
        "deformable_group": 1,
        "im2col_step": 2,
    }
    output = features.new_zeros(2, 5, 7, 8)
    buffers = features.new_zeros(0), features.new_zeros(0)
    ops.deform_conv_forward(features, weight, offset, output, *buffers, **settings)
    grad_output = rand(*output.shape)
    grads = [torch.zeros_like(tensor) for tensor in (features, offset, weight)]
    ops.deform_conv_backward_input(
        features, offset, grad_output, grads[0], grads[1], weight, buffers[0], **settings
    )
    ops.deform_conv_backward_parameters(
        features, offset, grad_output, grads[2], *buffers, scale=1, **settings
    )
    return [output, *grads]


def case_focal_loss(ops: ModuleType, generator: torch.Generator, device: str) -> list[Tensor]:
    """Labels 0..C-1 are classes, C is background; class weights as mmcv takes them."""
    logits = (torch.rand(12, 3, generator=generator) * 12 - 6).to(device)
    labels = (torch.arange(12) % 3).to(device)
    weight = torch.tensor([0.5, 1.0, 2.0], device=device)
    loss, gradient = torch.zeros_like(logits), torch.zeros_like(logits)
    ops.sigmoid_focal_loss_forward(logits, labels, weight, loss, gamma=2.0, alpha=0.25)
    ops.sigmoid_focal_loss_backward(logits, labels, weight, gradient, gamma=2.0, alpha=0.25)
    return [loss, gradient]


def deformable_attention_inputs(
    generator: torch.Generator, device: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shapes = torch.tensor([[6, 5], [3, 3]])
    value = torch.rand(2, 39, 2, 4, generator=generator)
    locations = torch.rand(2, 7, 2, 2, 3, 2, generator=generator) * 1.2 - 0.1
    weights = torch.rand(2, 7, 2, 6, generator=generator).softmax(-1).view(2, 7, 2, 2, 3)
    inputs = (value, shapes, torch.tensor([0, 30]), locations, weights)
    return tuple(tensor.to(device) for tensor in inputs)


def case_deformable_attention(
    ops: ModuleType, generator: torch.Generator, device: str
) -> list[Tensor]:
    inputs = deformable_attention_inputs(generator, device)
    output = ops.ms_deform_attn_forward(*inputs, im2col_step=64)
    grad_output = torch.rand(output.shape, generator=generator).to(device)
    grads = [torch.zeros_like(inputs[index]) for index in (0, 3, 4)]
    ops.ms_deform_attn_backward(*inputs, grad_output, *grads, im2col_step=64)
    return [output, *grads]
