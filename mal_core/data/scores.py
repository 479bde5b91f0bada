"""Scores of masks as a JSON file holds them, and the numbers beside them."""

import reprlib

LARGEST = 1e9
"""Of what scores are made from, which lies near 1."""


def is_component(value: object) -> bool:
    """Whether a JSON value may be a score or a part of one: no bool, text, NaN or huge number."""
    return type(value) in (int, float) and -LARGEST < value < LARGEST  # type: ignore[operator]


def is_score(value: object) -> bool:
    """Whether a JSON value is a score: a number from 0 to 1."""
    return is_component(value) and 0 <= value <= 1  # type: ignore[operator]


def score_problem(annotation_id: int, value: object) -> str | None:
    """What is wrong with the score of an annotation, if anything."""
    if is_score(value):
        return None
    return (
        f"annotation {annotation_id} has score={reprlib.repr(value)}, but a score is a number "
        "from 0 to 1. Correct or drop it."
    )
