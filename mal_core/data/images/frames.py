"""Which pixels the boxes of an image were drawn on: as they are stored, or as viewers show them.

EXIF's orientation tells viewers how to turn the stored pixels. Some tools draw boxes on what is
shown, others on what is stored; the size that an annotation file states tells which, except
where both have the same size.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.headers import UPRIGHT, ImageHeader, Size

Frame = Literal["shown", "stored"]
Orientation = Literal["auto", "shown", "stored"]
Verdict = Literal["shown", "stored", "either", "neither"]

INVERSE = {6: 8, 8: 6}


def frame_of(header: ImageHeader, stated: Size) -> Verdict:
    """The frame that a stated (width, height) fits; "either" if both do."""
    fits = stated == header.shown_size, stated == header.size
    if all(fits):
        return "either"
    return "shown" if fits[0] else "stored" if fits[1] else "neither"


def preferred(orientation: Orientation, verdicts: Iterable[Verdict]) -> Frame:
    """The frame of the images whose sizes fit both.

    Args:
        orientation: The setting; "auto" follows the other images of the file.
        verdicts: Of the images with an orientation. Where no size tells, boxes are taken as
            drawn on what is shown: that is what browsers and most tools display.
    """
    if orientation != "auto":
        return orientation
    counts = Counter(verdicts)
    return "stored" if counts["stored"] > counts["shown"] else "shown"


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels as viewers show them.

    Args:
        pixels: Gray levels, uint8, shape (H, W, C).
        orientation: Of EXIF, 1 to 8.

    Returns:
        Shape (H, W, C), or (W, H, C) for 5 to 8.
    """
    across = pixels.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else pixels
    flips_rows, flips_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(across[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])


def turned_back(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Inverse of `turned`: uint8, (H, W, C) or for 5 to 8 (W, H, C) -> (H, W, C)."""
    return turned(pixels, INVERSE.get(orientation, orientation))


def is_turned(header: ImageHeader) -> bool:
    """Whether the two frames differ at all."""
    return header.orientation != UPRIGHT
