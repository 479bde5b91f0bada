"""Several labelers on the same boxes: what each draws, how it scores, and what it costs.

Nothing here reads a human mask. Letters: K labelers, N objects, C composites.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mal_core.evaluation.ranking import Evidence
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labelers.drawing import Drawer, Drawing, PixelBox
from mal_core.labelers.judging import Judge, JudgedBox
from mal_core.labelers.sampling import sample_boxes
from mal_core.labeling.trial import photo_of
from mal_core.labeling.upright import Part, upright_parts
from mal_core.processes.progress import Progress
from mal_core.quality.composites import PLACES_NEEDED, Composite, Cutout, compose, cut_out
from mal_core.quality.patch import mask_iou
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord, Rle

COMPOSITES, TRIES = 48, 3
SHAPES = ("box", "ellipse")
"""Labelers that look at no photo: nothing is cut out by their masks while others are there."""
CUTS = 0.75
"""Of the best mean score: labelers below it cut nothing out, since an object that is cut badly
measures the good ones wrongly."""
MOST_SOURCES = 24
LEAST_SIDE = 12
SEED = 5


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A labeler under the name that it is shown by."""

    name: str
    drawer: Drawer


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An object of the sample as all labelers drew it.

    Attributes:
        record: Its photo.
        box: Its box.
        masks: Of each labeler; None where it found nothing.
        scores: Of these masks, by the photo alone.
    """

    record: ImageRecord
    box: BoxAnnotation
    masks: tuple[Rle | None, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of a bake-off before anybody ranks it.

    Attributes:
        names: Of the labelers.
        shown: The objects.
        evidence: What the ranking is made from.
        seconds: Of each labeler for 1,000 boxes, on this machine.
        traits: By labeler: IoU with the others' masks (`agreement`), how near it comes to the
            sides of its boxes (`tight`), rank of the edges under its outline (`edges`), mean IoU
            on composites (`composites`), boxes without a mask (`empty`).
    """

    names: tuple[str, ...]
    shown: tuple[Shown, ...]
    evidence: Evidence
    seconds: Mapping[str, float]
    traits: Mapping[str, Mapping[str, float]]


