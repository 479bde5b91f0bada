"""Names for masks, so that what people looked at is told from what stands in the labels now."""

from pycocotools import mask as coco_mask

from mal_core.geometry.masks import mask_to_rle
from mal_core.processes.files import sha256_json
from mal_core.types import Rle

DIGITS = 12


def mask_digest(rle: Rle) -> str:
    """The same for the same pixels, however they are encoded."""
    return sha256_json(mask_to_rle(coco_mask.decode(rle)))[:DIGITS]
