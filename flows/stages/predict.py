"""Predictions of trained segmenters for images that only a server can score."""

import logging
from pathlib import Path

from flows.stages import inputs, phase2
from flows.stages.images import plain_images
from flows.stages.normal_form import one_class
from flows.stages.run import Run
from flows.stages.trainings import Training
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import PREDICT
from mal_core.config import SplitConfig
from mal_core.errors import ConfigError

logger = logging.getLogger(__name__)


def split_to_predict(run: Run) -> SplitConfig:
    """The images to predict, with the classes of phase 2.

    Raises:
        ConfigError: None are named.
        DatasetError: The list, its images or its classes are wrong.
    """
    from mal_core.data.view import read_image_list
    from mal_core.jobs.predict import check_image_list

    test = run.config.data.test
    if test is None:
        message = "Missing mandatory value: data.test.images, data.test.annotations."
        raise ConfigError(message)
    test, notes = plain_images(run, test, read_image_list(test.annotations).images)
    for note in notes:
        logger.info("images to predict: %s", note)
    limit = run.config.data.max_image_pixels
    check_image_list(test, inputs.inputs(run).train.annotations, max_image_pixels=limit)
    if not run.config.data.class_agnostic:
        return test
    listed = one_class(run, test.annotations).path / "merged.json"
    return SplitConfig(images=test.images, annotations=listed)


def predict(run: Run, training: Training) -> Stored:
    """Predictions of one training for the test images: predictions.json."""
    from mal_core.data.view import read_image_list
    from mal_core.jobs.predict import PredictJob, predict_in_child
    from mal_core.jobs.segmenter import read_run

    test, trained = split_to_predict(run), phase2.train_segmenter(run, training)
    annotations, digest = phase2.train_annotations(run, training.arm)
    listed = read_image_list(test.annotations).images
    finished = read_run(training.recipe.name, trained.path)

    def work(folder: Path) -> None:
        predict_in_child(PredictJob(run=finished, train=annotations, test=test), folder)

    key = StageKey(
        stage=PREDICT,
        config={},
        inputs={
            "checkpoint": trained.files[finished.checkpoint.name],
            "config": trained.files[finished.config.name],
            "train.annotations": digest,
            "test.annotations": str(run.store.digests.digest(test.annotations)),
            "test.images": run.images_digest(test.images, listed).sha256,
        },
        code=code_version(
            [
                "mal_core.jobs.predict",
                "phase2_configs.runner.predict",
                "phase2_configs.mmcv_compat.mmcv_ops",
            ],
            packages=phase2.MMDET,
        ),
    )
    return run.get(key, work, title=f"{PREDICT}: {training.title}")


def write_submission(run: Run, training: Training, stored: Stored) -> Path:
    """Write the result file of a training, as JSON and as zip.

    Returns:
        The zip, below submissions/ of the working folder.
    """
    from mal_core.jobs.predict import testset_name, write_submission

    test = run.config.data.test or split_to_predict(run)
    extra = "" if training.first else f"-seed-{training.seed}"
    return write_submission(
        stored.path / "predictions.json",
        run.config.workdir / "submissions",
        testset=testset_name(test.annotations),
        algorithm=f"{training.recipe.name}-{training.arm}{extra}",
    )
