"""`mal evaluate labels=FILE human=FILE`: the quality of any labeled file."""

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.compared_files import compared_files
from flows.settings.run_config import RunConfig
from flows.stages import targets
from flows.stages.images import plain_images
from flows.stages.normal_form import states_sizes
from flows.stages.run import Run
from mal_core.config import SplitConfig
from mal_core.errors import ConfigError
from mal_core.evaluation.label_metrics import Clustering, label_metrics
from mal_core.processes.own_file import write_own_json
from mal_core.report.label_tables import metrics_text

if TYPE_CHECKING:  # it needs pycocotools
    from mal_core.evaluation.masked import MaskedFile

logger = logging.getLogger(__name__)


def score_labels(config: RunConfig) -> list[str]:
    """Write the metrics as JSON; returns them as text, and where they are.

    Args:
        config: Names the files: COCO, or of the format `data` says; and where the metrics go,
            if not to the working folder.

    Raises:
        ConfigError: The target is one of the files, or the clustering score lacks a setting.
        DatasetError: The files cannot be compared.
    """
    from mal_core.evaluation.agreement import measure_agreement
    from mal_core.evaluation.masked import read_masked

    labels, human = config.labels, config.human
    assert labels is not None  # noqa: S101 - the caller asked
    assert human is not None  # noqa: S101 - settings demand both
    target = targets.check_output(config, config.workdir / "label_metrics.json")
    sizes_stated = states_sizes(config.data.train_format)
    if (config.checkpoint is None) != (config.images is None) and sizes_stated:
        message = "the clustering score needs both checkpoint=FILE and images=DIR."
        raise ConfigError(message)
    with compared_files(config) as files:
        comparison = measure_agreement(files.labels, files.human)
        truth = read_masked(files.human)
        metrics = label_metrics(comparison.objects, (each.name for each in truth.categories))
        clustering = _clustering(config, files.human, truth, sizes_stated or human.is_file())
    metrics = dataclasses.replace(metrics, clustering=clustering)
    for note in comparison.notes:
        logger.info("note: %s", note)
    compared = {"labels": str(labels), "human": str(human), "notes": list(comparison.notes)}
    with targets.writable(target):
        write_own_json(target, {**compared, **metrics.to_json()}, indent=1)
    return [metrics_text(metrics), str(target)]


def _clustering(
    config: RunConfig, annotations: Path, human: "MaskedFile", sizes_stated: bool
) -> Clustering | None:
    if config.checkpoint is None or config.images is None:
        return None
    from mal_core.evaluation.clustering import measure_clustering
    from mal_core.models.checkpoints import load_labeler

    labeler, settings = load_labeler(config.checkpoint)
    split = SplitConfig(images=config.images, annotations=annotations)
    plain, notes = plain_images(Run(config), split, sizes_stated=sizes_stated)
    for note in notes:
        logger.info("images: %s", note)
    return measure_clustering(labeler, settings, human, plain.images)
