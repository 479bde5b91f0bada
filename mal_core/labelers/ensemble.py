"""Several labelers heard together, each mask as far as its score deserves.

All masks are scored alike, from the photo and the box (`mal_core.quality`), so that no labeler is
believed for its own confidence. The scores of two masks of one box differ by chance, too: the
others must beat the leader, whose masks score best on a sample of all boxes, by a margin.
"""

import dataclasses
import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mal_core.config.labelers import LabelerConfig, called
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labelers.drawing import Drawer, Map
from mal_core.labelers.judging import Judge, Judged, JudgedBox
from mal_core.labelers.sampling import sample_boxes
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import upright_parts
from mal_core.processes.files import write_json
from mal_core.processes.progress import Progress
from mal_core.processes.records import from_json, to_json
from mal_core.quality.patch import mask_iou
from mal_core.types import BoxDataset, Outcome, PseudoLabel, SkippedBox, SkipReason

logger = logging.getLogger(__name__)

MARGIN = 0.03
"""Of expected IoU, by which the mask of another member must beat the leader's."""
HEARD = 0.3
"""Share of what a mask scores above or below its member's mean that counts: scores of single masks
are less sure than means."""
SPREAD = 0.06
"""A mask that is expected to be so much worse than the best counts 1/e as much."""
SAMPLE, SAMPLE_OF_CLASS, FEWEST = 64, 24, 12
"""Boxes that members are compared on, of all classes and of one, and the fewest of a class."""
STANDINGS = "ensemble.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How the members have done on a sample.

    Attributes:
        means: Mean score of each member; empty where nobody looked.
        leader: Place of the member that the others must beat; None: there is none.
    """

    means: tuple[float, ...] = ()
    leader: int | None = None

    def expected(self, scores: Mapping[int, float]) -> dict[int, float]:
        """What the masks of a box are worth, from their scores, by the places of the members."""
        found = dict(scores)
        if self.means:
            found = {
                place: self.means[place] + HEARD * (score - self.means[place])
                for place, score in scores.items()
            }
        if self.leader in found:
            found[self.leader] += MARGIN
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Standings:
    """Of all boxes, and of classes by category id, which have one of their own."""

    of_all: Standing = Standing()
    of_class: Mapping[str, Standing] = dataclasses.field(default_factory=dict)

    def of(self, category_id: int) -> Standing:
        """The one that decides for boxes of a class."""
        return self.of_class.get(str(category_id), self.of_all)


class Ensemble:
    """Labels boxes with what its members agree on, or with the best of their masks.

    Args:
        config: How they are heard.
        drawers: The members, in the order of the settings.
    """

    crowds_as_objects = False

    def __init__(self, config: LabelerConfig, drawers: Sequence[Drawer]) -> None:
        self.config = config
        self.drawers = list(drawers)
        self.names = [member.name for member in config.members]
        self.standings = Standings(of_all=Standing(leader=self._given))

    @property
    def _given(self) -> int | None:
        leader = self.config.leader
        return None if leader is None else called(self.config.members).index(leader)

    def prepare(self, dataset: BoxDataset, folder: Path) -> None:
        """Compare the members on a sample of the boxes, once for all who label in this folder.

        Args:
            dataset: All boxes.
            folder: Of the labels; keeps what was found for shards and for a later call.
        """
        if not dataset.boxes:
            return
        known = folder / STANDINGS
        if not known.is_file():
            write_json(known, to_json(self._compared(dataset)))
        self.standings = from_json(Standings, json.loads(known.read_text()), known)
        pairs = zip(self.names, self.standings.of_all.means, strict=True)
        shown = ", ".join(f"{name} {score:.3f}" for name, score in pairs)
        logger.info("ensemble: mean scores on a sample of the boxes: %s", shown)

    def _compared(self, dataset: BoxDataset) -> Standings:
        per_class = SAMPLE_OF_CLASS if self.config.per_class else None
        photos = sample_boxes(dataset, SAMPLE, per_class=per_class)
        scores: dict[int, list[list[float]]] = {}
        total, done = sum(len(photo.boxes) for photo in photos), 0
        with Progress("compare members", total, 0) as progress:
            for part in (part.photo for photo in photos for part in upright_parts(photo)):
                for judged in self._judged(Judge(part)):
                    row = [0.0 if each is None else each.quality.score for each in judged.drawings]
                    scores.setdefault(judged.box.category_id, []).append(row)
                    done += 1
                    progress.update(done)
        large = {key: rows for key, rows in scores.items() if len(rows) >= FEWEST}
        chosen = large if self.config.per_class else {}
        return Standings(
            of_all=self._standing([row for rows in scores.values() for row in rows]),
            of_class={str(key): self._standing(rows) for key, rows in sorted(chosen.items())},
        )

    def _standing(self, rows: Sequence[Sequence[float]]) -> Standing:
        means = np.mean(rows, axis=0)
        leader = int(means.argmax()) if self._given is None else self._given
        return Standing(means=tuple(round(float(value), 4) for value in means), leader=leader)

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One outcome per box, in order."""
        for judge in map(Judge, photos):
            for judged in self._judged(judge):
                yield self._outcome(judge, judged)

    def scored(self, _dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels as they are: all are scored by the photo alone."""
        return labels

    def _judged(self, judge: Judge) -> Iterator[JudgedBox]:
        drawn = [drawer.draw(judge.image, judge.photo.boxes) for drawer in self.drawers]
        return judge.judged(drawn)

    def _outcome(self, judge: Judge, judged: JudgedBox) -> Outcome:
        box, record = judged.box, judge.record
        heard = {
            place: drawing for place, drawing in enumerate(judged.drawings) if drawing is not None
        }
        standing = self.standings.of(box.category_id)
        mask = joined(heard, standing, self.config.mode) > 0 if heard else np.zeros((1, 1), bool)
        if not mask.any():
            return SkippedBox(
                annotation_id=box.annotation_id, image_id=box.image_id, reason=SkipReason.EMPTY_MASK
            )
        quality = judge.quality(box, mask, judged.window)
        pairs = itertools.combinations([drawing.mask for drawing in heard.values()], 2)
        agreement = [mask_iou(a, b) for a, b in pairs]
        return PseudoLabel(
            annotation_id=box.annotation_id,
            rle=crop_mask_to_rle(mask, judged.window[:2], record.height, record.width),
            mask_area=int(np.count_nonzero(mask)),
            score=quality.score,
            interval=quality.interval,
            components={
                **quality.components,
                "members": round(float(np.mean(agreement)), 4) if agreement else 1.0,
            },
        )


def joined(heard: Mapping[int, Judged], standing: Standing, mode: str) -> Map:
    """What the members' drawings of a box come to.

    Args:
        heard: The drawings in one window, by the places of the members; at least one.
        standing: What the members are worth.
        mode: "choose" takes the best of them; "agree" adds up log-odds, each as loud as its
            worth comes near to the best.

    Returns:
        Log-odds in the window, float32, shape (h, w).
    """
    worth = standing.expected({place: drawing.quality.score for place, drawing in heard.items()})
    best = max(worth, key=lambda place: worth[place])
    if mode == "choose":
        return heard[best].logits
    loudness = {place: np.exp((value - worth[best]) / SPREAD) for place, value in worth.items()}
    votes = [loudness[place] * drawing.logits for place, drawing in heard.items()]
    return np.asarray(np.sum(votes, axis=0) / sum(loudness.values()), dtype=np.float32)
