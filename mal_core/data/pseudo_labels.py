"""Write pseudo-labels into a copy of the COCO file they belong to; every box is accounted for."""

import reprlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mal_core.data.coco import drop_mask, drop_mask_of_object, parse_coco
from mal_core.data.validation import is_real
from mal_core.errors import LabelingError
from mal_core.geometry.mask_forms import is_mask
from mal_core.processes.files import write_json
from mal_core.types import HUMAN_SOURCE, REPLACED, REVIEW, PseudoLabel, PseudoLabelSet, SkippedBox

SHOWN_IDS = 10
INTERVAL, COMPONENTS = "score_interval", "score_components"
OUR_KEYS = ("segmentation", "area", "score", INTERVAL, COMPONENTS, REVIEW, REPLACED)
LEDGER_KEYS = frozenset(("num_boxes", "num_masks", "num_skipped", "skipped"))
"""By which a list of skipped boxes is told from other files."""
LARGEST = 1e9
"""Of what scores are made from, which lies near 1."""


def is_component(value: object) -> bool:
    """Whether a JSON value may be a score or a part of one: no bool, text, NaN or huge number."""
    return is_real(value) and -LARGEST < value < LARGEST  # type: ignore[operator]


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


def put_score(
    entry: dict[str, Any],
    score: float,
    interval: Sequence[float],
    components: Mapping[str, float],
) -> None:
    """Give an annotation a score, where the IoU probably lies, and what the score was made from."""
    entry["score"], entry[INTERVAL], entry[COMPONENTS] = score, list(interval), dict(components)


def drop_score(entry: dict[str, Any]) -> None:
    """Take away what `put_score` gave an annotation whose mask is gone."""
    for key in ("score", INTERVAL, COMPONENTS):
        entry.pop(key, None)


def is_of_human(entry: Mapping[str, Any]) -> bool:
    """Whether a human drew or corrected the mask of an annotation, as `mal review` says it."""
    return entry.get("source") == HUMAN_SOURCE and _is_object_mask(entry)


