"""Masks that somebody else made, as the pseudo-labels of a run."""

import functools
from pathlib import Path
from typing import Any

from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import LABEL
from mal_core.config import SplitConfig
from mal_core.data.coco import parse_coco
from mal_core.errors import ConfigError, told_of
from mal_core.processes.files import write_json
from mal_core.types import HUMAN_SOURCE, PseudoLabelSet

ACCOUNTING = "accounting.json"
WRITTEN_BY = "`mal score` writes them"


def given_labels(run: Run, train: SplitConfig, labels: Path) -> Stored:
    """The stage of labels with masks from a file; leaves what that stage leaves.

    Args:
        run: The run.
        train: Its training split; ids, boxes and classes come from there.
        labels: COCO file; only its annotations' `id`, `segmentation` and `score` are read.

    Raises:
        DatasetError: The file has no mask for any box, or one of another size than its image.
        ConfigError: Segmenters weigh masks by their scores, and none has one.
    """
    unscored_note(run)
    plain = in_utf8(run, labels)

    def work(folder: Path) -> None:
        from mal_core.data.adopted import adopt_labels

        result = adopt_labels(
            train.annotations,
            plain,
            strict=run.config.data.strict,
            images=train.images,
            output=folder / "train.json",
            ledger=folder / "skipped.json",
        )
        write_json(folder / ACCOUNTING, counts_of(result))

    key = StageKey(
        stage=LABEL,
        config={"given": True},
        inputs={
            "labels": str(run.store.digests.digest(plain)),
            "train.annotations": run.digests(train).annotations,
        },
        code=code_version(["mal_core.data.adopted"], packages=["pycocotools"]),
    )
    with told_of({plain: labels}):
        return run.get(key, work)


def counts_of(labels: PseudoLabelSet) -> dict[str, Any]:
    """Where every box went, as the stage leaves it."""
    return {
        "boxes": labels.num_boxes,
        "masks": labels.num_masks,
        "crowds": labels.num_crowds,
        "skipped": dict(labels.num_skipped),
    }


def unscored_note(run: Run) -> str | None:
    """What is to be said of masks without a score, which count in full; None where all have one.

    Drawn labels have theirs, and human masks need none.

    Raises:
        ConfigError: No mask has one, so there is nothing to weigh by.
    """
    labels = run.config.pseudo_labels
    hows = [one.label_weights for one in run.config.segmenters if one.label_weights != "none"]
    if labels is None or not hows:
        return None
    plain = in_utf8(run, labels)
    scored, without = _count(plain, run.store.digests.digest(plain))
    told, total = f"segmenter.label_weights={hows[0]}", scored + without
    if not scored:
        message = (
            f"{told}: none of the {total} masks of {labels} has a score; {WRITTEN_BY}. Or train "
            "without weights."
        )
        raise ConfigError(message)
    if not without:
        return None
    return (
        f"note: {told}: of {total} masks of {labels.name}, {without} without a score count in "
        f"full (weight 1); {WRITTEN_BY}"
    )


@functools.lru_cache(maxsize=4)  # every stage that reads the labels asks
def _count(labels: Path, _digest: str | None) -> tuple[int, int]:
    """How many masks of objects have a score, and how many would need one."""
    masks = [
        entry
        for entry in parse_coco(labels)["annotations"]
        if entry.get("segmentation") and not entry.get("iscrowd")
    ]
    scored = sum(entry.get("score") is not None for entry in masks)
    human = sum(e.get("score") is None and e.get("source") == HUMAN_SOURCE for e in masks)
    return scored, len(masks) - scored - human
