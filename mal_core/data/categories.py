"""The classes of two annotation files side by side.

Apart from the check of the input: segmenters need this too, and no change of that check
may train them again.
"""

from collections.abc import Iterable
from pathlib import Path

from mal_core.types import Category


def category_problems(
    here: Iterable[Category], there: Iterable[Category], other: Path
) -> list[str]:
    """Classes that one file has and the other has not, or names otherwise."""
    ours, theirs = (
        {category.category_id: category.name for category in part} for part in (here, there)
    )
    return [
        f"category {category_id} is {_named(ours, category_id)} here but "
        f"{_named(theirs, category_id)} in {other}. Both files must list the same classes."
        for category_id in sorted(ours.keys() | theirs.keys())
        if ours.get(category_id) != theirs.get(category_id)
    ]


def _named(names: dict[int, str], category_id: int) -> str:
    return repr(names[category_id]) if category_id in names else "absent"
