"""Short parts go out many at a time, and only where the exact reader would leave them out too."""

from typing import Any

import numpy as np
import pytest

from mal_core.geometry.short_parts import without_short_parts

LONG = [1, 1, 9, 1, 9, 9]


def cut(mask: Any) -> tuple[Any, bool]:
    masks, lost = without_short_parts([mask], np.array([[20.0, 20.0]]), only_numbers=False)
    return masks[0], bool(lost[0])


@pytest.mark.parametrize("short", [[], [2, 2], [2, 2, 3, 3], [2.5, -3]])
def test_a_short_part_beside_a_long_one_goes(short: list[float]) -> None:
    assert cut([LONG, short]) == ([LONG], True)
    assert cut([short, LONG, short]) == ([LONG], True)


@pytest.mark.parametrize(
    "mask",
    [
        [LONG],
        [[2, 2]],
        [LONG, [2, 2, 3]],
        [LONG, [None, 2]],
        [LONG, [True, 2]],
        [LONG, [900, 2]],
        [LONG, [float("nan"), 2]],
        [LONG, "text"],
    ],
)
def test_everything_else_is_for_the_exact_reader(mask: Any) -> None:
    assert cut(mask) == (mask, False)
