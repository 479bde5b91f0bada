"""The curve from components to an expected IoU."""

import numpy as np
import pytest

from mal_core.quality.regression import conformal_width, fit, spread, unfitted
from mal_core.quality.trained import (
    Trial,
    fit_and_hold_out,
    fit_library,
    fit_model,
    likeness,
)

NAMES = ("good", "noise")


def rows(count: int, seed: int = 0, shift: float = 0.0) -> list[dict[str, float]]:
    values = np.random.default_rng(seed).normal(shift, 1, (count, 2))
    return [dict(zip(NAMES, value, strict=True)) for value in values]


def ious(of: list[dict[str, float]], slope: float = 0.8, bias: float = 0.5) -> np.ndarray:
    return 1 / (1 + np.exp(-(slope * np.array([row["good"] for row in of]) + bias)))


def test_a_curve_is_found_again():
    found = rows(400)
    model = unfitted(found, NAMES)
    theta = fit(model.design(found), ious(found), prior=model.theta, ridge=1e-3)
    fitted = model.refitted(theta, 1.0, "test")
    other = rows(50, seed=1)
    assert fitted.predict(other) == pytest.approx(ious(other), abs=0.01)
    assert abs(fitted.weights[1]) < 0.02


def test_few_trials_leave_the_prior_as_it_is():
    found = rows(100)
    model = unfitted(found, NAMES)
    prior = np.array([1.0, 0.5, 0.0])
    design = model.design(found)[:1]
    theta = fit(design, np.array([0.9]), prior=prior, ridge=100.0)
    assert theta[:2] == pytest.approx(prior[:2], abs=0.02)


def test_a_missing_or_unknown_component_says_nothing():
    model = unfitted(rows(100), NAMES).refitted(np.array([1.0, 1.0, 0.3]), 1.0, "test")
    average = dict(zip(NAMES, model.means, strict=True))
    assert model.predict([{}]) == pytest.approx(model.predict([{**average, "new": 9.0}]))


def test_a_wild_component_does_not_decide_alone():
    model = unfitted(rows(100), NAMES).refitted(np.array([0.3, 0.0, 0.0]), 1.0, "test")
    assert model.predict([{"good": 1e9, "noise": 0.0}])[0] < 0.75


def test_intervals_hold_their_share_of_unseen_masks():
    generator = np.random.default_rng(3)
    scores = generator.uniform(0.2, 0.95, 2000)
    truth = (scores + generator.normal(0, 0.1, 2000)).clip(0, 1)
    width = conformal_width(scores[:1000], truth[:1000])
    inside = np.abs(truth[1000:] - scores[1000:]) <= width * spread(scores[1000:])
    assert 0.87 < inside.mean() < 0.93


def test_an_interval_of_too_few_masks_is_everything():
    model = unfitted(rows(100), NAMES).refitted(np.zeros(3), 1.0, "test")
    width = conformal_width(np.array([0.5, 0.6]), np.array([0.5, 0.6]))
    assert model.refitted(model.theta, width, "test").interval(0.5) == (0.0, 1.0)


def test_held_out_scores_come_from_fits_without_them():
    found = rows(60)
    model = unfitted(found, NAMES)
    noise = np.random.default_rng(5).uniform(0, 1, 60)
    _, unseen = fit_and_hold_out(model.design(found), noise, model.theta)
    assert np.corrcoef(unseen, noise)[0, 1] < 0.4


def test_trials_that_look_like_the_users_masks_count_more():
    trials, own = rows(300), rows(300, seed=1, shift=0.8)
    model = unfitted(trials, NAMES)
    weights = likeness(model.design(trials), model.design(own))
    good = np.array([row["good"] for row in trials])
    assert weights.mean() == pytest.approx(1)
    assert weights[good > 0.5].mean() > 2 * weights[good < -0.5].mean()


def test_a_fitted_model_suits_the_users_masks():
    found = rows(200)
    trials = [Trial(components=row, iou=iou) for row, iou in zip(found, ious(found), strict=True)]
    own = rows(200, seed=9, shift=-0.5)
    model = fit_model(trials, own, prior=unfitted(found, NAMES))
    assert model.predict(own).mean() == pytest.approx(ious(own).mean(), abs=0.03)
    assert 0 < model.width < 0.5
    assert "200 masks" in model.origin


def test_half_of_the_librarys_level_stays_where_composites_are_harder_than_photos():
    found = rows(400)
    prior = fit_library(
        [Trial(components=row, iou=iou) for row, iou in zip(found, ious(found), strict=True)],
        NAMES,
        "all",
    )
    harder = [
        Trial(components=row, iou=0.6 * iou) for row, iou in zip(found, ious(found), strict=True)
    ]
    weights = likeness(prior.design(found), prior.design(found))
    measured = np.array([one.iou for one in harder])
    theta, _ = fit_and_hold_out(prior.design(found), measured, prior.theta, weights)
    low = (1 / (1 + np.exp(-prior.design(found) @ theta))).mean()
    high = prior.predict(found).mean()
    mean = fit_model(harder, found, prior=prior).predict(found).mean()
    assert low < high - 0.1
    assert mean == pytest.approx((low + high) / 2, abs=0.03)
