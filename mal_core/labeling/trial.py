"""Scores of labels once all are drawn: fitted to composites, whose masks are known, and by class.

The labeler is put to the test on photos with objects pasted in: those that it drew with confidence
itself, so no human mask is read.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mal_core.config import MalConfig
from mal_core.data.crops import ImageCache
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.labeling.protocol import Photo
from mal_core.labeling.views import BoxViews, DrawnMask, views_of
from mal_core.processes.progress import Progress
from mal_core.quality.composites import PLACES_NEEDED, Composite, Cutout, compose, cut_out
from mal_core.quality.corruptions import CORRUPTIONS, corrupt
from mal_core.quality.regression import QualityModel
from mal_core.quality.score import Quality, quality_of, with_classmates
from mal_core.quality.trained import Trial, fit_model
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord, PseudoLabel

logger = logging.getLogger(__name__)

MOST_COMPOSITES = 160
FEWEST_COMPOSITES = 40
"""Fewer say less than the model that comes with the library."""
LABELS_PER_COMPOSITE = 8
"""So the trial takes an eighth of the labeling's time at most."""
SOURCES_PER_COMPOSITE = 0.5
LEAST_AREA = 12.0**2
"""Smallest mask that is cut out, px^2."""
CONFIDENT = 0.5
"""Share of the sources that are cut out: those with the best scores so far."""
TRIES = 3
"""Attempts per composite: of some hardly anything stays visible."""
SEED = 3


class Drawer(Protocol):
    """What draws masks: `mal_core.labeling.mask_writer.MaskWriter`."""

    config: MalConfig
    quality: QualityModel

    def draw(self, boxes: Iterable[BoxViews]) -> Iterator[DrawnMask]:
        """One mask per box, in order, not scored yet; some are empty."""