def machine_masks(entries: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Annotations by id with a mask, sound or not, that is neither a crowd's nor a human's."""
    return {
        entry["id"]: entry
        for entry in entries
        if entry.get("source") != HUMAN_SOURCE and _is_object_mask(entry)
    }


def _is_object_mask(entry: Mapping[str, Any]) -> bool:
    return is_mask(entry.get("segmentation")) and not entry.get("iscrowd")


def ledger_of(output: Path) -> Path:
    """Where the skipped boxes of a file or folder of labels are listed that a user has named.

    By its name: labels beside it have a list of their own.
    """
    return output.with_name(f"{output.stem}.skipped.json")


def write_pseudo_labels(
    source: Path,
    labels: Sequence[PseudoLabel],
    skipped: Sequence[SkippedBox],
    output: Path,
    ledger: Path,
    *,
    compat_official: bool = False,
) -> PseudoLabelSet:
    """Write the source file again, with pseudo-masks in place of its own.

    Every field of the file is kept. Each labeled annotation gets `segmentation` (RLE,
    str counts), `area` (mask pixels) and `score`, and where they are known `score_interval` and
    `score_components`; its `bbox` stays as it was. Crowds stay as they are. Skipped boxes are
    in `ledger` only, with id and reason. Human masks of the source are dropped while parsing.
    The same input gives the same bytes.

    With `compat_official` crowds are objects with a label like any other, `iscrowd` is 0
    everywhere, and `area` is that of the box (spec Q5).

    Raises:
        DatasetError: `source` is absent or broken.
        LabelingError: An annotation is neither label nor crowd nor skipped, or more
            than one of them.
    """
    content = parse_coco(source, drop_mask if compat_official else drop_mask_of_object)
    annotations: list[dict[str, Any]] = content["annotations"]
    if compat_official:
        for entry in annotations:
            entry["iscrowd"] = 0
    label_of = {label.annotation_id: label for label in labels}
    skip_of = {skip.annotation_id: skip for skip in skipped}
    problems = _accounting_problems(annotations, labels, skipped)
    problems += _size_problems(content, label_of)
    if problems:
        raise LabelingError("\n".join([f"{output}: the boxes do not add up.", *problems]))

    out = [
        entry
        if entry.get("iscrowd")
        else _labeled(entry, label_of[entry["id"]], box_area=compat_official)
        for entry in annotations
        if entry["id"] not in skip_of
    ]
    reasons = Counter(str(skip.reason) for skip in skipped)
    result = PseudoLabelSet(
        annotations=output,
        ledger=ledger,
        num_boxes=len(annotations),
        num_masks=len(label_of),
        num_crowds=sum(bool(entry.get("iscrowd")) for entry in annotations),
        num_skipped=dict(sorted(reasons.items())),
    )
    in_order = [skip_of[entry["id"]] for entry in annotations if entry["id"] in skip_of]
    _write(ledger, _ledger(result, in_order), indent=2)
    _write(output, {**content, "annotations": out})
    return result


def restore_crowds(labels: Path, source: Path) -> None:
    """Give the crowds of a labeled file back what their source says of them, masks included.

    Labels are made from a copy of the source without any mask. What a checkpoint in the
    reference's own way has labeled as an object is no crowd any more and stays.

    Raises:
        DatasetError: A file is absent or broken.
    """
    content = parse_coco(labels)
    crowds = {entry["id"] for entry in content["annotations"] if entry.get("iscrowd")}
    if not crowds:
        return
    kept = {
        entry["id"]: entry
        for entry in parse_coco(source, drop_mask_of_object)["annotations"]
        if entry.get("iscrowd")
    }
    annotations = [
        kept[entry["id"]] if entry["id"] in crowds else entry for entry in content["annotations"]
    ]
    _write(labels, {**content, "annotations": annotations})


def forget_crowds(labels: Path, output: Path) -> None:
    """Write a labeled file without the masks of its crowds, which people drew.

    The bytes stay as they are where no crowd has one.

    Raises:
        DatasetError: The file is absent or broken.
    """
    content = parse_coco(labels)
    crowds = [entry for entry in content["annotations"] if entry.get("iscrowd")]
    masks = [entry.pop("segmentation", None) for entry in crowds]
    if any(mask is not None for mask in masks):
        _write(output, content)
    else:
        shutil.copyfile(labels, output)


def _labeled(entry: dict[str, Any], label: PseudoLabel, *, box_area: bool) -> dict[str, Any]:
    # Our keys come last, so that the bytes do not tell whether the source had a mask.
    kept = {key: value for key, value in entry.items() if key not in OUR_KEYS}
    if kept.get("source") == HUMAN_SOURCE:  # of the mask that was there before
        del kept["source"]
    out = {
        **kept,
        "segmentation": label.rle,
        "area": entry["bbox"][2] * entry["bbox"][3] if box_area else label.mask_area,
        "score": label.score,
    }
    if label.interval is not None:
        out[INTERVAL] = list(label.interval)
    if label.components:
        out[COMPONENTS] = dict(label.components)
    if label.human:
        out["source"] = HUMAN_SOURCE
    return out


def _ledger(result: PseudoLabelSet, skipped: Iterable[SkippedBox]) -> dict[str, Any]:
    return {
        "num_boxes": result.num_boxes,
        "num_masks": result.num_masks,
        "num_crowds": result.num_crowds,
        "num_skipped": dict(result.num_skipped),
        "skipped": [
            {
                "annotation_id": skip.annotation_id,
                "image_id": skip.image_id,
                "reason": str(skip.reason),
            }
            for skip in skipped
        ],
    }


def _write(target: Path, value: object, *, indent: int | None = None) -> None:
    try:
        write_json(target, value, indent=indent)
    except ValueError as error:
        message = f"{target}: cannot be written as JSON: {error}. Correct the source file."
        raise LabelingError(message) from error


def _accounting_problems(
    annotations: Iterable[dict[str, Any]],
    labels: Sequence[PseudoLabel],
    skipped: Sequence[SkippedBox],
) -> list[str]:
    boxes = Counter(entry["id"] for entry in annotations if not entry.get("iscrowd"))
    crowds = {entry["id"] for entry in annotations if entry.get("iscrowd")}
    labeled = Counter(label.annotation_id for label in labels)
    skips = Counter(skip.annotation_id for skip in skipped)
    outcomes = labeled.keys() | skips.keys()
    groups = {
        "neither labeled nor skipped": boxes.keys() - outcomes,
        "labeled and skipped": labeled.keys() & skips.keys(),
        "crowds, which get no label and are not skipped": crowds & outcomes,
        "not in the source file": outcomes - boxes.keys() - crowds,
        "labeled more than once": _repeated(labeled),
        "skipped more than once": _repeated(skips),
        "more than once in the source file": _repeated(boxes),
    }
    return [f"  - {listed(ids)}: {what}" for what, ids in groups.items() if ids]


def _repeated(counts: Counter[int]) -> set[int]:
    return {key for key, count in counts.items() if count > 1}


def listed(ids: Iterable[int]) -> str:
    """The first ids, and how many more there are, for people."""
    return listed_in_order(sorted(ids))


def listed_in_order(ids: Sequence[int]) -> str:
    """As `listed`, of ids whose order says something."""
    shown = ", ".join(str(key) for key in ids[:SHOWN_IDS])
    hidden = len(ids) - SHOWN_IDS
    return f"annotations {shown}" + (f" and {hidden} more" if hidden > 0 else "")


def _size_problems(content: dict[str, Any], label_of: dict[int, PseudoLabel]) -> list[str]:
    """Masks that do not have the size of their image, or no pixel."""
    size_of = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    wrong = set()
    for entry in content["annotations"]:
        label = label_of.get(entry["id"])
        if label is None:
            continue
        fits = label.rle.get("size") == size_of.get(entry["image_id"])
        if not fits or not isinstance(label.rle.get("counts"), str) or label.mask_area <= 0:
            wrong.add(label.annotation_id)
    return [f"  - {listed(wrong)}: mask empty, or not of its image's size"] if wrong else []