class BakeOff:
    """Draws a sample of boxes, and composites made of its photos, with every labeler.

    Args:
        entrants: Two or more.
    """

    def __init__(self, entrants: Sequence[Entrant]) -> None:
        self.entrants = list(entrants)
        self.names = tuple(entrant.name for entrant in entrants)
        self.seconds = np.zeros(len(self.entrants))
        self.boxes_timed = 0

    def run(self, dataset: BoxDataset, sample: int) -> Drawn:
        """Everything that is measured.

        Args:
            dataset: All boxes.
            sample: How many of them are drawn.

        Raises:
            DatasetError: A photo cannot be read.
        """
        shown: list[Shown] = []
        judged: list[JudgedBox] = []
        photo_of_box: list[NDArray[np.uint8]] = []
        photos = sample_boxes(dataset, sample)
        total = sum(len(photo.boxes) for photo in photos)
        with Progress("draw boxes", total, 0) as progress:
            for part in (part for photo in photos for part in upright_parts(photo)):
                judge = Judge(part.photo)
                for found in self._judged(judge):
                    judged.append(found)
                    shown.append(_shown(part, found))
                    photo_of_box.append(judge.image)
                    progress.update(len(shown))
        scores = np.array([sample.scores for sample in shown])
        cutters = self._cutters(scores)
        sources = [
            _source(image, found, cutters)
            for image, found in zip(photo_of_box, judged, strict=True)
        ]
        composites = list(self._composites(sources))
        evidence = Evidence(
            scores=scores,
            photos=np.array([sample.record.image_id for sample in shown]),
            composite_scores=_table([composite[0] for composite in composites], len(self.names)),
            composite_ious=_table([composite[1] for composite in composites], len(self.names)),
        )
        per_box = 1000 * self.seconds / max(self.boxes_timed, 1)
        return Drawn(
            names=self.names,
            shown=tuple(shown),
            evidence=evidence,
            seconds={n: round(float(s), 2) for n, s in zip(self.names, per_box, strict=True)},
            traits=self._traits(judged, evidence),
        )

    def _judged(self, judge: Judge) -> Iterator[JudgedBox]:
        boxes = judge.photo.boxes
        drawn: list[list[Drawing]] = []
        for place, entrant in enumerate(self.entrants):
            started = time.perf_counter()
            drawn.append(list(entrant.drawer.draw(judge.image, boxes)))
            self.seconds[place] += time.perf_counter() - started
        self.boxes_timed += len(boxes)
        return judge.judged(drawn)

    def _cutters(self, scores: NDArray[np.float64]) -> list[int]:
        """Places of the labelers by whose masks objects are cut out, by their scores, (N, K)."""
        means = scores.mean(0)
        seeing = [place for place, name in enumerate(self.names) if name not in SHAPES]
        best = max((means[place] for place in seeing), default=0.0)
        return [place for place in seeing if means[place] >= CUTS * best]

    def _composites(
        self, sources: Sequence["_Source"]
    ) -> Iterator[tuple[list[float], list[float]]]:
        """Score and true IoU of each labeler's mask, composite by composite."""
        usable = sorted(
            (source for source in sources if source.cutout is not None),
            key=lambda source: -source.agreement,
        )
        kept = usable[: max(PLACES_NEEDED, min(MOST_SOURCES, len(usable) // 2))]
        if len(kept) < PLACES_NEEDED:
            return
        generator, made = np.random.default_rng(SEED), 0
        with Progress("draw composites", COMPOSITES, 0) as progress:
            for _ in range(TRIES * COMPOSITES):
                chosen = generator.integers(0, len(kept), PLACES_NEEDED)
                ground = kept[int(generator.integers(0, len(kept)))].ground
                cutouts = [one for k in chosen if (one := kept[int(k)].cutout) is not None]
                composite = compose(ground, cutouts, generator)
                if composite is None:
                    continue
                yield self._tried(composite)
                made += 1
                progress.update(made)
                if made == COMPOSITES:
                    return

    def _tried(self, composite: Composite) -> tuple[list[float], list[float]]:
        judge = Judge(photo_of(composite))
        image, boxes = judge.image, judge.photo.boxes
        (found,) = judge.judged([entrant.drawer.draw(image, boxes) for entrant in self.entrants])
        x0, y0, x1, y1 = found.window
        known = composite.mask[y0:y1, x0:x1]
        scores = [0.0 if drawing is None else drawing.quality.score for drawing in found.drawings]
        ious = [
            0.0 if drawing is None else mask_iou(drawing.mask, known) for drawing in found.drawings
        ]
        return scores, ious

    def _traits(
        self, judged: Sequence[JudgedBox], evidence: Evidence
    ) -> dict[str, dict[str, float]]:
        found = {}
        for place, name in enumerate(self.names):
            own = [sample.drawings[place] for sample in judged]
            drawn = [drawing for drawing in own if drawing is not None]
            parts = [drawing.quality.components for drawing in drawn]
            composites = evidence.composite_ious[:, place]
            found[name] = {
                "agreement": _mean([_agreement(sample, place) for sample in judged]),
                "tight": _mean([1 - part["gaps"] for part in parts]),
                "edges": _mean([part["edges"] for part in parts]),
                "composites": _mean(composites.tolist()),
                "empty": float(len(own) - len(drawn)),
            }
        return found


@dataclass(frozen=True, kw_only=True)
class _Source:
    """An object that may be cut out, and its photo."""

    agreement: float
    cutout: Cutout | None
    ground: NDArray[np.uint8]


def _source(image: NDArray[np.uint8], found: JudgedBox, cutters: Sequence[int]) -> _Source:
    """The object as most labelers that cut see it, or else all of them, ready to be cut out."""
    drawings = [drawing for drawing in found.drawings if drawing is not None]
    seeing = [one for place in cutters if (one := found.drawings[place]) is not None] or drawings
    x0, y0, x1, y1 = found.window
    if not seeing:
        return _Source(agreement=0.0, cutout=None, ground=image)
    votes = np.sum(
        [drawing.quality.score * np.tanh(drawing.logits / 2) for drawing in seeing], axis=0
    )
    pairs = itertools.combinations([drawing.mask for drawing in seeing], 2)
    ious = [mask_iou(a, b) for a, b in pairs] or [seeing[0].quality.score]
    pixels = np.ascontiguousarray(image[y0:y1, x0:x1])
    large = min(x1 - x0, y1 - y0) >= LEAST_SIDE
    own = 0, 0, x1 - x0, y1 - y0
    cutout = cut_out(pixels, own, votes > 0) if large else None
    return _Source(agreement=float(np.mean(ious)), cutout=cutout, ground=image)


def _shown(part: Part, found: JudgedBox) -> Shown:
    """The drawings of a box in the photo that it comes from."""
    height, width = part.photo.record.height, part.photo.record.width
    origin: PixelBox = found.window
    masks = [
        None if drawing is None else crop_mask_to_rle(drawing.mask, origin[:2], height, width)
        for drawing in found.drawings
    ]
    home = part.home
    if home is not None:
        masks = [None if mask is None else home.mask_at_home(mask) for mask in masks]
    scores = [0.0 if drawing is None else drawing.quality.score for drawing in found.drawings]
    return Shown(
        record=part.photo.record if home is None else home.record,
        box=found.box if home is None else home.annotation,
        masks=tuple(masks),
        scores=tuple(scores),
    )


def _agreement(found: JudgedBox, place: int) -> float:
    own = found.drawings[place]
    others = [drawing for k, drawing in enumerate(found.drawings) if k != place]
    if own is None:
        return 0.0
    return _mean([0.0 if other is None else mask_iou(own.mask, other.mask) for other in others])


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if len(values) else 0.0


def _table(rows: Sequence[Sequence[float]], columns: int) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(len(rows), columns)
