"""What a labeler's own probabilities say about a mask: how sure it is, and do its views agree.

Shape letters: H W px of a box, h w cells of a coarser grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mal_core.quality.patch import Map, Mask, mask_iou, shrunk_map

LOW, HIGH = -1.0, 1.0
"""Log-odds of probabilities 0.27 and 0.73."""

Components = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Beliefs:
    """Log-odds of foreground at the pixels of a box, each float32 of shape (H, W).

    Attributes:
        final: What the mask was cut from.
        network: The network's own, before any refinement.
        views: The network's for each crop of the box, if there are several.
        second: Of another network, or of the same one on another view; None: nobody was asked.
        spill: Mean probability around the box relative to that in it; None: not known.
    """

    final: Map
    network: Map | None = None
    views: Sequence[Map] = field(default=())
    second: Map | None = None
    spill: float | None = None


def describe_beliefs(mask: Mask, beliefs: Beliefs) -> Components:
    """Certainty and agreement.

    belief: mean probability inside the mask. doubt: mean entropy over the box, in bits. steady:
    IoU of the masks at a low and at a high threshold. refined: IoU of the mask with the
    network's before refinement. views: least IoU between the crops. second: IoU of the mask
    with the second opinion. margin: mean second probability inside minus outside.

    Args:
        mask: The mask of the box on the grid, shape (h, w).
        beliefs: What is known; what is not leaves its components out.
    """
    shape = mask.shape[0], mask.shape[1]
    final = shrunk_map(beliefs.final, shape)
    prob = _sigmoid(final)
    found = {
        "belief": float(prob[mask].mean()) if mask.any() else 0.0,
        "doubt": float(_entropy(prob).mean()),
        "steady": mask_iou(final > LOW, final > HIGH),
    }
    if beliefs.network is not None:
        found["refined"] = mask_iou(mask, shrunk_map(beliefs.network, shape) > 0)
    if len(beliefs.views) > 1:
        found["views"] = _least_agreement([shrunk_map(one, shape) for one in beliefs.views])
    if beliefs.second is not None:
        second = shrunk_map(beliefs.second, shape)
        found["second"] = mask_iou(mask, second > 0)
        found["margin"] = _margin(mask, _sigmoid(second))
    if beliefs.spill is not None:
        found["spill"] = beliefs.spill
    return found


def _least_agreement(views: Sequence[Map]) -> float:
    masks = [view > 0 for view in views]
    return min(mask_iou(a, b) for n, a in enumerate(masks) for b in masks[n + 1 :])


def _margin(mask: Mask, prob: Map) -> float:
    inside = float(prob[mask].mean()) if mask.any() else 0.0
    outside = float(prob[~mask].mean()) if not mask.all() else 0.0
    return inside - outside


def _entropy(prob: Map) -> NDArray[np.float32]:
    prob = prob.clip(1e-6, 1 - 1e-6)
    return np.asarray(-(prob * np.log2(prob) + (1 - prob) * np.log2(1 - prob)), dtype=np.float32)


def _sigmoid(logits: Map) -> Map:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)