def fit_quality(
    dataset: BoxDataset, writer: Drawer, labels: Sequence[PseudoLabel]
) -> QualityModel | None:
    """A model of this labeler's IoUs on these photos.

    Args:
        dataset: Boxes and photos; has no masks.
        writer: The labeler as it has labeled.
        labels: What it made of the boxes.

    Returns:
        The model; None where there are too few labels to learn from.
    """
    wanted = min(MOST_COMPOSITES, len(labels) // LABELS_PER_COMPOSITE)
    large = [label for label in labels if label.mask_area >= LEAST_AREA and label.components]
    if wanted < FEWEST_COMPOSITES or len(large) < wanted:
        return None
    trials = try_out(dataset, writer, large, wanted)
    if len(trials) < FEWEST_COMPOSITES:
        return None
    own = [label.components for label in labels if label.components]
    model = fit_model(trials, own, prior=writer.quality)
    logger.info("score: fitted to %d masks of known IoU", len(trials))
    return model


def scored_by_model(labels: Sequence[PseudoLabel], model: QualityModel) -> list[PseudoLabel]:
    """The labels with the scores that a model gives to their components."""
    return [_scored(label, quality_of(label.components, model)) for label in labels]


def scored_by_class(dataset: BoxDataset, labels: Sequence[PseudoLabel]) -> list[PseudoLabel]:
    """The labels with scores that have heard how the others of their class are scored.

    Those whose score is their labeler's own confidence (no components) stay as they are.
    """
    class_of = {box.annotation_id: box.category_id for box in dataset.boxes}
    alone = {
        label.annotation_id: Quality(
            score=label.score, interval=label.interval, components=label.components
        )
        for label in labels
        if label.components and label.interval is not None
    }
    found = with_classmates(list(alone.values()), [class_of[key] for key in alone])
    heard = dict(zip(alone, found, strict=True))
    return [
        _scored(label, heard[label.annotation_id]) if label.annotation_id in heard else label
        for label in labels
    ]


def _scored(label: PseudoLabel, quality: Quality) -> PseudoLabel:
    return dataclasses.replace(
        label,
        score=quality.score,
        interval=quality.interval,
        components=quality.components,
    )


def photo_of(composite: Composite) -> Photo:
    """A composite as a photo with its one box, among the others that stand beside it."""
    height, width = composite.image.shape[:2]
    x0, y0, x1, y1 = composite.box_xyxy.tolist()
    box = BoxAnnotation(annotation_id=0, image_id=0, category_id=0, box_xyxy=(x0, y0, x1, y1))
    return Photo(
        record=ImageRecord(image_id=0, file_name="", height=height, width=width),
        boxes=(box,),
        source=composite.image,
        company_xyxy=composite.others_xyxy,
    )


def try_out(
    dataset: BoxDataset, writer: Drawer, labels: Sequence[PseudoLabel], wanted: int
) -> list[Trial]:
    """What the labeler makes of composites of its photos, right and wrong on purpose.

    Args:
        dataset: Boxes and photos.
        writer: The labeler as it has labeled.
        labels: What it made of the boxes; objects are cut out of the best of them.
        wanted: How many composites; fewer come out where there are too few objects.
    """
    generator = np.random.default_rng(SEED)
    chosen = generator.permutation(len(labels))[: round(wanted * SOURCES_PER_COMPOSITE)]
    bench = _Bench(dataset, writer, [labels[k] for k in chosen])
    return list(bench.trials(wanted, generator))


class _Bench:
    """Photos, objects cut out of them, and a labeler to be tried on composites of both."""

    def __init__(self, dataset: BoxDataset, writer: Drawer, sources: Sequence[PseudoLabel]) -> None:
        self.writer = writer
        self._root = dataset.image_root
        self._cache = ImageCache()
        records = {record.image_id: record for record in dataset.images}
        self._box_of = {box.annotation_id: box for box in dataset.boxes}
        homes = [records[self._box_of[label.annotation_id].image_id] for label in sources]
        self.grounds = sorted(set(homes), key=lambda record: record.image_id)
        order = sorted(range(len(sources)), key=lambda k: -sources[k].score)
        kept = order[: max(1, int(CONFIDENT * len(order)))]
        cutouts = (self._cut(sources[k], homes[k]) for k in kept)
        self.cutouts = [cutout for cutout in cutouts if cutout is not None]

    def trials(self, wanted: int, generator: np.random.Generator) -> Iterator[Trial]:
        """What the labeler makes of composites; their masks are known."""
        if len(self.cutouts) < PLACES_NEEDED:
            return
        with Progress("fit scores", wanted, 0) as progress:
            made = 0
            for _ in range(TRIES * wanted):
                if made == wanted:
                    return
                composite = self._composite(generator)
                if composite is None:
                    continue
                made += 1
                progress.update(made)
                yield from self._tried(composite, generator)

    def _composite(self, generator: np.random.Generator) -> Composite | None:
        chosen = generator.integers(0, len(self.cutouts), PLACES_NEEDED)
        ground = self.grounds[int(generator.integers(0, len(self.grounds)))]
        return compose(self._photo(ground), [self.cutouts[k] for k in chosen], generator)

    def _tried(self, composite: Composite, generator: np.random.Generator) -> Iterator[Trial]:
        """The labeler's own mask, and one that was made wrong on purpose."""
        height, width = composite.image.shape[:2]
        left, top, right, bottom = pixel_box(composite.box_xyxy, height, width)
        known = composite.mask[top:bottom, left:right]
        for drawn in self.writer.draw(views_of(photo_of(composite), self.writer.config)):
            if drawn.mask.any():
                yield Trial.of(drawn.mask, known, drawn.components())
                wrong = corrupt(drawn.mask, str(generator.choice(list(CORRUPTIONS))), generator)
                if wrong.any():
                    yield Trial.of(wrong, known, drawn.components(wrong))

    def _cut(self, label: PseudoLabel, record: ImageRecord) -> Cutout | None:
        corners = np.array(self._box_of[label.annotation_id].box_xyxy)
        box = pixel_box(corners, record.height, record.width)
        mask = segmentation_to_mask(label.rle, record.height, record.width)
        return cut_out(self._photo(record), box, mask[box[1] : box[3], box[0] : box[2]] > 0)

    def _photo(self, record: ImageRecord) -> NDArray[np.uint8]:
        return self._cache.load(self._root / record.file_name)
