from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mal_core.config import RefinementConfig
from mal_core.errors import ConfigError
from mal_core.labeling.look_alikes import appearance, hear_look_alikes, voices
from mal_core.labeling.refinement import filled_share, refine_logits

HEARD = RefinementConfig(
    enabled=True, color_weight=0.7, affinity_weight=6.0, smoothness=1.0, grid=128
)
UNHEARD = RefinementConfig(enabled=True, color_weight=0.7, smoothness=1.0, grid=128)
Array = NDArray[Any]
RED, GREEN = np.array([190, 60, 50]), np.array([70, 150, 70])


def legs(side: int = 90) -> tuple[Array, Array]:
    """A body on two legs, and the box around it, both with a margin: shape, inside."""
    shape = np.zeros((side, side), dtype=bool)
    shape[12:40, 20:70] = True
    shape[40:78, 20:36] = shape[40:78, 54:70] = True
    inside = np.zeros_like(shape)
    inside[12:78, 20:70] = True
    return shape, inside


def painted(shape: Array, ground: Array, noise: float, seed: int = 0) -> Array:
    crop = np.where(shape[..., None], RED, ground).astype(float)
    return (
        (crop + np.random.default_rng(seed).normal(0, noise, crop.shape)).clip(0, 255).astype("u1")
    )


def convex_belief(inside: Array) -> Array:
    """A network that takes the whole box for the object, surest in its middle."""
    rows, columns = np.mgrid[: inside.shape[0], : inside.shape[1]]
    distance = np.hypot((rows - 45) / 33, (columns - 45) / 25)
    return np.asarray(2.5 - 2 * distance, dtype=np.float32)


def iou(mask: Array, truth: Array) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("noise", [3.0, 12.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gap_between_two_legs_comes_back(noise: float, seed: int) -> None:
    shape, inside = legs()
    crop = painted(shape, GREEN, noise, seed)
    belief = convex_belief(inside)

    refined = refine_logits(crop, belief, inside, HEARD) > 0

    assert iou((belief > 0) & inside, shape) < 0.8
    assert refined[45:76, 40:50].mean() < 0.02
    assert iou(refined, shape) > 0.95


@pytest.mark.parametrize("noise", [0.0, 6.0, 20.0])
def test_a_camouflaged_object_keeps_the_networks_mask(noise: float) -> None:
    shape, inside = legs()
    crop = painted(shape, RED, noise)
    belief = np.where(shape, 3, -3).astype(np.float32)

    refined = refine_logits(crop, belief, inside, HEARD) > 0

    assert iou(refined, shape) > 0.9


def test_look_alikes_that_would_empty_the_box_are_not_heard() -> None:
    shape, inside = legs()
    feet = np.zeros_like(shape)
    feet[60:78] = shape[60:78]
    crop = painted(shape & ~feet, GREEN, 4.0)  # the feet have the colors of the ground
    belief = np.where(shape, 0.7, -3).astype(np.float32)

    loud = refine_logits(crop, belief, inside, HEARD) > 0
    mute = refine_logits(crop, belief, inside, UNHEARD) > 0

    assert filled_share(loud, ~inside) >= filled_share(mute, ~inside) - 0.03


def heard_by(crop: Array, belief: Array, inside: Array, weight: float) -> Array:
    features = appearance(crop, reach=0.2, contrast=0.2)
    return hear_look_alikes(belief.astype(np.float32), inside, features, [weight])[0]


def test_unanimous_look_alikes_add_their_weight() -> None:
    shape, inside = legs(60)
    crop = painted(shape, GREEN, 5.0)

    heard = heard_by(crop, np.full(shape.shape, 9.0), inside, 4.0)

    np.testing.assert_allclose(heard[inside], 13, atol=0.01)
    assert (heard[~inside] == 9).all()


def test_every_weight_gives_the_field_it_gives_alone() -> None:
    shape, inside = legs(130)
    crop, belief = painted(shape, GREEN, 9.0), convex_belief(inside)
    features = appearance(crop, reach=0.2, contrast=0.2)

    together = hear_look_alikes(belief, inside, features, [6.0, 3.0])

    for weight, field in zip([6.0, 3.0], together, strict=True):
        np.testing.assert_allclose(heard_by(crop, belief, inside, weight), field, atol=1e-4)


@pytest.mark.parametrize("side", [40, 60, 130])
def test_the_opinion_is_the_kernels_mean(side: int) -> None:
    shape, inside = legs(side)
    crop = painted(shape, GREEN, 9.0)
    features = appearance(crop, reach=0.2, contrast=0.2).astype(float)
    belief = np.where(shape, 50.0, -50.0)  # so sure that no opinion changes a spin

    heard = heard_by(crop, belief, inside, 1.0) - belief

    speaking, spins = voices(features).reshape(-1, 5), voices(np.sign(belief)).ravel()
    for row, column in np.argwhere(inside)[::97]:
        distance = np.square(speaking - features[row, column]).sum(1)
        kernel = np.exp(-distance / 2)
        wanted = kernel @ spins / (kernel.sum() + 1e-6)
        assert heard[row, column] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_contrast_counts_relative_to_the_crop(share: float) -> None:
    shape, _ = legs()
    crop = (painted(shape, GREEN, 0.0) * share + 20).astype(np.uint8)
    features = appearance(crop, reach=0.2, contrast=0.2)[..., :3]

    apart = np.linalg.norm(features[shape].mean(0) - features[~shape].mean(0))

    assert apart == pytest.approx(11.5, abs=1.5)


@pytest.mark.parametrize(
    "change",
    [
        {"affinity_weight": -1},
        {"affinity_reach": 0},
        {"affinity_contrast": 0},
        {"network_bound": 0},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"mal.refinement.{next(iter(change))}"):
        RefinementConfig(**change)  # type: ignore[arg-type]
