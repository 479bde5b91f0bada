"""Runs of many masks at once: the same verdict as one by one."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.geometry.mask_forms import mask_problem
from mal_core.geometry.runs import compressed_runs_fit, numbers_of, plain_runs_fit


def texts(rng: np.random.Generator, height: int, width: int, count: int) -> list[str]:
    """Compressed counts of random masks, every second one damaged."""
    found = []
    for number in range(count):
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
        if number % 2:
            place = int(rng.integers(len(text)))
            letter = chr(rng.choice([40, 47, 48, 49, 60, 80, 111, 112, 200]))
            text = text[:place] + letter + text[place + int(rng.integers(3)) :]
        found.append(text)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_compressed_counts_are_judged_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    found = texts(rng, height, width, 20)
    one_by_one = [
        mask_problem({"size": [height, width], "counts": text}, height, width) is None
        for text in found
    ]
    together = compressed_runs_fit(found, np.full(len(found), height * width))
    assert together.tolist() == one_by_one
    assert any(one_by_one)


def test_plain_counts_must_fill_their_image() -> None:
    pixels = np.array([10, 10, 10, 10])
    assert plain_runs_fit([[3, 7], [3, 6], [11, -1], [10]], pixels).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert not plain_runs_fit([[3.0, 7], [10]], np.array([10, 10])).any()
    assert not plain_runs_fit([[2**70], [10]], np.array([10, 10])).any()


@pytest.mark.parametrize("wrong", [None, "1", True, [1], 10**400])
def test_what_is_no_number_gives_none(wrong: object) -> None:
    assert numbers_of([[1, 2.5], [3]]).tolist() == [1, 2.5, 3]  # type: ignore[union-attr]
    assert numbers_of([[1, 2.5], [wrong]]) is None


@pytest.mark.parametrize("wrong", [[1], {}, 10**400])
def test_what_a_text_of_numbers_alone_may_hold_and_is_none_gives_none(wrong: object) -> None:
    assert numbers_of([[1, 2.5], [3]], only_numbers=True).tolist() == [1, 2.5, 3]  # type: ignore[union-attr]
    assert numbers_of([[1, 2.5], [wrong, 4]], only_numbers=True) is None
