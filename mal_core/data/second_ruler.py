"""A second annotation file of the validation images: does it describe them?"""

from pathlib import Path
from typing import Any

from mal_core.data.coco import is_usable_mask, parse_coco
from mal_core.errors import DatasetError


def check_second_ruler(ruler: Path, val: Path) -> None:
    """Refuse a second annotation file that does not describe the validation images.

    Raises:
        DatasetError: No COCO file; other classes, other images or sizes, objects without masks.
    """
    second, first = (parse_coco(path, lambda entry: entry) for path in (ruler, val))
    problems = [*_class_problems(second, first, val), *_image_problems(second, first, val)]
    objects = second["annotations"]
    bare = [str(one.get("id")) for one in objects if not is_usable_mask(one.get("segmentation"))]
    if not objects:
        problems.append("it has no annotations.")
    elif bare:
        problems.append(f"{len(bare)} annotations have no mask, the first is {bare[0]}.")
    if problems:
        raise DatasetError(ruler, problems)


def _class_problems(second: dict[str, Any], first: dict[str, Any], val: Path) -> list[str]:
    theirs, ours = ({c["id"]: c["name"] for c in one["categories"]} for one in (second, first))
    different = sorted(key for key in theirs | ours if theirs.get(key) != ours.get(key))
    if not different:
        return []
    key = different[0]
    return [
        f"classes differ from those of {val}, the first at id {key}: "
        f"{theirs.get(key)!r} here, {ours.get(key)!r} there."
    ]


def _image_problems(second: dict[str, Any], first: dict[str, Any], val: Path) -> list[str]:
    theirs, ours = (
        {image["id"]: (image["width"], image["height"]) for image in one["images"]}
        for one in (second, first)
    )
    problems = []
    if theirs.keys() != ours.keys():
        problems.append(
            f"images differ from those of {val}: {len(ours.keys() - theirs.keys())} are not here, "
            f"{len(theirs.keys() - ours.keys())} are not there. Predictions exist for its images "
            "only."
        )
    resized = [key for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]]
    if resized:
        key = min(resized)
        problems.append(
            f"{len(resized)} images have another size than in {val}, the first is image {key}: "
            f"{theirs[key]} here, {ours[key]} there (width, height)."
        )
    return problems
