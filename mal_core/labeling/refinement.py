"""A color model of each crop, joined with the network's belief when a label is written.

The network knows what objects look like, but on a coarse grid; the colors of one crop
know where its parts end, but not which part is meant. As in GrabCut (Rother et al., 2004)
foreground and background get a color distribution each, fitted to this crop alone; unlike
there, the network's log-odds stay in the sum, so colors decide only where it is unsure.

How far anybody may be believed is decided by the box: the object fills every row and every
column of a tight one. A network whose mask leaves many of them empty is taken to be as much too
shy as it takes to fill them. Where look-alikes would empty what was filled, they are other
things of the same color, and they are heard less or not at all; less also where the network
itself is unsure. What colors and neighbors empty all the same is left to the network.

Shape letters: H W pixels of the part of a crop that lies in its image, h w working grid.
"""

from collections.abc import Sequence
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.config import RefinementConfig
from mal_core.labeling.look_alikes import appearance, hear_look_alikes
from mal_core.quality.patch import sigmoid

CERTAIN = 6.0
"""Log-odds of what the box decides: its outside is background."""
MAX_COLOR_LOG_ODDS = 3.0
"""Bound of the colors' say: a color seen once proves little."""
RARE = 1e-4
"""Share of a distribution that every color has, so that unseen colors say nothing."""
COLOR_BINS = 16
"""Bins of each Lab axis."""
SPREAD = (0.25, 0.5, 0.25)
"""Each color also counts for its neighbor bins."""
SHARES = (1.0, 0.5)
"""Shares of the look-alikes' weight that are tried, the loudest first."""
SURE = 0.9
"""Mean certainty in the box, in [0, 1], from which look-alikes may count in full. A network that
is sure of the shape errs along its outline, and there they know better; one that is not takes
other things for the object, and they would only spread that. docs/experiments.md has numbers."""
MAX_EMPTIED = 0.02
"""Share of the box's rows and columns that colors and neighbors may empty."""
LEAST_FILLED = 0.9
"""Share of them that a mask fills at least. Not all: thin parts reach out of many objects that
the network does not see, and a mask blown up until it reaches there is worse without them."""
SHY = np.arange(0.25, 3.01, 0.25)
"""Log-odds by which a network may be too shy, tried from the least."""
NEIGHBORS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Offsets (dy, dx) of one half of the 3 x 3 window; the other half is their negation."""

Map = NDArray[np.float32]


def refine_logits(
    crop: NDArray[np.uint8], logits: Map, inside: NDArray[np.bool_], config: RefinementConfig
) -> Map:
    """Log-odds of foreground after colors and neighbors have been heard.

    Args:
        crop: RGB, shape (H, W, 3).
        logits: The network's log-odds at the same pixels, shape (H, W).
        inside: True in the box; everything else is background for certain, shape (H, W).
        config: Weights of the two additions.

    Returns:
        Log-odds, float32, shape (H, W); -6 outside the box.
    """
    height, width = logits.shape
    scale = min(1.0, config.grid / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    own = cv2.resize(logits, size, interpolation=cv2.INTER_AREA)
    outside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) == 0
    own = np.clip(own, -config.network_bound, config.network_bound)
    own[outside] = -CERTAIN
    if outside.all():  # a box thinner than a cell of the grid
        return np.where(inside, logits, np.float32(-CERTAIN))
    sure = certainty(own[~outside]) >= SURE
    own = _bold(own, outside)
    unary = own
    bins = color_bins(small)
    for _ in range(config.color_fits):
        unary = own + config.color_weight * color_log_odds(bins, sigmoid(unary))
        unary[outside] = -CERTAIN
    field = _believed(own, unary, small, outside, config, SHARES if sure else SHARES[1:])
    return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR))


def certainty(log_odds: Map) -> float:
    """How far from undecided pixels, shape (n,), are on average, in [0, 1]."""
    return float(np.abs(np.tanh(log_odds / 2)).mean())


def _bold(own: Map, outside: NDArray[np.bool_]) -> Map:
    """The network's log-odds, raised by the least that makes its mask fill the box."""
    if not (own > 0).any():
        return own
    for shift in (0.0, *SHY):
        if filled_share(own > -shift, outside) >= LEAST_FILLED:
            return np.where(outside, own, own + np.float32(shift))
    return own


def _believed(
    own: Map,
    unary: Map,
    crop: NDArray[np.uint8],
    outside: NDArray[np.bool_],
    config: RefinementConfig,
    shares: Sequence[float],
) -> Map:
    """Log-odds after look-alikes and neighbors, as far as the box bears them; at worst `own`."""
    weights = contrast_weights(crop)
    plain = _smooth(unary, weights, outside, config)
    kept = max(filled_share(field > 0, outside) for field in (plain, own))
    heard: list[Map] = []
    if config.affinity_weight:
        features = appearance(crop, config.affinity_reach, config.affinity_contrast)
        loudness = [share * config.affinity_weight for share in shares]
        heard = hear_look_alikes(unary, ~outside, features, loudness)
    louder = (_smooth(one, weights, outside, config) for one in heard)
    for field in chain(louder, [plain]):
        if filled_share(field > 0, outside) >= kept - MAX_EMPTIED:
            return field
    return own


