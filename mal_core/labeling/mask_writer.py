"""Our own network draws: forward passes over crops, and what becomes of their logits."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.config import MalConfig
from mal_core.geometry.boxes import box_mask_in_crop
from mal_core.labeling.contested import settled
from mal_core.labeling.protocol import Photo
from mal_core.labeling.tightening import grown_boxes
from mal_core.labeling.trial import fit_quality, scored_by_model
from mal_core.labeling.views import BoxViews, DrawnMask, Seen, draw_mask, to_label, views_of
from mal_core.models.encoder import normalize
from mal_core.models.labeler import LOGIT_STRIDE, MaskAutoLabeler, Sight
from mal_core.models.precision import computes_in_bf16
from mal_core.quality.score import default_model
from mal_core.types import BoxAnnotation, BoxDataset, Outcome, PseudoLabel

Finished = TypeVar("Finished")
Crop = tuple[BoxViews, int, NDArray[np.uint8]]
"""A box, and one of its crops at network size, (S, S, 3), with its place among them."""


class MaskWriter:
    """Turns crops into full-image masks with one network or with both.

    Attributes:
        crowds_as_objects: Crowds are labeled like any other box, as in the reference.
    """

    def __init__(self, labeler: MaskAutoLabeler, config: MalConfig) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labeler = labeler.to(self.device).eval()
        self.config = config
        self.crowds_as_objects = config.compat_official
        chosen = {"student": ["student"], "teacher": ["teacher"], "both": ["student", "teacher"]}
        self.networks = [getattr(labeler, name) for name in chosen[config.label_network]]
        self.sees_box = self.networks[0].outline_head is not None
        self.bf16 = computes_in_bf16(config.label_precision, self.device)
        self.quality = default_model("labels")

    def prepare(self, _dataset: BoxDataset, _folder: Path) -> None:
        """Nothing: the network has seen all it needs."""

    @torch.inference_mode()
    def logits(
        self, crops_u8: Tensor, boxes_xyxy: Tensor, box_masks: Tensor | None = None
    ) -> Tensor:
        """Mean logits over networks and, with the flip test, over mirror images.

        Args:
            crops_u8: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: Shape (B, 4), px of the original image.
            box_masks: As for `see`, shape (B, S/4, S/4).

        Returns:
            Shape (B, S/4, S/4), or (B, S/2, S/2) from the outline head; on the CPU.
        """
        return self.see(crops_u8, boxes_xyxy, box_masks).logits

    @torch.inference_mode()
    def see(self, crops_u8: Tensor, boxes_xyxy: Tensor, box_masks: Tensor | None = None) -> Sight:
        """Means over networks and, with the flip test, over mirror images.

        Args:
            crops_u8: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: Shape (B, 4), px of the original image.
            box_masks: Filled boxes in the crops, for the outline head; shape (B, S/4, S/4).

        Returns:
            On the CPU: logits, shape (B, S/4, S/4), or (B, S/2, S/2) from the outline head; those
            of before it, shape (B, S/4, S/4); features, shape (B, E, h, w).
        """
        image = normalize(crops_u8.to(self.device), self.labeler.mean, self.labeler.std)
        boxes = boxes_xyxy.to(self.device)
        masks = None if box_masks is None else box_masks.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            views = [network.see(image, boxes, masks) for network in self.networks]
            if self.config.flip_test:
                mirrored = None if masks is None else masks.flip(2)
                for network in self.networks:
                    seen = network.see(image.flip(3), boxes, mirrored)
                    views.append(Sight(*(values.flip(3) for values in seen)))
        means = [torch.stack(values).float().mean(0).cpu() for values in zip(*views, strict=True)]
        return Sight(means[0].squeeze(1), means[1].squeeze(1), means[2])

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One outcome per box, photo by photo; boxes of several photos share forward passes."""
        return self.label(self.views(photos))

    def views(self, photos: Iterable[Photo]) -> Iterator[BoxViews]:
        """The boxes of all photos with their crops; each photo is decoded when its turn comes."""
        return chain.from_iterable(map(self._views_of, photos))

    def _views_of(self, photo: Photo) -> Iterator[BoxViews]:
        if self.config.tighten:
            photo = photo.decoded()
            boxes = tuple(grown_boxes(photo, self.see, self.config))
            photo = dataclasses.replace(photo, boxes=boxes)
        return views_of(photo, self.config)

    def features(self, photos: Iterable[Photo]) -> Iterator[NDArray[np.float32]]:
        """What the encoder sees of each box in its widest view, shape (E, h, w)."""
        crops = _crops(self.views(photos), deque(maxlen=0))
        while part := list(islice(crops, self.config.label_batch_size)):
            for seen, (_, place, _) in zip(self._sights(part), part, strict=True):
                if place == 0 and seen.features is not None:
                    yield seen.features

    def label(self, boxes: Iterable[BoxViews]) -> Iterator[Outcome]:
        """One outcome per box, in order."""
        yield from self.settled(self._finished(boxes, self._labeled))

    def _labeled(self, drawn: DrawnMask) -> tuple[DrawnMask, Outcome]:
        return drawn, to_label(drawn, self.quality)

    def settled(self, found: Iterable[tuple[DrawnMask, Outcome]]) -> Iterator[Outcome]:
        """Outcomes in order, once masks of a photo gave up what is others' (`settle_overlaps`)."""
        if self.config.settle_overlaps:
            yield from settled(found)
        else:
            yield from (outcome for _, outcome in found)

    def scored(self, dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels with scores of a model that was fitted to them, where there are enough."""
        model = fit_quality(dataset, self, labels)
        return labels if model is None else scored_by_model(labels, model)

    def draw(self, boxes: Iterable[BoxViews]) -> Iterator[DrawnMask]:
        """One mask per box, in order, not scored yet; some are empty."""
        return self._finished(boxes, lambda drawn: drawn)

    def _finished(
        self, boxes: Iterable[BoxViews], finish: Callable[[DrawnMask], Finished]
    ) -> Iterator[Finished]:
        """What `finish` makes of each box's mask, in order.

        The masks of a forward pass are drawn in a thread while the next one is at work. Takes
        boxes from the iterable only as passes need them: no more crops exist than two of them
        hold, however many boxes a photo has.
        """
        waiting: deque[BoxViews] = deque()
        sights: deque[Seen] = deque()
        crops = _crops(boxes, waiting)

        def work(item: BoxViews, own: Sequence[Seen]) -> Finished:
            return finish(draw_mask(item, own, self.config))

        with ThreadPoolExecutor(1, thread_name_prefix="drawing") as drawing:
            before: list[Future[Finished]] = []
            while part := list(islice(crops, self.config.label_batch_size)):
                sights.extend(self._sights(part))
                part.clear()  # or its crops would stay while those of the next pass are cut
                yield from (each.result() for each in before)
                before = []
                # The views of the last box may go on in the next pass.
                while waiting and len(waiting[0].views) <= len(sights):
                    item = waiting.popleft()
                    own = [sights.popleft() for _ in item.views]
                    before.append(drawing.submit(work, item, own))
            yield from (each.result() for each in before)

    def _sights(self, part: Sequence[Crop]) -> Iterator[Seen]:
        owners = [item.annotation for item, _, _ in part]
        pixels, boxes_xyxy = _batch(owners, [crop for _, _, crop in part])
        familiar = self.labeler.familiar
        logits, unaware, features = self.see(pixels, boxes_xyxy, self._box_masks(part))
        for own, before, tokens in zip(
            logits.numpy(), unaware.numpy(), features.numpy(), strict=True
        ):
            yield Seen(
                logits=own,
                unaware=before if self.sees_box else None,
                features=tokens,
                unlike=None if familiar is None else familiar.unlikeness(tokens),
            )

    def _box_masks(self, part: Sequence[Crop]) -> Tensor | None:
        """What the outline head is told, (B, S/4, S/4), where there is one."""
        if not self.sees_box:
            return None
        filled = [
            box_mask_in_crop(
                np.array(item.annotation.box_xyxy),
                item.views[place].crop_xyxy,
                len(crop) // LOGIT_STRIDE,
            )
            for item, place, crop in part
        ]
        return torch.from_numpy(np.stack(filled))


def _batch(
    owners: Sequence[BoxAnnotation], crops: Sequence[NDArray[np.uint8]]
) -> tuple[Tensor, Tensor]:
    """Crops, shape (B, S, S, 3), and the boxes they were cut for, shape (B, 4)."""
    boxes_xyxy = torch.tensor([annotation.box_xyxy for annotation in owners])
    return torch.from_numpy(np.stack(crops)), boxes_xyxy


def _crops(boxes: Iterable[BoxViews], waiting: deque[BoxViews]) -> Iterator[Crop]:
    """The crops of all boxes, one by one; a box waits for its mask from its first crop on."""
    for item in boxes:
        waiting.append(item)
        for place, view in enumerate(item.views):
            yield item, place, view.crop
