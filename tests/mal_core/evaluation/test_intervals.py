"""Intervals: twins that are equal, twins that differ, and what cannot be told."""

import numpy as np
import pytest

from mal_core.evaluation.average_precision import ClassMatches, Matches
from mal_core.evaluation.intervals import Interval, retention_intervals, verdict

IMAGES, OBJECTS, THRESHOLDS, AREAS = 60, 4, 10, 4


def run(skill: float, seed: int, images: int = IMAGES, area: int = 2) -> Matches:
    """A segmenter that finds a share of the objects of one class; all objects of one area."""
    generator = np.random.default_rng(seed)
    count = images * OBJECTS
    hit = np.zeros((AREAS, THRESHOLDS, count), bool)
    ignored = np.ones((AREAS, THRESHOLDS, count), bool)
    found = generator.random(count) < skill
    objects = np.zeros((AREAS, images), np.int64)
    for index in (0, area):
        hit[index], ignored[index] = found, False
        objects[index] = OBJECTS
    one = ClassMatches(
        name="thing",
        image=generator.permutation(np.repeat(np.arange(images), OBJECTS)),
        hit=hit,
        ignored=ignored,
        objects=objects,
    )
    recalls = np.linspace(0, 1, 101)
    return Matches(image_ids=tuple(range(images)), recalls=recalls, classes=(one,))


def test_equal_twins_keep_exactly_everything():
    twin = run(0.6, 0)
    found = retention_intervals([twin], [twin], resamples=50)
    assert found["ap"] == Interval(low=1.0, high=1.0)
    assert found["ap_small"] is None
    assert verdict(1.0, found["ap"]) == "not distinguishable"


def test_a_clear_loss_is_called_one():
    human, pseudo = run(0.9, 0), run(0.4, 1)
    rate = pseudo.metrics().ap / human.metrics().ap
    interval = retention_intervals([human], [pseudo], resamples=200)["ap"]
    assert interval is not None
    assert interval.holds(rate)
    assert verdict(rate, interval) == "pseudo-labels are worse"
    assert verdict(1 / rate, Interval(low=1.1, high=2.0)) == "pseudo-labels are better"


def test_more_images_make_the_interval_narrower():
    def width(images: int) -> float:
        twins = run(0.7, 0, images), run(0.6, 1, images)
        found = retention_intervals([twins[0]], [twins[1]], resamples=200)["ap"]
        assert found is not None
        return found.high - found.low

    assert width(400) < 0.6 * width(40)


def test_seeds_that_disagree_widen_the_interval():
    human = [run(0.7, seed) for seed in range(3)]
    agreeing = [run(0.6, seed + 10) for seed in range(3)]
    disagreeing = [run(skill, seed + 10) for seed, skill in enumerate((0.3, 0.6, 0.9))]
    narrow = retention_intervals(human, agreeing, resamples=200)["ap"]
    wide = retention_intervals(human, disagreeing, resamples=200)["ap"]
    assert narrow is not None
    assert wide is not None
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Many validation sets from one population: how often is the population's rate inside?"""
    truth = run(0.6, 1, 4000).metrics().ap / run(0.8, 0, 4000).metrics().ap
    inside = 0
    for seed in range(40):
        twins = run(0.8, 2 * seed + 100), run(0.6, 2 * seed + 101)
        interval = retention_intervals([twins[0]], [twins[1]], resamples=100)["ap"]
        assert interval is not None
        inside += interval.holds(truth)
    assert inside >= 33


@pytest.mark.parametrize(("rate", "interval"), [(None, Interval(low=0, high=1)), (0.5, None)])
def test_what_is_undefined_has_no_verdict(rate, interval):
    assert verdict(rate, interval) == "undefined"


def test_a_human_ap_near_zero_has_no_interval():
    human, pseudo = run(0.0, 0), run(0.5, 1)
    assert retention_intervals([human], [pseudo], resamples=20)["ap"] is None
