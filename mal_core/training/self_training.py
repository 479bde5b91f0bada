"""Rounds of self-training: the labels so far become masks to learn.

After the training from boxes the network labels its own training boxes, as `mal label` would,
and learns these masks; its outline head may now see the boxes and the full resolution. A
network averages over all crops what the colors of single crops got wrong, so its next labels
are better than those it learned.

Shape letters: B crops, S crop side.
"""

import dataclasses
import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mal_core.config import MalConfig
from mal_core.config.roles import Role, keys_with
from mal_core.data.crops import trainable_boxes
from mal_core.errors import TrainingError
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.upright import upright_outcomes
from mal_core.labeling.work import LabelWork
from mal_core.models.labeler import MaskAutoLabeler
from mal_core.processes.files import write_json
from mal_core.processes.progress import Progress
from mal_core.processes.ranks import Group
from mal_core.training.guide import Guide, guided_outcomes
from mal_core.training.losses import dice_loss
from mal_core.training.schedule import crops_per_step
from mal_core.types import BoxAnnotation, BoxDataset, PseudoLabel, Rle

logger = logging.getLogger(__name__)


def mask_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Squared dice distance and cross-entropy to the labels so far: batch means, shape ().

    Args:
        logits: Float32, shape (B, S/2, S/2).
        target: In [0, 1], the same shape.
    """
    dice = dice_loss(logits.sigmoid(), target).mean()
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    return {"loss": dice + entropy, "loss_dice": dice, "loss_bce": entropy}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundLabels:
    """The masks that rounds learn.

    Attributes:
        dataset: The boxes of the training.
        config: Its settings.
        seed: Of the training; decides which boxes are labeled where a round learns but some.
        group: Its processes; each labels its share of the photos.
        folder: Keeps the masks, for a training that is continued inside a round.
        guide: Another labeler's masks, heard beside the network; None: there are none.
    """

    dataset: BoxDataset
    config: MalConfig
    seed: int
    group: Group
    folder: Path
    guide: Guide | None = None

    def of_round(self, number: int, labeler: MaskAutoLabeler) -> dict[int, Rle]:
        """The masks of one round, by annotation id; written once, then read.

        No more boxes are labeled than the round has crops to learn from.

        Raises:
            TrainingError: No box got a mask.
        """
        config, group = self.config, self.group
        path = self.folder / f"labels_of_round_{number}.json"
        known = group.share(_read(path) if group.is_main else None)
        if known is not None:
            return known
        boxes = self._chosen(number)
        of_boxes = dataclasses.replace(self.dataset, boxes=boxes)
        labels = group.gather(_label(of_boxes, labeler, config, group, number, self.guide))
        if not labels:
            message = (
                f"round {number} of self-training has nothing to learn: after {config.max_steps} "
                f"steps none of the {len(boxes)} boxes gets a mask. Raise mal.max_steps, or set "
                "mal.self_training.rounds=0."
            )
            raise TrainingError(message)
        if group.is_main:
            write_json(path, {str(key): rle for key, rle in labels.items()})
            logger.info(
                "round %d of self-training learns the masks of %d of %d boxes",
                number, len(labels), len(boxes),
            )  # fmt: skip
        return labels

    def _chosen(self, number: int) -> tuple[BoxAnnotation, ...]:
        """The boxes that a round can learn: all, or as many as its steps have crops."""
        boxes = trainable_boxes(self.dataset, self.config)
        crops = self.config.round_steps * crops_per_step(self.config, self.group.world_size)
        if len(boxes) <= crops:
            return tuple(boxes)
        generator = np.random.default_rng([self.seed, 2, number])
        drawn = np.sort(generator.choice(len(boxes), crops, replace=False))
        return tuple(boxes[place] for place in drawn)


def labeling_of_rounds(config: MalConfig) -> MalConfig:
    """How the training boxes are labeled: nothing that a label job may choose has a say."""
    settings, choices = config.self_training, keys_with(MalConfig, Role.LABELING)
    plain: dict[str, Any] = {
        one.name: one.default_factory() if callable(one.default_factory) else one.default
        for one in dataclasses.fields(MalConfig)
        if one.name in choices
    }
    own: dict[str, Any] = {
        "label_crop_size": settings.label_crop_size,
        "test_expansion": settings.expansions[0],
        "extra_expansions": settings.expansions[1:],
        "refinement": settings.refinement,
    }
    return dataclasses.replace(config, **{**plain, **own})


def _read(path: Path) -> dict[int, Rle] | None:
    if not path.exists():
        return None
    return {int(key): rle for key, rle in json.loads(path.read_text()).items()}


def _label(
    dataset: BoxDataset,
    labeler: MaskAutoLabeler,
    config: MalConfig,
    group: Group,
    number: int,
    guide: Guide | None = None,
) -> dict[int, Rle]:
    """This process's share of the labels."""
    work = LabelWork(dataset)
    batches = work.shard(group.rank, group.world_size)
    writer = MaskWriter(labeler, labeling_of_rounds(config))
    outcomes = writer.outcomes if guide is None else partial(guided_outcomes, writer, guide)
    labels: dict[int, Rle] = {}
    total = max(1, work.num_boxes(batches))
    done = 0
    with Progress(f"label for round {number}", total, 0) as progress:
        for batch in batches:
            for outcome in upright_outcomes(outcomes, work.photos(batch)):
                done += 1
                if isinstance(outcome, PseudoLabel):
                    labels[outcome.annotation_id] = outcome.rle
            progress.update(done)
    labeler.train()
    return labels
