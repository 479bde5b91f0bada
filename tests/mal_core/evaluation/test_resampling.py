"""All resamples at once give what one at a time does."""

from dataclasses import fields

import numpy as np
import pytest

from mal_core.evaluation.average_precision import ClassMatches, Matches
from mal_core.evaluation.resampling import CHUNK, resampled_metrics
from mal_core.types import MaskMetrics

IMAGES = 40


def some_class(seed: int, frequency: str, detections: int = 300) -> ClassMatches:
    """Detections that are hits, misses or ignored at random; some images have no object."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, IMAGES, detections)
    quality = generator.random(detections)
    hit = np.zeros((4, 10, detections), bool)
    ignored = np.zeros((4, 10, detections), bool)
    objects = np.zeros((4, IMAGES), np.int64)
    for area in range(4):
        ignored[area] = generator.random(detections) < (0.0 if area == 0 else 0.6)
        for threshold in range(10):
            hit[area, threshold] = quality < 0.5 - 0.05 * threshold
        found = hit[area, 0] & ~ignored[area, 0]
        np.add.at(objects[area], image[found], 1)
        np.add.at(objects[area], generator.integers(0, IMAGES, 5), 1)
    return ClassMatches(
        name=str(seed),
        image=image,
        hit=hit,
        ignored=ignored,
        objects=objects,
        frequency=frequency,
    )


def nothing_found() -> ClassMatches:
    objects = np.zeros((4, IMAGES), np.int64)
    objects[0, :3] = 1
    empty = np.zeros((4, 10, 0), bool)
    image = np.zeros(0, np.int64)
    return ClassMatches(
        name="missed", image=image, hit=empty, ignored=empty, objects=objects, frequency="r"
    )


@pytest.fixture(scope="module")
def matches() -> Matches:
    classes = [some_class(seed, "rcf"[seed % 3]) for seed in range(5)]
    return Matches(
        image_ids=tuple(range(IMAGES)),
        recalls=np.linspace(0, 1, 101),
        classes=(*classes, nothing_found()),
    )


def resamples(count: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    drawn = [generator.integers(0, IMAGES, IMAGES) for _ in range(count)]
    return np.stack([np.bincount(one, minlength=IMAGES) for one in drawn], axis=1).astype(float)


def test_every_metric_of_every_resample_is_that_of_the_slow_way(matches):
    weights = resamples(30)
    together = resampled_metrics(matches, weights)
    for number in range(weights.shape[1]):
        alone = matches.metrics(weights[:, number])
        for field in fields(MaskMetrics):
            value = getattr(alone, field.name)
            seen = together[field.name][number]
            assert seen == pytest.approx(np.nan if value is None else value, abs=1e-9, nan_ok=True)


def test_images_that_all_count_once_give_the_plain_numbers(matches):
    plain = matches.metrics()
    found = resampled_metrics(matches, np.ones((IMAGES, 1)))
    assert found["ap"][0] == pytest.approx(plain.ap, abs=1e-12)
    assert found["ap_rare"][0] == pytest.approx(plain.ap_rare, abs=1e-12)


def test_chunks_leave_no_seam(matches):
    weights = resamples(CHUNK + 3)
    whole = resampled_metrics(matches, weights)["ap"]
    tail = resampled_metrics(matches, weights[:, CHUNK:])["ap"]
    np.testing.assert_array_equal(whole[CHUNK:], tail)


def test_ap_alone_is_the_same_ap(matches):
    weights = resamples(5)
    alone = resampled_metrics(matches, weights, only_ap=True)
    np.testing.assert_array_equal(alone["ap"], resampled_metrics(matches, weights)["ap"])
    assert np.isnan(alone["ap_small"]).all()


def test_without_objects_in_the_drawn_images_a_class_is_undefined(matches):
    lonely = Matches(
        image_ids=matches.image_ids, recalls=matches.recalls, classes=(nothing_found(),)
    )
    weights = np.ones((IMAGES, 2))
    weights[:3, 0] = 0
    found = resampled_metrics(lonely, weights)["ap"]
    assert np.isnan(found[0])
    assert found[1] == 0