def filled_share(mask: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """Share of a box's rows and columns in which a mask has pixels, in [0, 1].

    Args:
        mask: Shape (h, w).
        outside: False in the box, shape (h, w).
    """
    sums = (float(mask.any(axis).sum() / (~outside).any(axis).sum()) for axis in (0, 1))
    return sum(sums) / 2


def color_bins(crop: NDArray[np.uint8]) -> NDArray[np.int64]:
    """RGB, uint8, shape (h, w, 3) -> index of each pixel's Lab bin, int64, shape (h, w)."""
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.int64) * COLOR_BINS // 256
    return np.asarray((lab[..., 0] * COLOR_BINS + lab[..., 1]) * COLOR_BINS + lab[..., 2])


def color_log_odds(bins: NDArray[np.int64], prob: Map) -> Map:
    """How much more common each pixel's color is in the foreground than in the background.

    Args:
        bins: Color bin of each pixel, shape (h, w).
        prob: Foreground probability, shape (h, w): a pixel counts for both sides, in
            these shares.

    Returns:
        log p(color | foreground) - log p(color | background), in [-3, 3], shape (h, w).
    """
    foreground = _density(bins, prob)
    background = _density(bins, 1 - prob)
    ratio = np.log((foreground + RARE) / (background + RARE))
    return np.clip(ratio, -MAX_COLOR_LOG_ODDS, MAX_COLOR_LOG_ODDS).astype(np.float32)


def _density(bins: NDArray[np.int64], weight: Map) -> NDArray[np.float64]:
    """Share of the weight that each pixel's color bin holds, blurred over the bins."""
    return np.asarray(color_shares(bins, weight)[bins])


def color_shares(bins: NDArray[np.int64], weight: NDArray[np.generic]) -> NDArray[np.float64]:
    """Share of the weight that each color holds, blurred over the colors beside it.

    Args:
        bins: Color bin of some pixels, any shape.
        weight: Of these pixels, the same shape.

    Returns:
        By color bin, shape (COLOR_BINS**3,); all 0 where there is no weight.
    """
    shape = (COLOR_BINS, COLOR_BINS, COLOR_BINS)
    counts = np.bincount(bins.ravel(), weight.ravel(), COLOR_BINS**3).reshape(shape)
    for axis in range(3):
        before, after = np.zeros_like(counts), np.zeros_like(counts)
        source, target = np.moveaxis(counts, axis, 0), np.moveaxis(before, axis, 0)
        target[1:] = source[:-1]
        np.moveaxis(after, axis, 0)[:-1] = source[1:]
        counts = SPREAD[0] * before + SPREAD[1] * counts + SPREAD[2] * after
    return np.asarray(counts.ravel() / max(float(weight.sum()), 1e-6))


def contrast_weights(crop: NDArray[np.uint8]) -> list[Map]:
    """Affinity of each pixel to its neighbor at each of NEIGHBORS.

    The color kernel is as wide as the crop's own mean contrast (GrabCut's beta), so
    sensor noise does not look like edges, nor a foggy photo like one object.

    Args:
        crop: RGB, uint8, shape (h, w, 3).

    Returns:
        exp(-|I_i - I_j|^2 / (2 mean)) / distance, float32: for the offset (dy, dx) of
        shape (h - dy, w - |dx|), at pixel i.
    """
    colors = crop.astype(np.float32)
    squares = []
    for offset in NEIGHBORS:
        near, far = _pairs(colors, *offset)
        squares.append(np.square(near - far).sum(2))
    total, count = sum(float(s.sum()) for s in squares), sum(s.size for s in squares)
    mean = total / max(count, 1) + 1e-3
    return [
        np.asarray(np.exp(-square / (2 * mean)) / np.hypot(dy, dx), dtype=np.float32)
        for square, (dy, dx) in zip(squares, NEIGHBORS, strict=True)
    ]


def _smooth(
    unary: Map, weights: list[Map], outside: NDArray[np.bool_], config: RefinementConfig
) -> Map:
    """Mean field of a contrast-sensitive Ising model; returns its log-odds."""
    field, spin = unary.copy(), np.empty_like(unary)
    fields = [_pairs(field, *offset) for offset in NEIGHBORS]
    spins = [_pairs(spin, *offset) for offset in NEIGHBORS]
    pulls = [np.float32(config.smoothness) * weight for weight in weights]
    for _ in range(config.iterations):
        np.tanh(np.divide(field, 2, out=spin), out=spin)
        np.copyto(field, unary)
        for (near, far), (spin_near, spin_far), pull in zip(fields, spins, pulls, strict=True):
            far += pull * spin_near
            near += pull * spin_far
        field[outside] = -CERTAIN
    return field


def _pairs(values: Map, dy: int, dx: int) -> tuple[Map, Map]:
    """Views of all pixels that have a neighbor at (dy, dx), and of these neighbors."""
    height, width = values.shape[:2]
    near = values[: height - dy, max(0, -dx) : width - max(0, dx)]
    return near, values[dy:, max(0, dx) : width + min(0, dx)]
