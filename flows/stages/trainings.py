"""The trainings of phase 2: one for each seed, recipe and kind of masks. The loop stands here."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flows.stages.inputs import check, read_check
from flows.stages.run import Run
from mal_core.config import SegmenterConfig

logger = logging.getLogger(__name__)

Arm = Literal["human", "pseudo"]
ARM_TITLES: dict[Arm, str] = {"human": "human masks", "pseudo": "pseudo-labels"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """One segmenter, trained on one kind of masks with one seed.

    Attributes:
        first: The seed is the first of the run.
    """

    recipe: SegmenterConfig
    arm: Arm
    seed: int
    first: bool

    @property
    def key(self) -> tuple[str, Arm, int]:
        """What tells it from the others of a run."""
        return self.recipe.name, self.arm, self.seed

    @property
    def masks(self) -> str:
        """What it learns from, in words."""
        return ARM_TITLES[self.arm]

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.recipe.name} on {self.masks}, seed {self.seed}"


def trainings(run: Run) -> Iterator[Training]:
    """All of a run, in the order in which they are done: with the first seed first."""
    found = arms(run)
    for seed in run.config.seeds:
        for recipe in run.config.segmenters:
            for arm in found:
                first = seed == run.config.seeds[0]
                yield Training(recipe=recipe, arm=arm, seed=seed, first=first)


def arms(run: Run) -> tuple[Arm, ...]:
    """Both arms, or pseudo-labels alone: asked for, or the training file has boxes without mask."""
    if run.config.human_arm != "train":
        return ("pseudo",)
    if read_check(check(run, need_val=True))["human_masks"]:
        return ("human", "pseudo")
    logger.info("the training file has boxes without masks: no training on human masks")
    return ("pseudo",)
