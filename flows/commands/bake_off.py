"""`mal bake-off`: labelers compared on a sample of the user's boxes, without human masks."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import drawing, inputs, phase1, targets
from flows.stages.run import Run
from mal_core.config.labelers import called
from mal_core.errors import ConfigError, DatasetError, told_of
from mal_core.processes import own_file, places
from mal_core.processes.places import FOLDER, JSON, check_place

if TYPE_CHECKING:  # torch and pycocotools
    from mal_core.evaluation.ranking import Place, Truth
    from mal_core.labelers.bake_off import Drawn, Shown
    from mal_core.report.bake_off import Subject
    from mal_core.types import BoxDataset, Rle

PAGE, NUMBERS = "bake_off.html", "bake_off.json"
MOST_SHOWN = 24


def bake_off(run: Run) -> list[str]:
    """Compare labelers; leaves a page and its numbers in the working folder, or in `output`.

    Returns:
        The table, what to take, how right that is where human masks are given, and the places.

    Raises:
        ConfigError: Fewer than two labelers, or one that cannot work.
        DatasetError: The input is wrong.
    """
    from mal_core.data.coco import read_boxes
    from mal_core.evaluation.ranking import ranked, recommendation
    from mal_core.labelers.bake_off import BakeOff, Entrant
    from mal_core.labelers.registry import drawer_of
    from mal_core.report.bake_off import Page, write_page
    from mal_core.report.text_tables import text_table

    config = run.config
    folder = _folder(config)
    _require_labelers(config)
    targets.write_config(composing.as_yaml(config), config.workdir)
    train, stripped = inputs.inputs(run).train, phase1.boxes(run)
    boxes = stripped.path / "boxes.json"
    dataset = read_boxes(train.images, boxes, strict=config.data.strict)
    if not dataset.boxes:
        message = f"{train.annotations} has no box to draw."
        raise ConfigError(message)
    human = _human_masks(run, dataset)  # a wrong file is refused before anything is trained
    own = any(labeler.is_trained for labeler in config.labelers)
    network = phase1.labeler_checkpoint(run)[0] if own else None
    names = called(config.labelers)
    entrants = [
        Entrant(name=name, drawer=drawer_of(labeler, network, config.mal))
        for name, labeler in zip(names, config.labelers, strict=True)
    ]
    drawn = BakeOff(entrants).run(dataset, config.sample)
    places = ranked(names, drawn.evidence)
    advice = recommendation(places, drawn.seconds, more=_more(config, dataset))
    truth = _truth(places, drawn, human.masks)
    table = _table(places, drawn, truth)
    with targets.writable(folder / PAGE):
        own_file.write_own_json(folder / NUMBERS, _numbers(places, drawn, advice, truth), indent=1)
        page = Page(
            names=drawn.names,
            table=table,
            advice=advice,
            truth=truth,
            subjects=_subjects(drawn, human.masks, train.images),
            notes=[*_notes(drawn), *(f"{note}." for note in human.notes)],
        )
        write_page(page, folder / PAGE)
    return [text_table(table), advice, *_said(truth), *human.notes, str(folder / PAGE)]


def _folder(config: RunConfig) -> Path:
    """Where the page and the numbers go.

    Raises:
        ConfigError: They cannot be written there, or something else has their names.
    """
    targets.check_workdir(config)
    folder = config.output or config.workdir
    read = targets.sources(config)
    check_place(folder, read, kind=FOLDER)
    for name, kind in ((PAGE, places.PAGE), (NUMBERS, JSON)):
        check_place(folder / name, read, kind=kind, told=str(folder / name))
        if config.output is not None:
            own_file.check_own(folder / name, str(folder / name))
    return folder


def _more(config: RunConfig, dataset: "BoxDataset") -> Sequence[str]:
    """What would tell labelers apart that this bake-off does not, as a user asks for it."""
    more = []
    if config.sample < len(dataset.boxes):
        more.append("label more boxes (sample=...)")
    if config.human is None:
        more.append("compare on some human masks (human=FILE)")
    return more


def _require_labelers(config: RunConfig) -> None:
    names = [labeler.name for labeler in config.labelers]
    if len(names) < 2 or "ensemble" in names:
        message = (
            f"labelers={names}: wanted two or more to compare, such as "
            "labelers=[mal,grabcut,ellipse], and no ensemble among them."
        )
        raise ConfigError(message)
    if names.count("mal") > 1:
        message = "labelers: a run has one network, so mal can take part once."
        raise ConfigError(message)
    if config.checkpoint is not None and "mal" not in names:
        message = f"checkpoint={config.checkpoint} is of mal, which is not among the labelers."
        raise ConfigError(message)
    drawing.require_weights(config.labelers, "labelers")
    if config.sample < 1:
        message = f"sample={config.sample} is not possible: it must be at least 1."
        raise ConfigError(message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Human:
    """Human masks of the sample, by annotation id, and what is left out, a sentence each."""

    masks: "Mapping[int, Rle]"
    notes: Sequence[str] = ()


def _human_masks(run: Run, dataset: "BoxDataset") -> _Human:
    """Human masks of the boxes of the sample.

    Raises:
        DatasetError: The file is wrong, of other images or boxes, or has no mask for the sample.
    """
    from flows.stages.normal_form import in_utf8
    from mal_core.data.matched import match_masks
    from mal_core.labelers.sampling import sample_boxes

    human, own = run.config.human, run.config.data.train
    if human is None:
        return _Human(masks={})
    plain = in_utf8(run, human)
    photos = sample_boxes(dataset, run.config.sample)
    boxes = tuple(box for photo in photos for box in photo.boxes)
    sampled = dataclasses.replace(dataset, boxes=boxes)
    with told_of({plain: human}):
        found = match_masks(
            plain,
            sampled,
            boxes_of=dataset.annotations_path if own is None else own.annotations,
        )
        if found.problems:
            raise DatasetError(plain, found.problems)
        kept = {key: found.masks[key] for key in found.masks.keys() - found.apart}
        if not kept:
            problem = "its masks are not where the boxes of the sample are. Is it the right file?"
            raise DatasetError(plain, [problem])
    seen = found.masks.keys() | found.empty | found.crowds
    left = (
        (found.crowds, "are crowds"),
        (found.apart, "are not where the boxes of their ids are"),
        (found.empty, "have no pixel"),
        ({one.annotation_id for one in sampled.boxes} - seen, ""),
    )
    return _Human(masks=kept, notes=[_left_out(ids, why) for ids, why in left if ids])


def _left_out(ids: "Set[int]", why: str) -> str:
    first = f"the first is annotation {min(ids)}"
    if not why:
        return f"{len(ids)} boxes of the sample have no human mask, {first}"
    return f"{len(ids)} human masks {why}, {first}: left out"


def _ious(sample: "Shown", human: "Mapping[int, Rle]") -> list[float] | None:
    from mal_core.geometry.masks import rle_iou

    known = human.get(sample.box.annotation_id)
    if known is None:
        return None
    return [0.0 if mask is None else rle_iou(mask, known) for mask in sample.masks]


def _truth(places: "Sequence[Place]", drawn: "Drawn", human: "Mapping[int, Rle]") -> "Truth | None":
    from mal_core.evaluation.ranking import truth_of

    rows = [row for sample in drawn.shown if (row := _ious(sample, human)) is not None]
    if not rows:
        return None
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return truth_of(places, dict(zip(drawn.names, means, strict=True)), len(rows))


def _table(
    places: "Sequence[Place]", drawn: "Drawn", truth: "Truth | None"
) -> list[dict[str, str]]:
    rows = []
    for place in places:
        traits, (low, high) = drawn.traits[place.name], place.interval
        row = {
            "labeler": place.name,
            "expected IoU": f"{place.expected:.3f}",
            "95 %": f"[{low:.2f}, {high:.2f}]",
            "best in": f"{100 * place.best_share:.0f} %",
            "on composites": f"{traits['composites']:.3f}",
            "agreement": f"{traits['agreement']:.3f}",
            "tight": f"{traits['tight']:.3f}",
            "edges": f"{traits['edges']:.3f}",
            "no mask": f"{traits['empty']:.0f}",
            "s per 1,000": f"{drawn.seconds[place.name]:.1f}",
        }
        if truth is not None:
            row["human IoU"] = f"{truth.ious[place.name]:.3f}"
        rows.append(row)
    return rows


def _said(truth: "Truth | None") -> list[str]:
    if truth is None:
        return []
    order = "" if truth.order is None else f"; rank correlation {truth.order:.2f}"
    return [f"by {truth.objects} human masks {truth.verdict}{order}"]


def _numbers(
    places: "Sequence[Place]", drawn: "Drawn", advice: str, truth: "Truth | None"
) -> dict[str, Any]:
    return {
        "recommendation": advice,
        "ranking": [dataclasses.asdict(place) for place in places],
        "seconds_per_1000_boxes": dict(drawn.seconds),
        "traits": {name: dict(traits) for name, traits in drawn.traits.items()},
        "objects": len(drawn.shown),
        "composites": len(drawn.evidence.composite_ious),
        "truth": None if truth is None else dataclasses.asdict(truth),
    }


def _notes(drawn: "Drawn") -> list[str]:
    photos = len({sample.record.image_id for sample in drawn.shown})
    composites = len(drawn.evidence.composite_ious)
    return [
        f"{len(drawn.shown)} boxes of {photos} photos; seconds are those of this machine, without "
        f"reading photos. {composites} composites were made of objects that the labelers agree on."
        if composites
        else f"{len(drawn.shown)} boxes of {photos} photos; seconds are those of this machine, "
        "without reading photos. Too few objects could be cut out for composites: scores alone.",
        "Expected IoU: mean score of the masks, less half of what the score favors this labeler by "
        "on composites, whose masks are known. Intervals and shares: resamples of photos and "
        "composites, each with another part of that correction. Agreement: mean IoU with the "
        "others' masks. Tight: 1 - mean gap to the sides of the box; shapes are by construction. "
        "Edges: rank of the edges of the photo under the outline, 0.5 is chance; who draws along "
        "colors is high by construction.",
    ]


def _subjects(drawn: "Drawn", human: "Mapping[int, Rle]", images: Path) -> "list[Subject]":
    """The objects on which the labelers differ most, and some at random."""
    import numpy as np

    from mal_core.geometry.masks import rle_iou
    from mal_core.geometry.rotated import drawn_corners
    from mal_core.report.bake_off import Subject

    def differ(sample: "Shown") -> float:
        masks = [mask for mask in sample.masks if mask is not None]
        pairs = itertools.combinations(masks, 2)
        return float(np.mean([1 - rle_iou(a, b) for a, b in pairs])) if len(masks) > 1 else 1.0

    ordered = sorted(drawn.shown, key=lambda sample: (-differ(sample), sample.box.annotation_id))
    step = max(1, len(ordered) // MOST_SHOWN)
    subjects = []
    for sample in ordered[::step][:MOST_SHOWN]:
        ious = _ious(sample, human)
        captions = [
            ("no mask" if mask is None else f"score {score:.2f}")
            + ("" if ious is None else f", IoU {ious[k]:.2f}")
            for k, (mask, score) in enumerate(zip(sample.masks, sample.scores, strict=True))
        ]
        subjects.append(
            Subject(
                title=f"{sample.record.file_name} #{sample.box.annotation_id}",
                image=images / sample.record.file_name,
                record=sample.record,
                box_xyxy=np.array(sample.box.box_xyxy),
                corners=drawn_corners(sample.box.box_xyxy, sample.box.corners),
                masks=sample.masks,
                captions=tuple(captions),
                human=human.get(sample.box.annotation_id),
            )
        )
    return subjects
