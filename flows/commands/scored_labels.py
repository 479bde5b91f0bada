"""`mal score` and `mal calibrate`: scores for any masks, and scores fitted to human masks."""

from flows.commands.compared_files import compared_files
from flows.settings.run_config import RunConfig
from flows.stages import cards, targets
from flows.stages.images import photos_of
from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from mal_core.errors import ConfigError, told_of


def score(config: RunConfig) -> str:
    """Write a labeled COCO file again with a score for every mask.

    Raises:
        ConfigError: A setting is missing, or the target is the input.
        DatasetError: The file or an image is wrong.
    """
    from mal_core.labelers.scoring import score_file

    if config.labels is None or config.images is None or config.output is None:
        message = "mal score needs labels=FILE images=DIR output=FILE."
        raise ConfigError(message)
    targets.check_labels_output(config)
    run = Run(config)
    labels = in_utf8(run, config.labels)
    with told_of({labels: config.labels}), targets.writable(config.output):
        photos = photos_of(run, config.images, labels)
        found = score_file(labels, photos, config.output, checkpoint=config.checkpoint)
        cards.write_rewritten(run, config.labels, config.output, "scores")
    return found.summary()


def calibrate(config: RunConfig) -> str:
    """Write a labeled file again with scores that suit its human masks.

    Raises:
        ConfigError: A setting is missing, or the target is the input.
        DatasetError: The files are not of the same objects, or there are too few human masks.
    """
    from mal_core.evaluation.calibration import calibrate as fit_scores
    from mal_core.report.label_tables import calibration_text

    if config.labels is None or config.human is None or config.output is None:
        message = "mal calibrate needs labels=FILE human=FILE output=FILE."
        raise ConfigError(message)
    target = targets.check_labels_output(config)
    with compared_files(config) as files, targets.writable(target):
        found = fit_scores(files.labels, files.human, target)
        cards.write_rewritten(Run(config), config.labels, target, "calibration")
    return calibration_text(found)
