"""A ranking without human masks: what it takes off, how sure it is, what it recommends."""

import numpy as np
import pytest

from mal_core.evaluation.ranking import Evidence, Place, ranked, recommendation, truth_of

NAMES = ("a", "b", "c")


def evidence(
    scores: list[float], known: list[float], judged: list[float], *, noise: float = 0.05
) -> Evidence:
    """Objects and composites of labelers with these mean scores, IoUs and scores."""
    generator = np.random.default_rng(0)
    shape = (80, len(scores))
    return Evidence(
        scores=(np.array(scores) + generator.normal(0, noise, shape)).clip(0, 1),
        photos=np.arange(80) // 2,
        composite_scores=(np.array(judged) + generator.normal(0, noise, shape)).clip(0, 1),
        composite_ious=(np.array(known) + generator.normal(0, noise, shape)).clip(0, 1),
    )


def test_the_favor_of_the_score_is_taken_off():
    """`a` looks better than `b` on photos, but its composites show what it is scored too high."""
    found = evidence([0.70, 0.67, 0.60], [0.50, 0.75, 0.50], [0.66, 0.65, 0.58])
    places = ranked(NAMES, found)
    assert [one.name for one in places] == ["b", "a", "c"]
    assert places[0].interval[0] < places[0].expected < places[0].interval[1]
    assert sum(one.best_share for one in places) == pytest.approx(1, abs=0.001)


def test_lines_of_evidence_that_contradict_each_other_are_not_called_clear():
    places = ranked(NAMES, evidence([0.72, 0.67, 0.60], [0.60, 0.66, 0.50], [0.66, 0.65, 0.58]))
    assert places[0].best_share < 0.95
    assert "clearly" not in recommendation(places, dict.fromkeys(NAMES, 1.0))
    agree = ranked(NAMES, evidence([0.72, 0.67, 0.60], [0.70, 0.60, 0.50], [0.66, 0.65, 0.58]))
    assert agree[0].best_share > 0.95
    assert "clearly the best" in recommendation(agree, dict.fromkeys(NAMES, 1.0))


def test_equal_labelers_are_not_told_apart():
    found = evidence([0.7, 0.7, 0.4], [0.7, 0.7, 0.4], [0.7, 0.7, 0.4], noise=0.2)
    for table in (found.scores, found.composite_scores, found.composite_ious):
        table[:, 1] = table[::-1, 0]
    places = ranked(NAMES, found)
    text = recommendation(places, dict.fromkeys(NAMES, 1.0))
    assert "does not tell it from" in text
    assert text.endswith("of the resamples).")  # nothing is known to help
    more = recommendation(places, dict.fromkeys(NAMES, 1.0), more=["label more", "compare"])
    assert more == f"{text} Label more, or compare."
    assert "c" not in text.split("from")[1].split("(")[0].split()


def test_the_same_labeler_twice_shares_the_win():
    found = evidence([0.7, 0.7], [0.7, 0.7], [0.7, 0.7])
    for table in (found.scores, found.composite_scores, found.composite_ious):
        table[:, 1] = table[:, 0]
    places = ranked(("one", "two"), found)
    assert [place.best_share for place in places] == [0.5, 0.5]
    text = recommendation(places, dict.fromkeys(("one", "two"), 1.0))
    assert text == (
        "Take one or two: they score alike on all boxes, which more boxes would not change."
    )


def test_the_same_labeler_twice_is_compared_with_others_as_one():
    found = evidence([0.7, 0.7, 0.4], [0.7, 0.7, 0.4], [0.7, 0.7, 0.4])
    for table in (found.scores, found.composite_scores, found.composite_ious):
        table[:, 1] = table[:, 0]
    text = recommendation(ranked(NAMES, found), dict.fromkeys(NAMES, 1.0))
    assert text.startswith("Take a or b (alike on all boxes): it is clearly the best here")


def test_without_composites_the_scores_decide():
    found = evidence([0.5, 0.7, 0.6], [0, 0, 0], [0, 0, 0])
    alone = Evidence(
        scores=found.scores,
        photos=found.photos,
        composite_scores=np.zeros((0, 3)),
        composite_ious=np.zeros((0, 3)),
    )
    assert [one.name for one in ranked(NAMES, alone)] == ["b", "c", "a"]


def test_what_is_nearly_as_good_for_less_is_named():
    places = [
        Place(name="slow", expected=0.80, interval=(0.7, 0.9), best_share=0.97),
        Place(name="fast", expected=0.79, interval=(0.7, 0.9), best_share=0.03),
        Place(name="poor", expected=0.5, interval=(0.4, 0.6), best_share=0.0),
    ]
    text = recommendation(places, {"slow": 500.0, "fast": 10.0, "poor": 0.1})
    assert "fast is expected to lose 0.010" in text
    assert "poor" not in text


def test_human_masks_say_how_right_it_was():
    places = ranked(NAMES, evidence([0.7, 0.6, 0.5], [0.7, 0.6, 0.5], [0.7, 0.6, 0.5]))
    right = truth_of(places, {"a": 0.9, "b": 0.8, "c": 0.7}, 80)
    assert (right.best, right.lost, right.order) == ("a", 0, 1)
    wrong = truth_of(places, {"a": 0.7, "b": 0.8, "c": 0.9}, 80)
    assert (wrong.best, wrong.order) == ("c", -1)
    assert wrong.lost == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("ious", "said", "order"),
    [
        ([0.9, 0.8, 0.7], "a is best: the recommendation is right", 1.0),
        ([0.7, 0.8, 0.7], "b is best: following the recommendation loses 0.100 of mean IoU", 0.0),
        (
            [0.8, 0.7, 0.80001],
            "a and c are alike with 0.800, a tie: the recommendation is one of them",
            0.0,
        ),
        (
            [0.0, 0.0, 0.0],
            "a and b and c are alike with 0.000, a tie: the recommendation is one of them",
            None,
        ),
        (
            [0.6, 0.8, 0.8],
            "b and c are alike with 0.800, a tie: following the recommendation loses 0.200 of mean "
            "IoU",
            -0.866,
        ),
    ],
)
def test_a_tie_is_called_a_tie(ious, said, order):
    places = ranked(NAMES, evidence([0.7, 0.6, 0.5], [0.7, 0.6, 0.5], [0.7, 0.6, 0.5]))
    truth = truth_of(places, dict(zip(NAMES, ious, strict=True)), 80)
    assert truth.verdict == said
    assert truth.order == (None if order is None else pytest.approx(order, abs=1e-3))
