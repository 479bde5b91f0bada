"""How unlike its training crops a crop is, as the encoder sees both.

Shape letters: M crops remembered, E features, P = 2 E numbers of a crop.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]

MOST = 256
"""Crops that are remembered; more change the limit by less than its own noise."""
FEWEST = 20
"""Crops below which a distance that is usual cannot be told."""
USUAL = 0.95
"""Share of the training crops that are as near to another one as the limit."""
SAME = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class FamiliarCrops:
    """Training crops as points in the space of an encoder's features.

    Attributes:
        points: As `point_of` gives them, float32, shape (M, P).
        limit: Distance to the nearest other one that `USUAL` of them keep, > 0.
    """

    points: Features
    limit: float

    def unlikeness(self, features: Features) -> float:
        """Distance of a crop to the nearest remembered one in limits: above 1 is unlike them.

        Args:
            features: Of the crop, shape (E, h, w).
        """
        nearest = np.linalg.norm(self.points - point_of(features), axis=1).min()
        return float(nearest) / self.limit


def point_of(features: Features) -> Features:
    """Mean and spread of a crop's features, shape (E, h, w), over its tokens, shape (P,).

    Their lengths count, not their directions alone: those of a network that tells objects from
    grounds are much the same for photos of any kind.
    """
    flat = features.reshape(len(features), -1)
    return np.asarray(np.concatenate([flat.mean(1), flat.std(1)]), dtype=np.float32)


def remember(points: Features) -> FamiliarCrops | None:
    """Keep training crops to compare others with.

    Args:
        points: As `point_of` gives them, shape (M, P).

    Returns:
        None where there are too few, or all are the same.
    """
    if len(points) < FEWEST:
        return None
    far = np.array([_others_nearest(points, index) for index in range(len(points))])
    limit = float(np.quantile(far, USUAL))
    return FamiliarCrops(points=points, limit=limit) if limit > SAME else None


def _others_nearest(points: Features, index: int) -> float:
    distances = np.linalg.norm(points - points[index], axis=1)
    distances[index] = np.inf
    return float(distances.min())
