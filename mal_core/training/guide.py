"""The masks of another labeler, heard while a round of self-training labels its boxes.

A guide knows outlines that the network does not, and is wrong where it took a part for the
object, or the ground with it. Nobody says which; but the network has learned from all boxes, so
what a guide has in common with its mask is worth much, and what contradicts it is worth nothing.
The guide's vote is added to the network's belief before the colors of the photo speak: on
its outline they decide which of both is right.

Shape letters: H W px of a photo, h w px of a box.
"""

import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.config import MalConfig
from mal_core.data.matched import match_masks
from mal_core.errors import DatasetError
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import seen_in_frame
from mal_core.labeling.views import DrawnMask, refined_in_photo, to_label
from mal_core.quality.patch import mask_iou
from mal_core.types import BoxDataset, Corners, Outcome, Rle

logger = logging.getLogger(__name__)

LOUDNESS = 4.0
"""Log-odds of a guide's vote, for each of the log-odds of its IoU with the network's mask."""
MOST_AGREEMENT = 0.98
"""IoU above which more means nothing: masks of one object differ by their pixels' borders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guide:
    """Masks of another labeler.

    Attributes:
        masks: By annotation id; boxes that are not among them are labeled without it.
        corners: Of the rotated boxes, by annotation id.
    """

    masks: Mapping[int, Rle]
    corners: Mapping[int, Corners] = field(default_factory=dict)

    def heard(self, drawn: DrawnMask, config: MalConfig) -> DrawnMask:
        """A mask of the network, drawn once more with the guide's vote.

        Args:
            drawn: The network's own, of a labeling that cuts at even odds.
            config: How labels are refined.
        """
        item, network = drawn.item, drawn.beliefs.network
        rle = self.masks.get(item.annotation.annotation_id)
        if rle is None or network is None:
            return drawn
        x0, y0, x1, y1 = drawn.box
        given = self._seen_with(item.annotation.annotation_id, rle)[y0:y1, x0:x1] > 0
        vote = loudness(mask_iou(drawn.mask, given)) if given.any() else 0.0
        if vote == 0:
            return drawn
        bound, how = config.refinement.network_bound, config.refinement
        belief = network.clip(-bound, bound) + np.where(given, vote, -vote).astype(np.float32)
        corners = np.array(item.annotation.box_xyxy)
        if how.enabled:
            belief = refined_in_photo(item.image, item.record, corners, belief, how)
        return dataclasses.replace(drawn, mask=belief > 0)

    def _seen_with(self, annotation_id: int, rle: Rle) -> NDArray[np.uint8]:
        """A mask in the photo that its box is labeled in, (H, W) or that of a rotated box."""
        mask: NDArray[np.uint8] = coco_mask.decode(rle)
        corners = self.corners.get(annotation_id)
        return mask if corners is None else seen_in_frame(mask, corners)


def guided_outcomes(writer: MaskWriter, guide: Guide, photos: Iterable[Photo]) -> Iterator[Outcome]:
    """One outcome per box, in order, of a network that hears a guide.

    The scores mean little; a round learns all masks alike.
    """
    for own in writer.draw(writer.views(photos)):
        yield to_label(guide.heard(own, writer.config), writer.quality)


def loudness(iou: float) -> float:
    """Log-odds of a guide's vote: none up to an IoU of one half with the network's mask."""
    shared = min(iou, MOST_AGREEMENT)
    return LOUDNESS * math.log(shared / (1 - shared)) if shared > 1 / 2 else 0.0


def read_guide(path: Path, dataset: BoxDataset) -> Guide:
    """Read a guide's masks, and say what it has for the boxes.

    Args:
        path: COCO file with masks in any of their forms.
        dataset: The boxes that are trained on.

    Raises:
        DatasetError: It has no mask for any box, masks of other sizes than their images, or masks
            that are not where the boxes are.
    """
    found = match_masks(path, dataset, boxes_of="the training file")
    if found.problems:
        raise DatasetError(path, found.problems)
    found.tell(path)
    boxes, num_guided = len(dataset.boxes), len(found.masks)
    strangers = len(found.entries.keys() - {box.annotation_id for box in dataset.boxes})
    logger.info(
        "guide %s: masks for %d of %d boxes; %d learn from their boxes alone; "
        "%d of its annotations are of none of them",
        path, num_guided, boxes, boxes - num_guided, strangers,
    )  # fmt: skip
    corners = {box.annotation_id: box.corners for box in dataset.boxes if box.corners is not None}
    return Guide(masks=found.masks, corners=corners)
