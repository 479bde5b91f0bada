"""Scores fitted to the human masks that a user has, with intervals that hold for the others.

A third of the human masks is kept out of the fit: it measures how far scores are off, which is
what the intervals are made of (split conformal prediction), and whether the fit helped.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.data.coco import by_id, parse_coco
from mal_core.data.pseudo_labels import (
    COMPONENTS,
    INTERVAL,
    is_component,
    is_score,
    put_score,
)
from mal_core.errors import DatasetError
from mal_core.evaluation.agreement import measure_agreement
from mal_core.evaluation.reliability import Reliability, reliability
from mal_core.processes.own_file import write_own_json
from mal_core.quality.regression import QualityModel, conformal_width, fit
from mal_core.quality.score import (
    default_model,
    kind_of,
    quality_of,
    with_classmates,
    without_opinion,
)
from mal_core.types import HUMAN_SOURCE

FEWEST = 30
"""Human masks below which a fit and an interval of 90 % mean nothing."""
HELD_OUT = 3
"""One of so many human masks is kept out of the fit."""
RIDGE = 10.0
"""Human masks' worth of pull that the library's own curve has."""
SEED = 11
ANEW = "`mal score` writes both anew."
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What became of the scores of a labeled file.

    Attributes:
        model: Made the new scores.
        fitted: Human masks that it was fitted to.
        rescored: Labels with a new score.
        before, after: Old and new scores of the human masks that were kept out of the fit.
        covered: Share of these whose IoU lies in its interval.
    """

    model: QualityModel
    fitted: int
    rescored: int
    before: Reliability
    after: Reliability
    covered: float


def calibrate(labels: Path, human: Path, output: Path) -> Calibration:
    """Write a labeled file again with scores that suit its human masks.

    Args:
        labels: Labels with `score_components`, as `mal label` and `mal score` write them.
        human: COCO file with human masks of some of the same annotation ids.
        output: Receives the labels; only scores and intervals change, and
            what a labeler was asked about a mask is forgotten.

    Raises:
        DatasetError: The files are not of the same objects, the labels have no components, or
            there are fewer than 30 human masks.
    """
    comparison = measure_agreement(labels, human)
    content = parse_coco(labels)
    entries = by_id(content["annotations"], labels)
    iou_of = {
        found.annotation_id: found.mask_iou
        for found in comparison.objects
        if found.labeled and _is_scored(entries[found.annotation_id])
    }
    if len(iou_of) < FEWEST:
        raise DatasetError(labels, [_too_few(len(iou_of), human)])
    problems = [
        f"annotation {key} {problem}"
        for key, entry in entries.items()
        if _is_scored(entry) and (problem := _score_problem(entry))
    ]
    if problems:
        raise DatasetError(labels, problems)
    known = [entries[key] for key in iou_of]
    ious = np.array(list(iou_of.values()))
    held = np.random.default_rng(SEED).permutation(len(ious)) % HELD_OUT == 0
    model = _fitted(known, ious, held)
    unseen = [entry for entry, out in zip(known, held, strict=True) if out]
    before = reliability(np.array([float(entry["score"]) for entry in unseen]), ious[held])
    rescored = _rescore(content["annotations"], model)
    after = np.array([float(entry["score"]) for entry in unseen])
    bounds = np.array([entry[INTERVAL] for entry in unseen])
    covered = (bounds[:, 0] <= ious[held]) & (ious[held] <= bounds[:, 1])
    write_own_json(output, content)
    return Calibration(
        model=model,
        fitted=int((~held).sum()),
        rescored=rescored,
        before=before,
        after=reliability(after, ious[held]),
        covered=float(covered.mean()),
    )


def _is_scored(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get(COMPONENTS)) and entry.get("source") != HUMAN_SOURCE


def _score_problem(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with a score and with what it was made from, if anything."""
    score, components = entry.get("score"), entry[COMPONENTS]
    if not is_score(score):
        return f"has score={reprlib.repr(score)}, but a score is a number from 0 to 1. {ANEW}"
    if not isinstance(components, dict) or not all(map(is_component, components.values())):
        seen = reprlib.repr(components)
        return f"has {COMPONENTS}={seen}, but they are numbers by their names. {ANEW}"
    return None


def _too_few(count: int, human: Path) -> str:
    return (
        f"{count} labels with score_components have a human mask in {human}, but {FEWEST} are "
        "needed. `mal score` writes such labels; or give more human masks."
    )


def _fitted(
    known: Sequence[Json], ious: np.ndarray[Any, Any], held: np.ndarray[Any, Any]
) -> QualityModel:
    rows = [entry[COMPONENTS] for entry in known]
    prior = default_model(kind_of(rows[0]))
    design = prior.design(rows)
    theta = fit(design[~held], ious[~held], prior=prior.theta, ridge=RIDGE)
    origin = f"{int((~held).sum())} human masks"
    scores = prior.refitted(theta, prior.width, origin).predict(rows)
    return prior.refitted(theta, conformal_width(scores[held], ious[held]), origin)


def _rescore(entries: Sequence[Json], model: QualityModel) -> int:
    scored = [entry for entry in entries if _is_scored(entry)]
    # Human masks know better than the labeler that was asked for an opinion.
    alone = [quality_of(without_opinion(entry[COMPONENTS]), model) for entry in scored]
    found = with_classmates(alone, [entry["category_id"] for entry in scored])
    for entry, quality in zip(scored, found, strict=True):
        put_score(entry, quality.score, quality.interval, quality.components)
    return len(scored)
