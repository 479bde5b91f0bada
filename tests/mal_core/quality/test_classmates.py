"""What others of its class say of a mask's score."""

import numpy as np
import pytest
from scipy.special import expit, logit

from mal_core.quality.classmates import PULL, class_effects
from mal_core.quality.score import (
    CLASSMATES,
    FEWEST_MASKS,
    Quality,
    default_model,
    quality_of,
    with_classmates,
    without_opinion,
)

ROW = {"gaps": 0.1, "edges": 0.4, "size": 3.0}


def test_one_class_says_nothing() -> None:
    scores = np.random.default_rng(0).random(20)
    assert np.abs(class_effects(scores, [5] * 20)).max() < 1e-12


def test_the_only_one_of_its_class_hears_nothing_and_nothing_is_no_problem() -> None:
    effects = class_effects(np.array([0.9, 0.2, 0.3]), [1, 2, 2])
    assert effects[0] == 0
    assert effects[1:].all()
    assert class_effects(np.zeros(0), []).shape == (0,)


def test_an_effect_is_the_pulled_mean_of_the_others_beyond_all_others() -> None:
    scores, classes = np.array([0.9, 0.8, 0.7, 0.3, 0.4]), [1, 1, 1, 2, 2]
    odds = logit(scores)
    beyond = odds[1:3].mean() - odds[1:].mean()
    assert class_effects(scores, classes)[0] == pytest.approx(2 * beyond / (2 + PULL))


def test_many_of_a_class_count_more_than_few() -> None:
    few = class_effects(np.array([0.9] * 3 + [0.5] * 40), [1] * 3 + [2] * 40)[0]
    many = class_effects(np.array([0.9] * 30 + [0.5] * 40), [1] * 30 + [2] * 40)[0]
    assert 0 < few < many


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certain_scores_stay_and_do_not_outweigh_their_class(certain: float) -> None:
    own = quality_of(ROW, default_model("masks"))
    sure = Quality(score=certain, interval=(certain, certain), components={})
    first, *others = with_classmates([sure] + [own] * FEWEST_MASKS, [1] * 5 + [2] * 96)
    assert (first.score, first.interval) == (certain, (certain, certain))
    assert 0 < abs(logit(others[0].score) - logit(own.score)) < logit(0.99) / PULL
    assert all(0 < other.score < 1 for other in others)


def test_a_file_of_few_masks_keeps_its_scores() -> None:
    model = default_model("masks")
    alone = [quality_of({**ROW, "gaps": gap}, model) for gap in np.linspace(0.0, 0.7, 99)]
    assert with_classmates(alone, [1] * 50 + [2] * 49) == alone


def test_scores_and_intervals_move_together_and_are_made_again_from_the_components() -> None:
    model = default_model("masks")
    gaps = np.linspace(0.0, 0.7, FEWEST_MASKS)
    alone = [quality_of({**ROW, "gaps": gap}, model) for gap in gaps]
    found = with_classmates(alone, [1] * 50 + [2] * 50)
    for before, after in zip(alone, found, strict=True):
        effect = after.components[CLASSMATES]
        assert after.score == pytest.approx(expit(logit(before.score) + effect), abs=1e-4)
        low, high = after.interval
        assert low <= after.score <= high
        assert quality_of(after.components, model) == after
        assert quality_of(without_opinion(after.components), model) == before
    assert found[0].score > alone[0].score
    assert found[-1].score < alone[-1].score
