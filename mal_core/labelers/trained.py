"""Our own network as one labeler among others: a photo and its boxes in, drawings out."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mal_core.labelers.drawing import Drawing
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.views import DrawnMask, views_of
from mal_core.types import BoxAnnotation, ImageRecord


class Trained:
    """Draws what the command would, box by box."""

    def __init__(self, writer: MaskWriter) -> None:
        self.writer = writer

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One drawing per box, in order; the confidence is the mean probability in the mask.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: In px of the image.
        """
        height, width = image.shape[:2]
        record = ImageRecord(image_id=0, file_name="", height=height, width=width)
        photo = Photo(record=record, boxes=tuple(boxes), source=image)
        for drawn in self.writer.draw(views_of(photo, self.writer.config)):
            yield _drawing(drawn)


def _drawing(drawn: DrawnMask) -> Drawing:
    final = drawn.beliefs.final
    cleaned = (final > 0) != drawn.mask
    logits = np.where(cleaned, -final, final).astype(np.float32)
    inside = 1 / (1 + np.exp(-logits[drawn.mask]))
    confidence = float(inside.mean()) if inside.size else 0.0
    return Drawing(window_xyxy=drawn.box, logits=logits, confidence=confidence)
