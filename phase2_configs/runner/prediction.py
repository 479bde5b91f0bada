"""Let a trained segmenter predict images that have no annotations.

The job names config, checkpoint, training annotations, images and their list;
predictions.json lands beside it.
"""

import logging
import sys
from pathlib import Path

from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner

from mal_core.data.coco import parse_listing
from mal_core.errors import MalCoreError
from mal_core.jobs.predict import PredictJob
from mal_core.processes.collector import uncollected_imports
from mal_core.processes.files import write_json
from mal_core.processes.ranks import record_hardware
from mal_core.processes.records import read_record
from phase2_configs.runner import plain_weights, recipe
from phase2_configs.runner.monitor import PredictionProgress
from phase2_configs.runner.training import in_order_of, publish_predictions, refuse, result_writer

logger = logging.getLogger("phase2")


def main(arguments: list[str]) -> int:
    """Run one job; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    plain_weights.install()
    path = Path(arguments[0]).resolve()
    try:
        predict(read_record(PredictJob, path), path.parent)
    except (MalCoreError, OSError) as error:
        return refuse(path, error)
    return 0


def predict(job: PredictJob, folder: Path) -> None:
    """Predict all images of the job's list.

    Args:
        job: What to predict with what.
        folder: Receives predictions.json.
    """
    with uncollected_imports():
        register_all_modules(init_default_scope=True)
    record_hardware(folder)
    config = Config.fromfile(str(job.run.config), format_python_code=False)
    listed = in_order_of(job.train, _with_annotations(job.test.annotations, folder), folder)
    recipe.set_data(config, "test", job.test.images, listed)
    for key in ("train_cfg", "train_dataloader", "optim_wrapper", "param_scheduler"):
        config[key] = None
    for key in ("val_cfg", "val_dataloader", "val_evaluator", "auto_scale_lr"):
        config[key] = None
    config.test_evaluator = result_writer(str(listed), folder)
    config.resume, config.load_from = False, str(job.run.checkpoint)
    config.work_dir = str(folder)
    runner = Runner.from_cfg(config)
    runner.register_hook(PredictionProgress("predict"), priority="VERY_LOW")
    runner.test()
    publish_predictions(folder)


def _with_annotations(listed: Path, folder: Path) -> Path:
    """The list as a file that mmdet reads: without annotations it would find none."""
    target = folder / "images.json"
    write_json(target, parse_listing(listed))
    return target
