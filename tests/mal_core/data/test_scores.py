"""What counts as a score in a file."""

import math

import pytest

from mal_core.data.scores import is_component, is_score, score_problem


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0])
def test_scores(value: object) -> None:
    assert is_score(value)
    assert score_problem(7, value) is None


@pytest.mark.parametrize(
    "value", [None, True, "0.5", [0.5], -0.1, 1.1, math.nan, math.inf, 10**400]
)
def test_what_is_no_score_is_refused_with_its_annotation(value: object) -> None:
    problem = score_problem(7, value)
    assert problem is not None
    assert problem.startswith("annotation 7 has score=")


@pytest.mark.parametrize(("value", "fits"), [(-3.5, True), (2, True), (10**400, False)])
def test_components_may_lie_beyond_a_score_but_not_far(value: object, fits: bool) -> None:
    assert is_component(value) == fits
