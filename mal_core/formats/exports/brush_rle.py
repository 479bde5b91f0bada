"""Label Studio's brush masks: RGBA pixels, row by row, in runs of bits (thi.ng's rle-pack).

A stream begins with the number of values (32 bits), the bits of a value less one (5) and four
widths of run lengths less one (4 each). A block is a bit that says whether one value repeats, two
bits that choose a width, the length less one in that width, and one value or as many as the
length says.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VALUE_BITS = 8
WIDTHS = (3, 4, 8, 16)
CHANNELS = 4
ALPHA = 3
HALF = 128


class BrushError(ValueError):
    """Bytes are no brush mask of that size."""


def mask_to_brush(mask: NDArray[np.uint8]) -> list[int]:
    """A 0/1 mask, shape (H, W), as bytes: its pixels are (255, 255, 255, 255), others 0."""
    flat = mask.ravel() > 0
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]]).astype(np.int64)
    bits = [f"{flat.size * CHANNELS:032b}", f"{VALUE_BITS - 1:05b}"]
    bits += [f"{width - 1:04b}" for width in WIDTHS]
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        bits += _run((stop - start) * CHANNELS, 255 if flat[start] else 0)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run(length: int, value: int) -> list[str]:
    blocks = []
    longest = 1 << WIDTHS[-1]
    while length:
        part = min(length, longest)
        index = next(i for i, width in enumerate(WIDTHS) if part <= 1 << width)
        blocks.append(f"1{index:02b}{part - 1:0{WIDTHS[index]}b}{value:0{VALUE_BITS}b}")
        length -= part
    return blocks


def brush_to_mask(brush: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """The pixels whose alpha is at least half, 0/1, shape (height, width).

    Raises:
        BrushError: The bytes are no mask of that size.
    """
    if not all(type(byte) is int and 0 <= byte < 256 for byte in brush):
        message = "its rle must be a list of bytes."
        raise BrushError(message)
    bits = "".join(f"{byte:08b}" for byte in brush)
    try:
        values = _values(bits, height * width * CHANNELS)
    except ValueError as error:
        message = f"its rle is no mask of {width} x {height} px ({error})."
        raise BrushError(message) from error
    return (values.reshape(height, width, CHANNELS)[:, :, ALPHA] >= HALF).astype(np.uint8)


def _values(bits: str, wanted: int) -> NDArray[np.uint8]:
    count, value_bits = int(bits[:32], 2), int(bits[32:37], 2) + 1
    if count != wanted:
        message = f"{count} values, wanted {wanted}"
        raise ValueError(message)
    widths = [int(bits[37 + 4 * i : 41 + 4 * i], 2) + 1 for i in range(len(WIDTHS))]
    out = np.zeros(count, np.uint8)
    place, done = 53, 0
    while done < count:
        repeats, width = bits[place] == "1", widths[int(bits[place + 1 : place + 3], 2)]
        length = int(bits[place + 3 : place + 3 + width], 2) + 1
        place += 3 + width
        stop = place + value_bits * (1 if repeats else length)
        if done + length > count or stop > len(bits):
            message = "it ends too early"
            raise ValueError(message)
        # Wider values than bytes do not occur in images; their high bits decide then.
        shift = max(value_bits - 8, 0)
        words = [int(bits[i : i + value_bits], 2) >> shift for i in range(place, stop, value_bits)]
        out[done : done + length] = words
        place, done = stop, done + length
    return out
