"""Reads by a few threads: every item once, in order, errors as they are."""

import threading

import pytest

from mal_core.data.images.pooled import in_order


@pytest.mark.parametrize("count", [0, 1, 31, 33, 500, 5000])
def test_results_come_in_order(count: int) -> None:
    assert list(in_order(lambda item: -item, list(range(count)))) == [-n for n in range(count)]


def test_items_are_worked_on_side_by_side() -> None:
    together = threading.Barrier(4, timeout=10)
    assert list(in_order(lambda item: together.wait() >= 0 and item, [1, 2, 3, 4])) == [1, 2, 3, 4]


def test_an_error_of_one_item_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [1, 0]))
