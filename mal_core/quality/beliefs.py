"""What a labeler's own network says about a mask: how sure it is, and what else it saw.

Shape letters: H W px of a box, h w cells of a coarser grid, E features, t u tokens of a crop.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.quality.patch import Map, Mask, mask_iou, shrunk_map, sigmoid

CELLS_PER_TOKEN = 4
"""Along each axis, where a mask's share of a token is counted."""
FEWEST = 0.5
"""Tokens of object or of ground below which the two cannot be told apart."""

Components = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """An encoder's features of a crop.

    Attributes:
        features: Float32, shape (E, t, u).
        box_xyxy: The box among them; one token is 1 wide, shape (4,).
    """

    features: Map
    box_xyxy: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Beliefs:
    """Log-odds of foreground at the pixels of a box, each float32 of shape (H, W).

    Attributes:
        final: What the mask was cut from.
        network: The network's own, before any refinement.
        spill: Probability around the box relative to that in it, by the network before anyone
            tells it where the box lies; None: not known.
        tokens: What the encoder made of the crop; None: not known.
        unlike: How unlike the training crops the crop is; None: not known.
    """

    final: Map
    network: Map | None = None
    spill: float | None = None
    tokens: Tokens | None = None
    unlike: float | None = None


def describe_beliefs(mask: Mask, beliefs: Beliefs) -> Components:
    """Certainty and agreement.

    belief: mean probability inside the mask. doubt: mean entropy over the box, in bits. refined:
    IoU of the mask with the network's before refinement. spill, unlike: as in
    `Beliefs`. kinship: see `token_kinship`.

    Args:
        mask: The mask of the box on the grid, shape (h, w).
        beliefs: What is known; what is not leaves its components out.
    """
    shape = mask.shape[0], mask.shape[1]
    final = shrunk_map(beliefs.final, shape)
    prob = sigmoid(final)
    found = {
        "belief": float(prob[mask].mean()) if mask.any() else 0.0,
        "doubt": float(_entropy(prob).mean()),
    }
    if beliefs.network is not None:
        found["refined"] = mask_iou(mask, shrunk_map(beliefs.network, shape) > 0)
    if beliefs.spill is not None:
        found["spill"] = beliefs.spill
    if beliefs.tokens is not None:
        found["kinship"] = token_kinship(mask, beliefs.tokens)
    if beliefs.unlike is not None:
        found["unlike"] = beliefs.unlike
    return found


def token_kinship(mask: Mask, tokens: Tokens) -> float:
    """Do the encoder's features change where the mask ends?

    Each token is placed between the mean direction of the features in the mask and that of all
    others; the correlation of these places with the mask's share of each token, in [-1, 1].
    0 where the mask covers next to nothing of the crop or next to all of it.

    Args:
        mask: The mask of the box, shape (h, w).
        tokens: Of the crop around the box.
    """
    share = _share_of_tokens(mask, tokens)
    if min(share.sum(), (1 - share).sum()) < FEWEST:
        return 0.0
    values = tokens.features.reshape(len(tokens.features), -1).T
    directions = values - values.mean(0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-6
    inside = share @ directions / share.sum()
    outside = (1 - share) @ directions / (1 - share).sum()
    place = directions @ (inside - outside)
    if np.ptp(place) == 0 or np.ptp(share) == 0:
        return 0.0
    return float(np.corrcoef(place, share)[0, 1])


def _share_of_tokens(mask: Mask, tokens: Tokens) -> NDArray[np.float32]:
    """How much of each token is mask, shape (t * u,)."""
    rows, columns = tokens.features.shape[1:]
    canvas = np.zeros((rows * CELLS_PER_TOKEN, columns * CELLS_PER_TOKEN), dtype=np.float32)
    corners = np.round(tokens.box_xyxy * CELLS_PER_TOKEN).astype(int)
    limits = canvas.shape[1], canvas.shape[0]
    x0, y0 = (int(min(max(low, 0), most - 1)) for low, most in zip(corners, limits, strict=False))
    x1 = int(np.clip(corners[2], x0 + 1, limits[0]))
    y1 = int(np.clip(corners[3], y0 + 1, limits[1]))
    size = x1 - x0, y1 - y0
    canvas[y0:y1, x0:x1] = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel(), dtype=np.float32)


def _entropy(prob: Map) -> NDArray[np.float32]:
    prob = prob.clip(1e-6, 1 - 1e-6)
    return np.asarray(-(prob * np.log2(prob) + (1 - prob) * np.log2(1 - prob)), dtype=np.float32)
