from typing import Any

import numpy as np
import pytest

from mal_core.config import RefinementConfig
from mal_core.errors import ConfigError
from mal_core.labeling import refinement
from mal_core.labeling.refinement import (
    color_bins,
    color_log_odds,
    contrast_weights,
    filled_share,
    refine_logits,
)

ON = RefinementConfig(enabled=True)


def two_colors(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red disk on green in a box with a margin: crop, disk, inside."""
    rows, columns = np.mgrid[:80, :100]
    disk = ((rows - 40) / 28) ** 2 + ((columns - 50) / 38) ** 2 <= 1
    crop = np.where(disk[..., None], [200, 40, 40], [60, 160, 60]).astype(float)
    crop += np.random.default_rng(0).normal(0, noise, crop.shape)
    inside = np.zeros((80, 100), dtype=bool)
    inside[12:69, 12:89] = True
    return crop.clip(0, 255).astype(np.uint8), disk, inside


def iou(mask: np.ndarray, gt_mask: np.ndarray) -> float:
    return float((mask & gt_mask).sum() / (mask | gt_mask).sum())


def blurry_belief(disk: np.ndarray) -> np.ndarray:
    """A network that is right about the middle only."""
    rows, columns = np.mgrid[: disk.shape[0], : disk.shape[1]]
    distance = np.hypot((rows - 40) / 20, (columns - 50) / 20)
    return np.asarray(2 - 1.5 * distance, dtype=np.float32)


@pytest.mark.parametrize("noise", [0.0, 8.0, 25.0])
def test_colors_complete_a_belief_that_is_too_small(noise: float) -> None:
    crop, disk, inside = two_colors(noise)
    logits = blurry_belief(disk)

    refined = refine_logits(crop, logits, inside, ON) > 0

    assert iou(logits > 0, disk) < 0.7
    assert iou(refined, disk) > 0.97


def test_nothing_outside_the_box_is_foreground() -> None:
    crop, disk, inside = two_colors()

    refined = refine_logits(crop, np.full(disk.shape, 5, dtype=np.float32), inside, ON)

    assert (refined[~inside] < 0).mean() > 0.97  # the working grid cuts the rim at half a cell
    assert (refined[:10] <= -5.9).all()


def test_a_crop_of_one_color_keeps_the_networks_mask() -> None:
    _, disk, inside = two_colors()
    crop = np.full((80, 100, 3), 128, dtype=np.uint8)
    logits = np.where(disk, 3, -3).astype(np.float32)

    refined = refine_logits(crop, logits, inside, ON) > 0

    assert iou(refined, disk & inside) > 0.95


def test_without_weights_the_logits_come_back() -> None:
    crop, disk, inside = two_colors()
    logits = blurry_belief(disk) + 1  # fills its box
    nothing = RefinementConfig(enabled=True, color_weight=0, smoothness=0, grid=100)

    refined = refine_logits(crop, logits, inside, nothing)

    np.testing.assert_allclose(refined[inside], logits[inside], atol=1e-6)


def test_color_evidence_is_bounded_and_has_the_right_sign() -> None:
    crop, disk, _ = two_colors()

    evidence = color_log_odds(color_bins(crop), disk.astype(np.float32))

    assert evidence[disk].min() > 2
    assert evidence[~disk].max() < -2
    assert np.abs(evidence).max() <= 3


def test_contrast_is_measured_against_the_crops_own() -> None:
    crop, _, _ = two_colors(noise=20.0)

    soft = contrast_weights(crop)
    softer = contrast_weights((crop // 2).astype(np.uint8))

    for a, b in zip(soft, softer, strict=True):
        assert a.mean() == pytest.approx(b.mean(), abs=0.05)


def test_a_shy_network_is_raised_until_its_mask_fills_the_box() -> None:
    _, disk, inside = two_colors()
    crop = np.full((80, 100, 3), 128, dtype=np.uint8)  # no color to help
    shy = blurry_belief(disk) - 1

    refined = refine_logits(crop, shy, inside, ON) > 0

    assert iou(shy > 0, disk) < 0.3
    assert filled_share(refined, ~inside) > 0.88
    assert iou(refined, disk) > 0.8


def test_a_network_that_sees_nothing_is_not_raised() -> None:
    crop, disk, inside = two_colors()

    refined = refine_logits(crop, np.full(disk.shape, -2, dtype=np.float32), inside, ON) > 0

    assert not refined.any()


def test_what_colors_and_neighbors_would_empty_is_left_to_the_network() -> None:
    _, disk, inside = two_colors()
    bright = np.zeros_like(disk)
    bright[30:50, 40:60] = True  # a highlight in an object of its background's color
    crop = np.where(bright[..., None], [240, 240, 240], [60, 160, 60]).astype(np.uint8)
    logits = np.where(disk, 0.4, -0.6).astype(np.float32)
    loud = RefinementConfig(enabled=True, color_weight=2.0, affinity_weight=6.0)

    refined = refine_logits(crop, logits, inside, loud) > 0

    assert filled_share(refined, ~inside) >= filled_share((logits > 0) & inside, ~inside) - 0.03


def test_a_box_thinner_than_the_grid_keeps_its_mask() -> None:
    crop = np.zeros((600, 600, 3), dtype=np.uint8)
    inside = np.zeros((600, 600), dtype=bool)
    inside[100:500, 302] = True  # no cell looks at this column

    refined = refine_logits(crop, np.ones((600, 600), np.float32), inside, ON)

    assert ((refined > 0) == inside).all()


@pytest.mark.parametrize(("log_odds", "heard"), [(4.0, [6.0, 3.0]), (1.0, [3.0])])
def test_look_alikes_never_count_in_full_where_the_network_is_unsure(
    log_odds: float, heard: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    crop, disk, inside = two_colors(noise=8.0)
    weights: list[float] = []
    real = refinement.hear_look_alikes

    def listen(*arguments: Any) -> Any:
        weights.extend(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(refinement, "hear_look_alikes", listen)
    settings = RefinementConfig(enabled=True, affinity_weight=6.0)
    logits = np.where(disk, log_odds, -log_odds).astype(np.float32)

    refined = refine_logits(crop, logits, inside, settings) > 0

    assert weights == heard
    assert iou(refined, disk & inside) > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 3), (700, 5)])
def test_any_shape_of_crop_works(shape: tuple[int, int]) -> None:
    crop = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)

    refined = refine_logits(crop, np.ones(shape, np.float32), np.ones(shape, bool), ON)

    assert refined.shape == shape
    assert np.isfinite(refined).all()


@pytest.mark.parametrize(
    "change", [{"color_weight": -1}, {"smoothness": -1}, {"iterations": -1}, {"grid": 8}]
)
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"mal.refinement.{next(iter(change))}"):
        RefinementConfig(**change)  # type: ignore[arg-type]
