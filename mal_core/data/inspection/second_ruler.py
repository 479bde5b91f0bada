"""A second annotation file of the validation images: does it describe them?"""

from collections.abc import Iterator
from pathlib import Path

from mal_core.data.categories import category_problems
from mal_core.data.view import CocoView, read_view
from mal_core.errors import DatasetError


def check_second_ruler(ruler: Path, val: Path) -> None:
    """Refuse a second annotation file that does not describe the validation images.

    Raises:
        DatasetError: No COCO file; other classes, other images or sizes, objects without masks
            or with masks that are wrong.
    """
    second, first = (read_view(path, named=False) for path in (ruler, val))
    problems = category_problems(second.categories, first.categories, val)
    problems += _image_problems(second, first)
    bare = second.masks.without
    if not second.num_annotations:
        problems.append("it has no annotations.")
    elif bare:
        problems.append(f"{len(bare)} annotations have no mask, the first is {bare[0]}.")
    problems += second.all_problems
    if problems:
        raise DatasetError(ruler, problems)


def _image_problems(second: CocoView, first: CocoView) -> Iterator[str]:
    theirs, ours = (
        {image.image_id: (image.width, image.height) for image in view.images}
        for view in (second, first)
    )
    if theirs.keys() != ours.keys():
        yield (
            f"images differ from those of {first.path}: {len(ours.keys() - theirs.keys())} are not "
            f"here, {len(theirs.keys() - ours.keys())} are not there. Predictions exist for its "
            "images only."
        )
    resized = [key for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]]
    if resized:
        key = min(resized)
        yield (
            f"{len(resized)} images have another size than in {first.path}, the first is image "
            f"{key}: {theirs[key]} here, {ours[key]} there (width, height)."
        )
