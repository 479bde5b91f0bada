"""Records passed between stages; all frozen. GT masks have no field in phase 1's records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mal_core.errors import LabelingError

HUMAN_SOURCE = "human"
"""`source` of an annotation whose mask a human has drawn or corrected."""
REVIEW, REJECTED = "review", "rejected"
"""Key and value of an annotation whose mask a human has turned down; it has none any more."""
REPLACED = "replaced_masks"
"""Key of the digests of masks that an annotation had before humans corrected or rejected them."""
Corners = tuple[float, float, float, float, float, float, float, float]
"""Of a rotated box: x1, y1, ..., x4, y4 in px of the image, around it in either direction."""
Rle = dict[str, object]
"""Compressed COCO run-length encoding: {"size": [height, width], "counts": str}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """A class as the file names it."""

    category_id: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """An image as the file describes it.

    Attributes:
        height, width: In px, in the frame that the boxes are in.
        origin: Where the entry comes from in the user's own file; "": from the entry of its id.
    """

    image_id: int
    file_name: str
    height: int
    width: int
    origin: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.origin or f"image {self.image_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxAnnotation:
    """A box in px of its image, half-open, origin top-left, clipped to the image.

    Attributes:
        corners: Of a rotated box, which may leave the image; `box_xyxy` is what it reaches over.
    """

    annotation_id: int
    image_id: int
    category_id: int
    box_xyxy: tuple[float, float, float, float]
    corners: Corners | None = None

    @property
    def area(self) -> float:
        """Box area in px^2."""
        if self.corners is not None:
            x, y = self.corners[::2], self.corners[1::2]
            return abs(sum(x[k - 1] * y[k] - x[k] * y[k - 1] for k in range(4))) / 2
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0)


class SkipReason(StrEnum):
    """Why a box got no mask."""

    ZERO_SIZE_BOX = "zero-size box"
    EMPTY_MASK = "the labeler found no mask pixel"
    NOT_GIVEN = "the given labels have no mask for it"
    REJECTED = "a reviewer rejected its mask"


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedBox:
    """A box without a mask, and why."""

    annotation_id: int
    image_id: int
    reason: SkipReason


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxDataset:
    """A dataset reduced to what phase 1 may see. It has no mask field on purpose.

    Attributes:
        annotations_path: The COCO file it was read from.
        image_root: Folder of the images.
        boxes: Usable boxes, in file order.
        skipped: Boxes that cannot be labeled, found while reading.
        num_crowds: Crowd annotations, which pass through untouched.
        num_clipped: Boxes with an overhang of up to 2 px that was cut off.
    """

    annotations_path: Path
    image_root: Path
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    boxes: tuple[BoxAnnotation, ...]
    skipped: tuple[SkippedBox, ...]
    num_crowds: int
    num_clipped: int

    @property
    def num_annotations(self) -> int:
        """Every annotation of the file: usable boxes, skipped boxes and crowds."""
        return len(self.boxes) + len(self.skipped) + self.num_crowds


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabel:
    """A mask for one box.

    Attributes:
        rle: Full-image mask, `str` counts.
        mask_area: Mask pixels.
        score: Expected IoU with a careful human's mask, in [0, 1] (see mal_core.quality).
        interval: Where that IoU probably lies; None: not known.
        components: What the score was made from, by name.
        dropped, filled: Pixels of fragments that were dropped and of holes that were filled.
        ceded: Pixels that went to masks of other boxes.
        human: A human has drawn or corrected it.
    """

    annotation_id: int
    rle: Rle
    mask_area: int
    score: float
    interval: tuple[float, float] | None = None
    components: Mapping[str, float] = field(default_factory=dict)
    dropped: int = 0
    filled: int = 0
    ceded: int = 0
    human: bool = False


Outcome = PseudoLabel | SkippedBox
"""What became of a box that was to be labeled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabelSet:
    """Written pseudo-labels and their accounting.

    Raises:
        LabelingError: `num_boxes` is not the sum of masks, crowds and skips.
    """

    annotations: Path
    ledger: Path
    num_boxes: int
    num_masks: int
    num_crowds: int
    num_skipped: Mapping[str, int]

    def __post_init__(self) -> None:
        out = self.num_masks + self.num_crowds + sum(self.num_skipped.values())
        if self.num_boxes != out:
            message = (
                f"{self.annotations}: {self.num_boxes} boxes went in, but {self.num_masks} masks, "
                f"{self.num_crowds} crowds and {dict(self.num_skipped)} skipped came out."
            )
            raise LabelingError(message)

    def summary(self) -> str:
        """The accounting in one line."""
        skipped = sum(self.num_skipped.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.num_skipped.items())
        detail = f" ({reasons})" if reasons else ""
        return (
            f"boxes in {self.num_boxes} = masks {self.num_masks} + crowds {self.num_crowds} "
            f"+ skipped {skipped}{detail}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskMetrics:
    """COCO mask AP, in [0, 1]; None where there is no such ground truth.

    Attributes:
        ap_boundary: Masks judged by their outlines too; None where it was not measured.
        ap_box: AP of the predicted boxes, likewise.
        ap_rare, ap_common, ap_frequent: Over LVIS's groups of classes.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ap_boundary: float | None = None
    ap_box: float | None = None
    ap_rare: float | None = None
    ap_common: float | None = None
    ap_frequent: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeMeans:
    """A mean over all boxes and over each size of box; None where there is none."""

    all: float | None
    small: float | None
    medium: float | None
    large: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelQuality:
    """How well masks of a labeled file agree with human masks on the same boxes.

    Attributes:
        mask_iou: Mean IoU over instances; a skipped box counts as 0.
        box_fill, ellipse: The same for filled boxes and for inscribed ellipses.
        counts: Number of instances, overall and by box size.
        iou_of: IoU of each annotation id.
    """

    mask_iou: SizeMeans
    box_fill: SizeMeans
    ellipse: SizeMeans
    counts: Mapping[str, int]
    iou_of: Mapping[int, float]
