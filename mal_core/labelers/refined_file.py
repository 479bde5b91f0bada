"""`mal refine` on a whole file: every mask refined or counted as left, all else as it was."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.config import MalConfig
from mal_core.data.coco import parse_coco, read_boxes
from mal_core.data.pseudo_labels import is_of_human, machine_masks, put_score
from mal_core.errors import ConfigError, DatasetError
from mal_core.geometry.mask_forms import mask_problem
from mal_core.labelers.files import begin_attempt, photo_stamps
from mal_core.labelers.refining import BEFORE, Given, Refiner
from mal_core.labelers.registry import labeling_config
from mal_core.labeling.journal import JOURNAL, LabelJournal
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.work import LabelWork
from mal_core.models.checkpoints import load_labeler
from mal_core.processes.files import sha256_file, sha256_json
from mal_core.processes.own_file import write_own_json
from mal_core.processes.progress import Progress
from mal_core.processes.records import to_json
from mal_core.types import BoxDataset, PseudoLabel

Json = dict[str, Any]
SCORE_BEFORE = "score_before"
TRUST = 0.6
"""As `trust` in conf/config.yaml."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinedFile:
    """What became of the annotations of a file.

    Attributes:
        refined: Masks that are refined now.
        emptied: Masks of which nothing would be left in their box: they stay as they were.
        without: Annotations without a mask, or with a box of zero size: as they were.
        crowds: As they were.
        human: Masks of humans (`source: human`): as they were.
        before, after: Mean scores of all masks that were scored, old and new.
    """

    refined: int
    emptied: int
    without: int
    crowds: int
    human: int
    before: float
    after: float

    def summary(self) -> str:
        """Where every annotation went, and the scores, in two lines."""
        total = self.refined + self.emptied + self.without + self.crowds + self.human
        human = f" + kept, of humans {self.human}" if self.human else ""
        return (
            f"annotations {total} = refined {self.refined} + crowds {self.crowds} + without a mask "
            f"{self.without} + kept, nothing of them lies in their box {self.emptied}{human}\n"
            f"mean score before {self.before:.3f}, after {self.after:.3f}"
        )


def refine_file(
    labels: Path,
    images: Path,
    output: Path,
    *,
    mal: MalConfig,
    checkpoint: Path | None = None,
    trust: float = TRUST,
) -> RefinedFile:
    """Write a COCO file again with its masks refined; an interrupted call continues.

    Args:
        labels: COCO file with masks in any of its forms.
        images: Folder of the photos.
        output: Receives the file. `segmentation`, `area` and `score` of masks change, nothing else;
            `score_before`, `score_interval` and `score_components` are added. Masks of humans
            (`source: human`) stay.
        mal: How labels are refined, and how the network labels.
        checkpoint: A trained labeler, whose belief is added to each mask.
        trust: How far the masks are believed, in (0, 1).

    Raises:
        DatasetError: The file, a mask or an image is wrong, or there is no mask.
        CheckpointError: The checkpoint is none.
        ConfigError: There is nothing to refine with.
    """
    if not mal.refinement.enabled:
        message = "mal.refinement.enabled=false leaves nothing to refine with: leave it out."
        raise ConfigError(message)
    dataset, content = read_boxes(images, labels), parse_coco(labels)
    entries = content["annotations"]
    masked = {key: entry["segmentation"] for key, entry in machine_masks(entries).items()}
    chosen = tuple(box for box in dataset.boxes if box.annotation_id in masked)
    dataset = dataclasses.replace(dataset, boxes=chosen)
    _require_sound(labels, dataset, masked)
    writer, network = None, None
    if checkpoint is not None:
        labeler, trained = load_labeler(checkpoint)
        mal, network = labeling_config(trained, mal), sha256_file(checkpoint)
        writer = MaskWriter(labeler, mal)
    folder = output.absolute().with_name(f".{output.name}.refining")
    decisive = [sha256_file(labels), network, to_json(mal), trust, photo_stamps(dataset)]
    begin_attempt(folder, sha256_json(decisive))
    record_of = {record.image_id: record for record in dataset.images}
    rotated = {
        box.annotation_id: (box.corners, record_of[box.image_id])
        for box in chosen
        if box.corners is not None
    }
    given = Given(masks=masked, rotated=rotated)
    refiner = Refiner(given, mal.refinement, writer, trust=trust)
    found = _refined(dataset, refiner, folder)
    result = _write(content, found, output, asked=len(chosen))
    shutil.rmtree(folder)
    return result


def _require_sound(labels: Path, dataset: BoxDataset, masked: Mapping[int, object]) -> None:
    if not dataset.boxes:
        message = "no annotation has a mask that a machine drew; a human's stay as they are."
        raise DatasetError(labels, [f"{message} Give a file of labels."])
    sizes = {image.image_id: (image.height, image.width) for image in dataset.images}
    problems = [
        f"annotation {box.annotation_id} {problem}"
        for box in dataset.boxes
        if (problem := mask_problem(masked[box.annotation_id], *sizes[box.image_id])) is not None
    ]
    if problems:
        raise DatasetError(labels, problems)


def _refined(dataset: BoxDataset, refiner: Refiner, folder: Path) -> dict[int, PseudoLabel]:
    journal, work = LabelJournal(folder / JOURNAL), LabelWork(dataset)
    batches = list(work.batches)
    total, done = work.num_boxes(batches), work.num_boxes(journal.batches() & work.batches.keys())
    with Progress("refine masks", total, done) as progress:
        work.label(batches, refiner, journal, lambda done, _: progress.update(done))
    read = journal.read()
    return {
        label.annotation_id: label
        for batch in batches
        for labels in read[batch].values()
        for label in labels
        if isinstance(label, PseudoLabel)
    }


def _write(
    content: Json, found: Mapping[int, PseudoLabel], output: Path, *, asked: int
) -> RefinedFile:
    entries: Sequence[Json] = content["annotations"]
    kept = [found[entry["id"]] for entry in entries if entry["id"] in found]
    changed = [label for label in kept if label.mask_area > 0]
    crowds = sum(bool(entry.get("iscrowd")) for entry in entries)
    human = sum(map(is_of_human, entries))
    for entry in entries:
        label = found.get(entry["id"])
        if label is not None and label.mask_area > 0:
            components = dict(label.components)
            entry["segmentation"], entry["area"] = label.rle, label.mask_area
            entry[SCORE_BEFORE] = components.pop(BEFORE)
            put_score(entry, label.score, label.interval or (), components)
    write_own_json(output, content)
    return RefinedFile(
        refined=len(changed),
        emptied=asked - len(changed),
        without=len(entries) - asked - crowds - human,
        crowds=crowds,
        human=human,
        before=float(np.mean([label.components[BEFORE] for label in changed] or [0.0])),
        after=float(np.mean([label.score for label in changed] or [0.0])),
    )
