"""The losses of MAL: multiple-instance learning from boxes, mean-field self-training.

Shape letters: B crops, H W pixels of the logit grid.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mal_core.training.mean_field import Field, settle_in_graph, settle_step_by_step

DICE_EPSILON = 0.002


def dice_loss(a: Tensor, b: Tensor) -> Tensor:
    """Squared dice distance per sample, in [0, 1].

    Args:
        a: Values in [0, 1], shape (B, ...).
        b: The same shape.

    Returns:
        1 - 2 sum(ab) / (sum(a^2) + sum(b^2) + 0.002), shape (B,).

    Source: spec section 4.
    """
    a, b = a.flatten(1), b.flatten(1)
    overlap = 2 * (a * b).sum(1)
    return 1 - overlap / (a.square().sum(1) + b.square().sum(1) + DICE_EPSILON)


def mil_loss(prob: Tensor, box: Tensor) -> Tensor:
    """Rows and columns that cross the box hold foreground, all others hold none.

    Args:
        prob: Foreground probabilities, shape (B, H, W).
        box: Filled box, values in [0, 1], shape (B, H, W).

    Returns:
        Sum of the two dice distances of the projections, shape (B,), in [0, 2).

    Source: paper Eq. 2, spec 4.1.
    """
    columns = dice_loss(prob.amax(1), box.amax(1))
    rows = dice_loss(prob.amax(2), box.amax(2))
    return columns + rows


def _half_neighbourhood(kernel_size: int) -> list[tuple[int, int]]:
    """Offsets (dy, dx) of one half of a window; the other half is their negation."""
    radius = kernel_size // 2
    window = range(-radius, radius + 1)
    return [(dy, dx) for dy in window for dx in window if (dy, dx) > (0, 0)]


def _affinity(image: Tensor, dy: int, dx: int, zeta: float) -> Tensor:
    """Colour affinity of every pixel to its neighbour at (dy, dx); 0 past the border.

    Args:
        image: Normalised colours, shape (B, 3, H, W).

    Returns:
        exp(-|I_i - I_j|^2 / (2 zeta^2)), shape (B, H, W), at pixel i.
    """
    height, width = image.shape[-2:]
    rows = slice(0, height - dy)
    columns = slice(max(0, -dx), width - max(0, dx))
    neighbour_columns = slice(max(0, dx), width + min(0, dx))
    difference = image[:, :, rows, columns] - image[:, :, dy:, neighbour_columns]
    affinity = image.new_zeros(image.shape[0], height, width)
    affinity[:, rows, columns] = torch.exp(-difference.square().sum(1) / (2 * zeta * zeta))
    return affinity


@torch.no_grad()
def mean_field(  # noqa: PLR0913 - the published signature
    image: Tensor,
    prob: Tensor,
    box: Tensor | None,
    *,
    kernel_size: int = 3,
    zeta: float = 0.1,
    iterations: int = 100,
    low: float = 0.1,
    high: float = 0.9,
) -> Tensor:
    """Refine probabilities so that pixels of one colour agree, then binarise.

    Probabilities are clamped to [low, high] after every update, so the update is
    linear in log-odds: u_i <- clamp(sum_j k_ij u_j + log box_i), with k_ii = 1. No
    exponential or logarithm is left in the loop. Affinities are symmetric, and
    they are 0 across the crop border, so the batch is one flat array in which a
    neighbour is a fixed offset.

    Args:
        image: Normalised colours, float, shape (B, 3, H, W).
        prob: Initial foreground probabilities, shape (B, H, W).
        box: Filled box, values in [0, 1], shape (B, H, W); outside it nothing is
            foreground. None means no box.
        kernel_size: Side of the neighbourhood, odd.
        zeta: Width of the colour kernel in units of `image`.
        iterations: Upper bound; the loop also ends at a fixed point.
        low: Lower clamp of a probability, in (0, 0.5).
        high: Upper clamp of a probability, in (0.5, 1).

    Returns:
        0/1 labels, float32, shape (B, H, W), without gradient.

    Source: paper Eq. 3-4, spec 4.2.
    """
    image, prob = image.float(), prob.float()
    width = image.shape[-1]
    bounds = math.log(low / (1 - low)), math.log(high / (1 - high))
    log_box = None
    if box is not None:
        box = box.float()
        prob = prob * box
        log_box = box.log().flatten()
    log_odds = torch.logit(prob.clamp(low, high)).flatten()
    neighbours = [
        (dy * width + dx, _affinity(image, dy, dx, zeta).flatten())
        for dy, dx in _half_neighbourhood(kernel_size)
    ]
    field = Field(
        log_odds=log_odds,
        updated=torch.empty_like(log_odds),
        neighbours=neighbours,
        log_box=log_box,
        bounds=bounds,
    )
    settle = settle_in_graph if log_odds.is_cuda else settle_step_by_step
    return (settle(field, iterations) > 0).view_as(prob).float()


def shrink_image(image: Tensor, side: int) -> Tensor:
    """Area-average a square image (B, 3, S, S) to (B, 3, side, side).

    Averaging removes pixel noise that would otherwise look like edges to the
    narrow colour kernel.
    """
    return F.adaptive_avg_pool2d(image, side)
