"""The torchvision stand-ins compute what the formulas of mmcv's ops say."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from phase2_configs.mmcv_compat.mmcv_finder import EXTENSION
from phase2_configs.mmcv_compat.mmcv_ops import OpsModule
from tests.phase2_configs.mmcv_cases import deformable_attention_inputs, random_boxes

OURS = OpsModule(EXTENSION)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


def greedy_suppression(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    def overlap(first: Tensor, second: Tensor) -> float:
        low, high = torch.maximum(first[:2], second[:2]), torch.minimum(first[2:], second[2:])
        shared = (high - low + offset).clamp(min=0).prod()
        areas = [(box[2:] - box[:2] + offset).prod() for box in (first, second)]
        return float(shared / (areas[0] + areas[1] - shared))

    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_keeps_what_greedy_suppression_keeps(offset: int, generator: torch.Generator) -> None:
    boxes = random_boxes(generator, 60, 20)
    scores = torch.rand(60, generator=generator)
    kept = OURS.nms(boxes, scores, iou_threshold=0.3, offset=offset)
    assert kept.tolist() == greedy_suppression(boxes, scores, 0.3, offset)
    assert 1 < len(kept) < 60


def test_nms_offset_changes_the_outcome_of_touching_boxes() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]])
    scores = torch.tensor([0.9, 0.8])
    assert OURS.nms(boxes, scores, iou_threshold=0.4, offset=0).tolist() == [0, 1]
    assert OURS.nms(boxes, scores, iou_threshold=0.4, offset=1).tolist() == [0]


def sampled_average(features: Tensor, roi: Tensor, size: tuple[int, int], ratio: int) -> Tensor:
    """RoIAlign (aligned, scale 1) of one interior box by bilinear grid sampling, (C, h, w)."""
    height, width = features.shape[-2:]
    left, top, right, bottom = (roi - 0.5).unbind()
    rows, columns = size[0] * ratio, size[1] * ratio
    y = top + (torch.arange(rows, dtype=roi.dtype) + 0.5) * (bottom - top) / rows
    x = left + (torch.arange(columns, dtype=roi.dtype) + 0.5) * (right - left) / columns
    grid_y, grid_x = torch.meshgrid(
        y / (height - 1) * 2 - 1, x / (width - 1) * 2 - 1, indexing="ij"
    )
    grid = torch.stack([grid_x, grid_y], dim=-1)[None]
    sampled = functional.grid_sample(features[None], grid, align_corners=True)[0]
    return functional.avg_pool2d(sampled, ratio)


def test_roi_align_and_its_gradient_equal_averaged_bilinear_samples(
    generator: torch.Generator,
) -> None:
    features = torch.rand(3, 12, 14, generator=generator, dtype=torch.float64)
    roi = torch.tensor([1.5, 2.25, 10.75, 9.5], dtype=torch.float64)
    leaf = features.clone().requires_grad_()
    expected = sampled_average(leaf, roi, (4, 3), 2)
    grad_output = torch.rand(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(grad_output)

    settings = {
        "aligned_height": 4,
        "aligned_width": 3,
        "spatial_scale": 1.0,
        "sampling_ratio": 2,
        "pool_mode": 1,
        "aligned": True,
    }
    rois = torch.cat([torch.zeros(1, dtype=torch.float64), roi])[None]
    output = torch.zeros(1, 3, 4, 3, dtype=torch.float64)
    gradient = torch.zeros(1, 3, 12, 14, dtype=torch.float64)
    unused = torch.zeros(0)
    OURS.roi_align_forward(features[None], rois, output, unused, unused, **settings)
    OURS.roi_align_backward(grad_output[None], rois, unused, unused, gradient, **settings)

    torch.testing.assert_close(output[0], expected.detach())
    torch.testing.assert_close(gradient[0], leaf.grad)


def test_roi_align_by_maximum_is_refused_by_name() -> None:
    features, unused = torch.rand(1, 1, 4, 4), torch.zeros(0)
    with pytest.raises(NotImplementedError, match=r"roi_align_forward\(pool_mode='max'\)"):
        OURS.roi_align_forward(
            features,
            torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]),
            torch.zeros(1, 1, 2, 2),
            unused,
            unused,
            aligned_height=2,
            aligned_width=2,
            spatial_scale=1.0,
            sampling_ratio=0,
            pool_mode=0,
            aligned=True,
        )


def test_focal_loss_and_its_gradient_follow_the_formula(generator: torch.Generator) -> None:
    logits = (torch.rand(10, 4, generator=generator, dtype=torch.float64) * 8 - 4).requires_grad_()
    labels = torch.arange(10) % 5  # 4 is background
    probability = logits.sigmoid()
    target = functional.one_hot(labels, 5)[:, :4].double()
    right = torch.where(target == 1, probability, 1 - probability)
    share = torch.where(target == 1, 0.25, 0.75)
    expected = -share * (1 - right) ** 2.0 * right.log()
    expected.sum().backward()

    loss, gradient = torch.zeros(10, 4).double(), torch.zeros(10, 4).double()
    arguments = logits.detach(), labels, torch.zeros(0).double()
    OURS.sigmoid_focal_loss_forward(*arguments, loss, gamma=2.0, alpha=0.25)
    OURS.sigmoid_focal_loss_backward(*arguments, gradient, gamma=2.0, alpha=0.25)

    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, logits.grad)


def test_focal_loss_weights_scale_their_class_and_leave_background_alone() -> None:
    logits = torch.zeros(3, 2)
    labels = torch.tensor([0, 1, 2])
    plain, weighted = torch.zeros(3, 2), torch.zeros(3, 2)
    settings = {"gamma": 2.0, "alpha": 0.25}
    OURS.sigmoid_focal_loss_forward(logits, labels, torch.zeros(0), plain, **settings)
    OURS.sigmoid_focal_loss_forward(logits, labels, torch.tensor([3.0, 5.0]), weighted, **settings)
    torch.testing.assert_close(weighted, plain * torch.tensor([[3.0], [5.0], [1.0]]))


def bilinear(plane: Tensor, x: float, y: float) -> Tensor:
    """One sample of (H, W, C) at pixel-corner coordinates; outside is zero."""
    height, width, channels = plane.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(channels, dtype=plane.dtype)
    for i in (int(row // 1), int(row // 1) + 1):
        for j in (int(column // 1), int(column // 1) + 1):
            if 0 <= i < height and 0 <= j < width:
                total += plane[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def test_deformable_attention_sums_weighted_bilinear_samples(generator: torch.Generator) -> None:
    value, shapes, starts, locations, weights = deformable_attention_inputs(generator, "cpu")
    output = OURS.ms_deform_attn_forward(
        value, shapes, starts, locations, weights, im2col_step=64
    ).view(2, 7, 2, 4)
    batch, query, head = 1, 4, 1
    expected = torch.zeros(4)
    for level, (height, width) in enumerate(shapes.tolist()):
        first = int(starts[level])
        plane = value[batch, first : first + height * width, head].view(height, width, 4)
        for point in range(3):
            x, y = locations[batch, query, head, level, point].tolist()
            expected += weights[batch, query, head, level, point] * bilinear(plane, x, y)
    torch.testing.assert_close(output[batch, query, head], expected)


def test_deformable_attention_gradient_equals_that_of_autograd(
    generator: torch.Generator,
) -> None:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    inputs = deformable_attention_inputs(generator, "cpu")
    leaves = [inputs[index].double().requires_grad_() for index in (0, 3, 4)]
    output = multi_scale_deformable_attn_pytorch(leaves[0], inputs[1], *leaves[1:])
    grad_output = torch.rand(output.shape, generator=generator, dtype=torch.float64)
    output.backward(grad_output)

    value, locations, weights = (leaf.detach() for leaf in leaves)
    grads = [torch.zeros_like(tensor) for tensor in (value, locations, weights)]
    OURS.ms_deform_attn_backward(
        value, inputs[1], inputs[2], locations, weights, grad_output, *grads, im2col_step=64
    )
    for ours, leaf in zip(grads, leaves, strict=True):
        torch.testing.assert_close(ours, leaf.grad)


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_convolution_without_deformation_is_a_convolution(
    modulated: bool, generator: torch.Generator
) -> None:
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    features = torch.rand(2, 3, 8, 8, generator=generator, requires_grad=True)
    weight = torch.rand(4, 3, 3, 3, generator=generator, requires_grad=True)
    offset = torch.zeros(2, 18, 4, 4)
    if modulated:
        mask = torch.ones(2, 9, 4, 4)
        output = modulated_deform_conv2d(features, offset, mask, weight, None, 2, 1)
    else:
        output = deform_conv2d(features, offset, weight, 2, 1)
    expected = functional.conv2d(features, weight, None, 2, 1)
    torch.testing.assert_close(output, expected)
    grad_output = torch.rand(output.shape, generator=generator)
    ours = torch.autograd.grad(output, [features, weight], grad_output)
    theirs = torch.autograd.grad(expected, [features, weight], grad_output)
    torch.testing.assert_close(ours, theirs)


def test_deformable_convolution_offsets_are_row_then_column(generator: torch.Generator) -> None:
    from mmcv.ops import modulated_deform_conv2d

    features = torch.rand(1, 1, 6, 6, generator=generator)
    offset = torch.zeros(1, 2, 6, 6)
    offset[:, 0] = 1.0  # one row down
    mask = torch.full((1, 1, 6, 6), 0.5)
    output = modulated_deform_conv2d(features, offset, mask, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(output[..., :5, :], features[..., 1:, :] * 0.5)
    assert output[..., 5, :].abs().sum() == 0


def test_an_op_without_counterpart_names_itself_and_the_build_command_when_called() -> None:
    with pytest.raises(NotImplementedError, match=r"'carafe_forward'.*MMCV_OPS=compiled"):
        OURS.carafe_forward(torch.zeros(1))


def test_questions_of_the_import_system_are_not_answered_with_ops() -> None:
    assert not hasattr(OURS, "__path__")
    assert not hasattr(OURS, "__wrapped__")
