"""A grid of settings as runs: Hydra's lists of values, one working folder per combination."""

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.settings.unheeded import UnheededError
from mal_core.errors import ConfigError
from mal_core.evaluation.retention import report_from_json
from mal_core.report.text_tables import format_number

MAX_RUNS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """One run of a sweep.

    Attributes:
        name: The values that set it apart; also the name of its folder.
        overrides: All its settings, `workdir` among them.
    """

    name: str
    overrides: tuple[str, ...]
    workdir: Path


def combinations(
    overrides: Sequence[str], compose: Callable[[Sequence[str]], RunConfig] = composing.compose
) -> tuple[Combination, ...]:
    """All combinations of the values in a list of overrides; every one is composed once.

    Settings of our own network are left out of those that another labeler draws.

    Args:
        overrides: As for one run, but a value may be several: `seed=0,1,2`, `range(0,3)`.
        compose: Gives the settings of one run.

    Raises:
        ConfigError: Nothing varies, too much does, a combination is impossible, or none heeds a
            setting.
    """
    fixed, axes = [], []
    for text in overrides:
        values = composing.sweep_values(text)
        if values is None:
            fixed.append(text)
        else:
            axes.append([(text.partition("=")[0], value) for value in values])
    count = math.prod(len(axis) for axis in axes)
    if not axes or count > MAX_RUNS:
        seen = f"{count} runs, at most {MAX_RUNS}" if axes else "no setting has several values"
        message = (
            f"sweep: {seen}. Several values are written KEY=A,B,C; files and folders have one."
        )
        raise ConfigError(message)
    base = composing.compose(fixed).workdir
    found, unheeded = [], []
    for chosen in itertools.product(*axes):
        name = _name(chosen)
        pairs = [f"{key}={value}" for key, value in chosen]
        folder = base / name
        of_one = (*fixed, *pairs, f"workdir={folder}")
        try:
            compose(of_one)
        except UnheededError as error:  # by this labeler; another one may heed it
            unheeded.append(error)
            of_one = tuple(text for text in of_one if text not in error.overrides)
            compose(of_one)
        found.append(Combination(name=name, overrides=of_one, workdir=folder))
    if len(unheeded) == len(found):
        raise unheeded[0]
    return tuple(found)


def _name(chosen: Sequence[tuple[str, str]]) -> str:
    text = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in chosen)
    return re.sub(r"[^A-Za-z0-9_.,=+-]+", "-", text)


def summary_rows(found: Sequence[Combination]) -> list[dict[str, str]]:
    """A row per combination and segmenter; "n/a" where a run has not finished."""
    rows = []
    for combination in found:
        path = combination.workdir / "retention.json"
        if not path.is_file():
            rows.append(_row(combination.name, "n/a", None, None, None))
            continue
        report = report_from_json(json.loads(path.read_text()))
        quality = None if report.quality is None else report.quality.mask_iou.all
        for result in report.segmenters:
            rate = result.retention()["AP"]
            rows.append(_row(combination.name, result.name, quality, result.pseudo.ap, rate))
    return rows


def _row(
    name: str, segmenter: str, quality: float | None, ap: float | None, rate: float | None
) -> dict[str, str]:
    return {
        "run": name,
        "segmenter": segmenter,
        "mask IoU": format_number(quality),
        "AP, pseudo-labels": format_number(ap),
        "retention": format_number(rate, percent=True),
    }
