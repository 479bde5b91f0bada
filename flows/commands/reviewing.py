"""`mal review` and `mal review import`: the worst masks to people, and what they corrected back."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.label_files import chosen_folder, labels_of
from flows.dashboard import reviews
from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import cards, inputs, targets
from flows.stages.images import photos_of
from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from mal_core.errors import ConfigError, DatasetError, told_of
from mal_core.processes.files import write_json
from mal_core.processes.own_folder import OwnFolder

if TYPE_CHECKING:
    from mal_core.formats.exports.labeled import Labeled
    from mal_core.review.queue import Suspect

WORST = 100
FOLDER, WORK = "review", "mal review"
CHANGES = ".changes.json"


def review(config: RunConfig) -> list[str]:
    """Write the page and the tasks of the worst masks; returns what was written, in lines.

    Raises:
        ConfigError: A setting is missing or impossible.
        DatasetError: The labels or a photo are wrong, or nothing is left to review.
    """
    from mal_core.formats.exports.labeled import Photos
    from mal_core.review.folder import CVAT, LABEL_STUDIO, PAGE, write_review
    from mal_core.review.page import Context
    from mal_core.review.queue import review_queue

    labels = labels_of(config)
    folder = _folder(config, labels)
    target = folder.place
    images = config.images or _images_of(config.workdir)
    if not images.is_dir():
        message = f"images={images}: no such folder."
        raise ConfigError(message)
    run = Run(config)
    plain = in_utf8(run, labels)
    with told_of({plain: labels}), targets.writable(target):
        images = photos_of(run, images, plain)
        labeled = _scored(plain, images)
        queue = _undecided(review_queue(labeled), config.corrections)
        if not queue:
            message = "every mask of it is a human's or decided: nothing is left to review."
            raise DatasetError(labels, [message])
        worst = queue[: _count(config, len(queue))]
        photos = Photos(folder=images, url=config.image_url or "")
        total = len(labeled.objects)
        context = Context(labels=labels.name, total=total, seconds_per_mask=config.seconds_per_mask)
        with folder.filled() as fresh:
            write_review(labeled, worst, photos, fresh, context=context)
    reviews.remember(config.store / composing.REVIEWS, target)
    url = reviews.review_url(config.serve_port, target)
    megabytes = (target / PAGE).stat().st_size / 1e6
    hours = len(worst) * config.seconds_per_mask / 3600
    return [
        f"{len(worst)} of {total} masks to review, expected IoU {worst[0].score:.2f} to "
        f"{max(suspect.score for suspect in worst):.2f}; to draw all of them anew takes "
        f"{hours:.1f} h",
        f"page ({megabytes:.1f} MB): {target / PAGE}, or {url} while `mal serve` runs",
        f"Label Studio: {target / LABEL_STUDIO}",
        f"CVAT: {target / CVAT}",
        str(target),
    ]


def _undecided(queue: "list[Suspect]", decided: Path | None) -> "list[Suspect]":
    """The queue without what a file of decisions accepts or rejects, as the masks are now."""
    if decided is None:
        return queue
    from mal_core.review.corrections import read_corrections
    from mal_core.review.digests import mask_digest

    given = read_corrections(decided)
    if given.shapes:
        message = (
            f"corrections={decided} has masks. Take them back with `mal review import` first; "
            "here only the decisions of a page are left out."
        )
        raise ConfigError(message)
    masks = {
        decision.annotation_id: decision.mask
        for decision in given.decisions
        if decision.choice != "fix"
    }
    return [
        suspect
        for suspect in queue
        if suspect.labeled.id not in masks
        or masks[suspect.labeled.id] not in (None, mask_digest(suspect.labeled.rle))
    ]


def _count(config: RunConfig, total: int) -> int:
    if config.share is not None:
        return max(1, round(config.share * total))
    return min(config.worst or WORST, total)


def _images_of(workdir: Path) -> Path:
    """The photos that the labels of a working folder are of.

    Raises:
        ConfigError: The folder does not say.
    """
    path = workdir / "config.yaml"
    if not path.is_file():
        message = (
            f"Missing mandatory value: images. Give images=DIR; workdir={workdir} has no "
            "config.yaml that says where the photos are."
        )
        raise ConfigError(message)
    return inputs.inputs(Run(composing.read_yaml(path))).train.images


def _folder(config: RunConfig, labels: Path) -> OwnFolder:
    """The given one, or `review` in the working folder that has the labels."""
    own = config.labels is None and config.pseudo_labels is None
    if config.output is not None or not own:
        return chosen_folder(config, WORK, labels)
    place = config.workdir / FOLDER
    folder = OwnFolder(place, WORK, [*targets.sources(config), labels], told=str(place))
    folder.check()
    return folder


def _scored(labels: Path, images: Path) -> "Labeled":
    """The labels; what has no score, or does not say what it was made from, is scored here."""
    from mal_core.data.pseudo_labels import COMPONENTS, INTERVAL
    from mal_core.formats.exports.labeled import read_labeled
    from mal_core.labelers.scoring import score_file
    from mal_core.review.queue import score_problems, without_scores

    labeled = read_labeled(labels)
    problems = score_problems(labeled)
    if problems:
        raise DatasetError(labels, problems)
    lacking = set(without_scores(labeled))
    if not lacking:
        return labeled
    with tempfile.TemporaryDirectory() as folder, told_of({Path(folder) / "scored.json": labels}):
        scored = Path(folder) / "scored.json"
        score_file(labels, images, scored)
        found = {instance.id: instance.entry for instance in read_labeled(scored).objects}
    # One score for all, as of shapes drawn into boxes, puts nothing in order.
    same = len({instance.score for instance in labeled.objects}) == 1
    for instance in labeled.objects:
        if instance.id in lacking:
            fresh = found[instance.id]
            for key in ("score", INTERVAL):
                if (same or instance.score is None) and key in fresh:
                    instance.entry[key] = fresh[key]
            instance.entry[COMPONENTS] = fresh.get(COMPONENTS, {})
    return labeled


def import_corrections(config: RunConfig) -> list[str]:
    """Write labels again with what people corrected; returns what has changed, in lines.

    Raises:
        ConfigError: A setting is missing, or the target is the input.
        DatasetError: A file is wrong, or a correction fits no label.
    """
    from mal_core.review import corrections

    if config.corrections is None or config.output is None:
        message = "mal review import needs labels=FILE corrections=FILE output=FILE."
        raise ConfigError(message)
    labels, output = labels_of(config), config.output
    changes = output.with_name(f"{output.stem}{CHANGES}")
    beside = {changes: {"labels", "corrections"}}
    targets.check_labels_output(config, beside=beside, read=[labels])
    run = Run(config)
    plain = in_utf8(run, labels)
    with told_of({plain: labels}), targets.writable(output):
        found = corrections.import_corrections(plain, config.corrections, output)
        record = {"labels": labels.name, "corrections": config.corrections.name}
        write_json(changes, {**record, **found.to_json()}, indent=1)
        cards.write_rewritten(run, labels, output, "review")
    return [*found.lines(), f"changes: {changes}", str(output)]
