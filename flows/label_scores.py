"""`mal evaluate labels=FILE human=FILE`: the quality of any labeled file."""

import dataclasses
import logging
from pathlib import Path

from flows.image_stage import plain_images
from flows.run import Run
from flows.run_config import RunConfig
from mal_core.artifacts import write_json
from mal_core.config import SplitConfig
from mal_core.errors import ConfigError
from mal_core.label_metrics import Clustering, label_metrics, metrics_text

logger = logging.getLogger(__name__)


def score_labels(config: RunConfig, target: Path) -> str:
    """Write the metrics as JSON and return them as text.

    Args:
        config: Names the files.
        target: Receives the JSON form.

    Raises:
        ConfigError: The target is one of the files, or the clustering score lacks a setting.
        DatasetError: The files cannot be compared.
    """
    from mal_core.agreement import measure_agreement
    from mal_core.data.coco import parse_coco

    labels, human = config.labels, config.human
    assert labels is not None  # noqa: S101 - the caller asked
    assert human is not None  # noqa: S101 - settings demand both
    if target.resolve() in (labels.resolve(), human.resolve()):
        message = f"output={target} is the input. Choose another place."
        raise ConfigError(message)
    if (config.checkpoint is None) != (config.images is None):
        message = "the clustering score needs both checkpoint=FILE and images=DIR."
        raise ConfigError(message)
    objects = measure_agreement(labels, human)
    content = parse_coco(human)
    metrics = label_metrics(objects, (str(entry["name"]) for entry in content["categories"]))
    metrics = dataclasses.replace(metrics, clustering=_clustering(config, content))
    files = {"labels": str(labels), "human": str(human)}
    write_json(target, {**files, **metrics.to_json()}, indent=1)
    return metrics_text(metrics)


def _clustering(config: RunConfig, human: dict[str, object]) -> Clustering | None:
    if config.checkpoint is None or config.images is None or config.human is None:
        return None
    from mal_core.checkpoints import load_labeler
    from mal_core.clustering import measure_clustering

    labeler, settings = load_labeler(config.checkpoint)
    split = SplitConfig(images=config.images, annotations=config.human)
    plain, notes = plain_images(Run(config), split)
    for note in notes:
        logger.info("images: %s", note)
    return measure_clustering(labeler, settings, human, plain.images)
