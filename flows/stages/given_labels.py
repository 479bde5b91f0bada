"""Masks that somebody else made, as the pseudo-labels of a run."""

from pathlib import Path
from typing import Any

from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import LABEL
from mal_core.config import SplitConfig
from mal_core.errors import told_of
from mal_core.processes.files import write_json
from mal_core.types import PseudoLabelSet

ACCOUNTING = "accounting.json"


def given_labels(run: Run, train: SplitConfig, labels: Path) -> Stored:
    """The stage of labels with masks from a file; leaves what that stage leaves.

    Args:
        run: The run.
        train: Its training split; ids, boxes and classes come from there.
        labels: COCO file; only its annotations' `id`, `segmentation` and `score` are read.

    Raises:
        DatasetError: The file has no mask for any box, or one of another size than its image.
    """
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
