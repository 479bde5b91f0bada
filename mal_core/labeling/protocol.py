"""What labeling asks of whoever draws masks: outcomes for the boxes of photos, one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.loading import load_image
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord, Outcome, PseudoLabel

NOBODY = np.zeros((0, 4))


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A photo and its boxes to be labeled.

    Attributes:
        source: Folder of the images, or the photo itself, RGB, shape (H, W, 3).
        company_xyxy: Further boxes in it that get no mask here, px, shape (N, 4).
    """

    record: ImageRecord
    boxes: tuple[BoxAnnotation, ...]
    source: Path | NDArray[np.uint8]
    company_xyxy: NDArray[np.float64] = field(default_factory=lambda: NOBODY)

    def pixels(self) -> NDArray[np.uint8]:
        """The photo decoded, RGB, shape (H, W, 3).

        Raises:
            DatasetError: The photo is absent or cannot be decoded.
        """
        if isinstance(self.source, Path):
            return load_image(self.source / self.record.file_name)
        return self.source

    def decoded(self) -> "Photo":
        """The same photo with its pixels at hand.

        Raises:
            DatasetError: As for `pixels`.
        """
        return replace(self, source=self.pixels())


def corners_of(boxes: Iterable[BoxAnnotation]) -> NDArray[np.float64]:
    """Boxes as an array, px, shape (N, 4)."""
    return np.array([box.box_xyxy for box in boxes], dtype=np.float64).reshape(-1, 4)


class PhotoLabeler(Protocol):
    """Draws masks, or says why a box has none.

    Attributes:
        crowds_as_objects: Crowds are labeled like any other box.
    """

    crowds_as_objects: bool

    def prepare(self, dataset: BoxDataset, folder: Path) -> None:
        """See what it needs to see of all boxes before it draws; called once, before `outcomes`.

        Args:
            dataset: All boxes.
            folder: Of the labels; shards and later calls find there what was seen.
        """

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One outcome per box, in order. The same photos give the same outcomes, bit by bit.

        Takes photos from the iterable only as it needs them.
        """

    def scored(self, dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels of a whole dataset with their final scores."""
