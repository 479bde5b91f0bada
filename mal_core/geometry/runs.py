"""Numbers of many masks at once: run lengths that fill their images, coordinates."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.mask_forms import CHARACTERS_PER_RUN, CONTINUED, NEGATIVE, ZERO

Ints = NDArray[np.int64]


def numbers_of(
    lists: Sequence[Sequence[Any]], only_numbers: bool = False
) -> NDArray[np.float64] | None:
    """All numbers of some lists end to end, float64, shape (N,).

    None where something is no number or beyond floats.

    Args:
        lists: Lists of numbers, hopefully.
        only_numbers: There are no texts, no bools and no None in them, which numpy would take.
    """
    values: Iterable[Any] = chain.from_iterable(lists)
    if not only_numbers:
        values = list(values)
        if not {*map(type, values)} <= {int, float}:
            return None
    try:
        return np.fromiter(values, np.float64, sum(map(len, lists)))
    except (TypeError, ValueError, OverflowError):  # a list within, or beyond floats
        return None


def plain_runs_fit(counts: Sequence[list[object]], pixels: Ints) -> NDArray[np.bool_]:
    """Whether uncompressed counts are sound.

    Args:
        counts: Runs of N masks.
        pixels: Size of each one's image, px, int64, shape (N,).

    Returns:
        Bool, shape (N,): whole numbers, none negative, that add up to the image. False may also
        mean that one of the others cannot be read.
    """
    lengths = np.array([len(one) for one in counts])
    runs = list(chain.from_iterable(counts))
    if set(map(type, runs)) != {int} or not lengths.all():
        return np.zeros(len(counts), bool)
    try:
        values = np.array(runs, np.int64)
    except OverflowError:
        return np.zeros(len(counts), bool)
    starts = starts_of(lengths)
    fitting = np.minimum.reduceat(values, starts) >= 0
    fitting &= np.maximum.reduceat(values, starts) <= pixels
    return np.asarray(fitting & (np.add.reduceat(values, starts) == pixels))


def compressed_runs_fit(texts: Sequence[str], pixels: Ints) -> NDArray[np.bool_]:
    """The same for compressed counts, without decoding a pixel.

    Each number is written in characters of five bits, the lowest first; from the fourth on
    it is the difference from the run before the last.

    Args:
        texts: Counts of N masks.
        pixels: Size of each one's image, px, int64, shape (N,).

    Returns:
        Bool, shape (N,), as from `plain_runs_fit`.
    """
    sound = np.array([text.isascii() and bool(text) for text in texts])
    if not sound.all():
        fitting = np.zeros(len(texts), bool)
        if sound.any():
            chosen = [text for text, good in zip(texts, sound, strict=True) if good]
            fitting[sound] = compressed_runs_fit(chosen, pixels[sound])
        return fitting
    bits = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int64) - ZERO
    stops = np.cumsum([len(text) for text in texts])
    ends = np.flatnonzero((bits & CONTINUED) == 0)
    owner = np.searchsorted(stops, ends, side="right")
    begins = np.concatenate([[0], stops[:-1]])[owner]
    widths = ends + 1 - np.maximum(np.concatenate([[0], ends[:-1] + 1]), begins)
    bad = np.zeros(len(texts), bool)
    bad[np.searchsorted(stops, np.flatnonzero((bits < 0) | (bits > 63)), side="right")] = True
    bad[(bits[stops - 1] & CONTINUED) != 0] = True
    bad[owner[widths > CHARACTERS_PER_RUN]] = True
    values = _values(bits, ends, widths)
    totals, lowest = _totals(values, owner, len(texts))
    return np.asarray(~bad & (lowest >= 0) & (totals == pixels))


def _values(bits: Ints, ends: Ints, widths: Ints) -> Ints:
    values = np.zeros(len(ends), np.int64)
    first = ends - widths + 1
    for place in range(int(min(widths.max(initial=0), CHARACTERS_PER_RUN))):
        inside = widths > place
        values[inside] |= (bits[first[inside] + place] & 31) << (5 * place)
    negative = (bits[ends] & NEGATIVE) != 0
    values[negative] -= 1 << (5 * np.minimum(widths[negative], CHARACTERS_PER_RUN))
    return values


def _totals(values: Ints, owner: Ints, count: int) -> tuple[Ints, Ints]:
    """Sum and least of the runs of each mask, (count,) each; runs of no mask are -1."""
    starts = np.searchsorted(owner, np.arange(count))
    order = np.arange(len(values)) - starts[owner]
    runs = values.copy()
    for chain_of in (order % 2 == 1, (order % 2 == 0) & (order > 0)):
        chosen = np.flatnonzero(chain_of)
        if not len(chosen):
            continue
        summed = np.cumsum(values[chosen])
        begins = np.flatnonzero(np.diff(owner[chosen], prepend=-1))
        before = np.concatenate([[0], summed])[begins]
        lengths = np.diff(begins, append=len(chosen))
        runs[chosen] = summed - np.repeat(before, lengths)
    totals = np.zeros(count, np.int64)
    np.add.at(totals, owner, runs)
    lowest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(lowest, owner, runs)
    return totals, np.where(lowest == np.iinfo(np.int64).max, -1, lowest)


def starts_of(lengths: Ints) -> Ints:
    """Where each of some runs begins that lie end to end: lengths (N,) -> places (N,), int64."""
    return np.concatenate([[0], np.cumsum(lengths)[:-1]])
