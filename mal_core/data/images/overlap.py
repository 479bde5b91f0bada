"""Photos that two lists of images share: the same file, or nearly the same picture.

A difference hash (Krawetz 2013, "Kind of like that") of a thumbnail finds candidates, whatever
a copy's size, quality and format are; the thumbnails themselves decide, since photos of dark or
even ground have similar hashes without being the same.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.headers import UNREADABLE, read_header
from mal_core.data.images.loading import IMAGES_WORTH_A_BAR
from mal_core.data.images.pooled import in_order
from mal_core.processes.progress import Progress

SIDE = 32
"""Px of a thumbnail."""
HASH_SIDE = 8
FARTHEST = 12
"""Bits of 64 that may differ between two versions of one photo."""
LEAST_CORRELATION = 0.96
"""Of two thumbnails that show the same photo: copies at another quality have 0.999, the frames of
a film a second apart 0.95, photos of one street corner less."""
REPORTED = 100
BLOCK = 1 << 22
"""Pairs that are compared at a time: 32 MB."""
REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}

Floats = NDArray[np.float32]
Bits = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """A photo of the second list that is one of the first list too.

    Attributes:
        first, second: File names in the two lists.
        exact: The files are the same, byte by byte.
        correlation: Of both thumbnails, 1 for the same file.
    """

    first: str
    second: str
    exact: bool
    correlation: float


def same_files(first: Mapping[str, str], second: Mapping[str, str]) -> list[Twin]:
    """Images of both lists with the same content.

    Args:
        first: Digest of each image's content by file name.
        second: The same of the other list.

    Returns:
        One for each image of `second` that is in `first`, in order.
    """
    name_of: dict[str, str] = {}
    for name, digest in first.items():
        name_of.setdefault(digest, name)
    return [
        Twin(first=name_of[digest], second=name, exact=True, correlation=1.0)
        for name, digest in second.items()
        if digest in name_of
    ]


def near_twins(first: tuple[Path, Sequence[str]], second: tuple[Path, Sequence[str]]) -> list[Twin]:
    """Images of the second list that show what one of the first list shows.

    Args:
        first: A folder and the names of its images; what cannot be read is left out.
        second: The other folder and names.

    Returns:
        The closest of `first` for each such image of `second`, in order.
    """
    total = len(first[1]) + len(second[1])
    with _bar(total) as tell:
        theirs = _Thumbnails(*first, tell)
        ours = _Thumbnails(*second, lambda done: tell(len(first[1]) + done))
    best: dict[int, tuple[float, int]] = {}
    for row, column in _candidates(ours.hashes, theirs.hashes):
        found = float(ours.normal[row] @ theirs.normal[column]) / SIDE**2
        if found >= LEAST_CORRELATION and found > best.get(row, (0.0, 0))[0]:
            best[row] = found, column
    return [
        Twin(
            first=theirs.names[column],
            second=ours.names[row],
            exact=False,
            correlation=round(found, 4),
        )
        for row, (found, column) in sorted(best.items())
    ]


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Tells how many images are read, where that takes longer than a glance."""
    if total < IMAGES_WORTH_A_BAR:
        yield lambda _done: None
        return
    with Progress("compare the images of both splits", total) as progress:
        yield progress.update


class _Thumbnails:
    """Thumbnails of the readable images of a folder.

    Attributes:
        names: Of those images.
        normal: Each thumbnail with mean 0 and deviation 1, shape (N, SIDE * SIDE).
        hashes: Shape (N,), one bit per pair of neighbors.
    """

    def __init__(self, root: Path, names: Sequence[str], tell: Callable[[int], None]) -> None:
        self.names: list[str] = []
        found: list[Floats] = []
        for number, pixels in enumerate(in_order(lambda name: _thumbnail(root / name), names)):
            if (number + 1) % REPORTED == 0 or number + 1 == len(names):
                tell(number + 1)
            if pixels is not None:
                self.names.append(names[number])
                found.append(pixels)
        flat = np.stack(found) if found else np.zeros((0, SIDE * SIDE), np.float32)
        spread = flat.std(1, keepdims=True)
        # An even picture has nothing to compare: it correlates with none.
        self.normal = (flat - flat.mean(1, keepdims=True)) / np.where(spread > 1, spread, np.inf)
        self.hashes = _hashes(flat)


def _thumbnail(path: Path) -> Floats | None:
    """Grey values of a photo on a grid, shape (SIDE * SIDE,); None where it cannot be read."""
    try:
        header = read_header(path)
        shorter = min(header.size)
        factor = next((factor for factor in REDUCED if shorter >= factor * 2 * SIDE), 1)
        flag = REDUCED.get(factor, cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_IGNORE_ORIENTATION
        with header.turn_to_decode():
            pixels = cv2.imread(str(path), flag)
    except UNREADABLE:
        return None
    if pixels is None:
        return None
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).reshape(-1)


def _hashes(flat: Floats) -> Bits:
    """Difference hashes of thumbnails, shape (N,)."""
    if not len(flat):
        return np.zeros(0, np.uint64)
    grid = np.stack(
        [
            cv2.resize(
                one.reshape(SIDE, SIDE), (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA
            )
            for one in flat
        ]
    )
    brighter = grid[:, :, 1:] > grid[:, :, :-1]
    return (
        np.packbits(brighter.reshape(len(flat), -1), axis=1)
        .view(">u8")
        .reshape(-1)
        .astype(np.uint64)
    )


def _candidates(rows: Bits, columns: Bits) -> Iterator[tuple[int, int]]:
    """Pairs whose hashes differ in a few bits."""
    step = max(1, BLOCK // max(1, len(columns)))
    for start in range(0, len(rows), step):
        differ = np.bitwise_count(rows[start : start + step, None] ^ columns[None])
        found, others = np.nonzero(differ <= FARTHEST)
        yield from zip((found + start).tolist(), others.tolist(), strict=True)
