"""Train one segmenter and predict its val images: mmengine and mmdet are known here only.

Several jobs share one start-up. Everything lands in the folder of the job file:
config.py (complete, usable by mmdet's own tools), detections.json (how many detections it
keeps of an image), checkpoints, scalars.jsonl, and at the very end predictions.json.
Started again after a kill at any moment it continues from the last checkpoint that is whole.
"""

import copy
import logging
import math
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import Runner
from pycocotools import mask as coco_mask

from mal_core.data import crowding
from mal_core.data.coco import drop_mask, parse_coco, parse_listing
from mal_core.data.object_sizes import measure_sizes
from mal_core.data.results import read_results
from mal_core.errors import (
    SPACE_ADVICE,
    ConfigError,
    MalCoreError,
    TrainingError,
    lacks_memory,
    lacks_space,
)
from mal_core.jobs.segmenter import (
    CONFIG_FILE,
    DETECTIONS_FILE,
    INPUT_IS_WRONG,
    MEMORY_ADVICE,
    PREDICTIONS_FILE,
    TRAINING_FAILED,
    KeptDetections,
    SegmenterJob,
    check_segmenter_data,
    read_job,
)
from mal_core.processes.child_errors import write_failure
from mal_core.processes.collector import uncollected_imports
from mal_core.processes.files import atomic_path, write_json
from mal_core.processes.ranks import Group, joined_group, record_hardware
from mal_core.processes.records import write_record
from phase2_configs.backbones.explained_weights import load_backbone
from phase2_configs.backbones.timm_backbone import TimmBackbone
from phase2_configs.heads import local_mask2former, local_solov2  # noqa: F401 - keys count them
from phase2_configs.runner import detections, instances, plain_weights, recipe, sizing
from phase2_configs.runner.label_weights import weigh_labels
from phase2_configs.runner.monitor import Monitor
from phase2_configs.runner.users_config import read_config, users_config

logger = logging.getLogger("phase2")

NUM_CHECKPOINTS = 10
MAX_CHECKPOINT_STEPS = 1000
RAW_PREFIX = "raw"
COLLECTED = "collected"


def main(arguments: list[str]) -> int:
    """Run the job files named on the command line; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    plain_weights.install()
    if not arguments:
        logger.error("usage: python -m phase2_configs.runner.train JOB.json [JOB.json ...]")
        return 2
    path = Path(arguments[0]).resolve()
    try:
        with joined_group() as group:
            for argument in arguments:
                path = Path(argument).resolve()
                run(read_job(path), path.parent, group)
    except TrainingError as error:
        logger.error("error: %s", error)  # noqa: TRY400 - a message for a user, not a traceback
        return TRAINING_FAILED
    except (MalCoreError, OSError) as error:
        if lacks_space(error):
            logger.error("error: %s: %s", path.parent, SPACE_ADVICE)  # noqa: TRY400
            return TRAINING_FAILED
        return refuse(path, error)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        logger.error("error: memory ran out: %s. %s", _first_line(error), MEMORY_ADVICE)  # noqa: TRY400
        return TRAINING_FAILED
    return 0


def refuse(job_path: Path, error: MalCoreError | OSError) -> int:
    """Say what is wrong with the input, here and to the parent; returns the exit status."""
    logger.error("error: %s", error)
    if job_path.parent.is_dir():  # else the store was removed under the run
        write_failure(job_path, ConfigError(str(error)) if isinstance(error, OSError) else error)
    return INPUT_IS_WRONG


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def run(job: SegmenterJob, work_dir: Path, group: Group) -> None:
    """Train and predict, or continue, or do nothing when all is done.

    Args:
        job: What to train on what.
        work_dir: Folder of this job.
        group: The processes that train together; the first one writes all files.

    Raises:
        MalCoreError: The job, the data or the training is impossible.
    """
    record_hardware(work_dir)
    predictions = work_dir / PREDICTIONS_FILE
    finished = predictions.exists()
    group.require_same(int(finished), str(predictions))
    if finished:
        logger.info("%s is there already: nothing to do", predictions)
        return
    with uncollected_imports():
        register_all_modules(init_default_scope=True)
    check_segmenter_data(job.train.annotations, job.val.annotations)
    config = build_config(job, work_dir, num_processes=group.world_size)
    if group.is_main:
        instances.report_instances(config)
        kept = detections.kept_detections(config)
        write_record(work_dir / DETECTIONS_FILE, KeptDetections(per_image=kept))
        with atomic_path(work_dir / CONFIG_FILE) as temporary:
            temporary.write_text(config.pretty_text)
    with users_config(job.recipe):
        runner = build_runner(config, job, group)
        runner.train_loop  # noqa: B018 - built when it is asked for: datasets and their pipelines
    runner.train()
    for metric in runner.test_loop.evaluator.metrics:
        # Where processes put together what each predicted: mmengine would take the current
        # folder, which machines need not share.
        metric.collect_dir = str(work_dir / COLLECTED)
    # In the order in which `mal predict` has them: else its last digits would be others.
    runner.model.to(memory_format=torch.contiguous_format)
    runner.test()
    if group.is_main:
        publish_predictions(work_dir)


def build_config(job: SegmenterJob, work_dir: Path, *, num_processes: int = 1) -> Config:
    """The complete mmdet config of one job.

    Args:
        job: What to train on what.
        work_dir: Folder of this job.
        num_processes: How many train together, on all machines.

    Raises:
        ConfigError: The recipe cannot be adapted to the job.
    """
    settings = job.recipe
    if settings.amp and not torch.cuda.is_available():
        message = "segmenter.amp=true needs a CUDA device, and there is none; set it to false."
        raise ConfigError(message)
    with users_config(settings):
        config = read_config(settings.config)
    classes = _class_names(job.train.annotations)
    recipe.set_classes(config, classes)
    recipe.set_data(config, "train", job.train.images, job.train.annotations)
    val_annotations = in_order_of(job.train.annotations, job.val.annotations, work_dir)
    for split in ("val", "test"):
        recipe.set_data(config, split, job.val.images, val_annotations)
    config["val_evaluator"] = {
        "type": "CocoMetric",
        "ann_file": str(val_annotations),
        "metric": ["segm"],
    }
    config["test_evaluator"] = config["val_evaluator"]
    recipe.ignore_orientation(config)
    recipe.predict_without_masks(config)
    recipe.set_weights(config["model"], settings.weights)
    if settings.weights is None:
        logger.info("backbone: random weights (weights=hub downloads the recipe's own)")
    synchronized = num_processes > 1 and torch.cuda.is_available()
    amp = ("bfloat16" if torch.cuda.is_bf16_supported() else "float16") if settings.amp else None
    recipe.adapt_to_processes(config, amp=amp, synchronized=synchronized)
    _fit_sizes(config, job)
    _follow_objects(config, job)
    _set_loaders(config, job)
    images = _images_per_epoch(config, job)
    total = recipe.set_length(config, images, settings.max_steps, num_processes)
    _set_learning_rate(config, settings.learning_rate)
    interval = min(MAX_CHECKPOINT_STEPS, math.ceil(total / NUM_CHECKPOINTS))
    if total < NUM_CHECKPOINTS:  # seconds of work: the last state is enough
        interval = total
    config["default_hooks"]["checkpoint"] = {
        "type": "CheckpointHook",
        "by_epoch": False,
        "interval": interval,
        "max_keep_ckpts": 2,
        "save_last": True,
    }
    config["randomness"] = {"seed": job.seed}
    config["work_dir"] = str(work_dir)
    weigh_labels(config, settings.label_weights, settings.label_threshold)
    recipe.set_options(config, settings.options)
    detections.check_limits(config, len(classes))
    return Config(config)


def _fit_sizes(config: dict[str, Any], job: SegmenterJob) -> None:
    sizes = job.sizes or measure_sizes(parse_coco(job.train.annotations, drop_mask))
    chosen = sizing.fit(config, sizes, job.recipe.image_size)
    if chosen:
        logger.info("sized by the data: %s", "; ".join(chosen))


def _follow_objects(config: dict[str, Any], job: SegmenterJob) -> None:
    usual = detections.kept_detections(config)
    in_val = crowding.most_objects(parse_coco(job.val.annotations, drop_mask))
    fullest = max(job.most_objects, in_val)
    detections.follow_objects(config, fullest)
    kept = detections.kept_detections(config)
    changed = "" if kept == usual else f", {usual} in the recipe"
    logger.info("detections per image: %s%s; up to %d objects on one", kept, changed, fullest)


def _images_per_epoch(config: dict[str, Any], job: SegmenterJob) -> int:
    dataset = config["train_dataloader"]["dataset"]
    if recipe.file_dataset(dataset) is dataset:
        return len(parse_listing(job.train.annotations)["images"])
    # It shows some images more often, such as those with rare classes: mmdet counts them.
    return len(DATASETS.build(copy.deepcopy(dataset)))


def _class_names(annotations: Path) -> list[str]:
    # mmdet numbers classes in the order of the file, whatever the order of `classes`.
    return [category["name"] for category in parse_listing(annotations)["categories"]]


def in_order_of(train: Path, other: Path, work_dir: Path) -> Path:
    """Another annotation file, or a copy with its categories in the train file's order.

    Label k means the k-th category of the file at hand to mmdet, in training as in
    scoring; unequal orders would shift every label.
    """
    order = _class_names(train)
    if _class_names(other) == order:
        return other
    content = parse_coco(other)
    content["categories"].sort(key=lambda category: order.index(category["name"]))
    target = work_dir / "val_annotations.json"
    write_json(target, content)
    return target


def _set_loaders(config: dict[str, Any], job: SegmenterJob) -> None:
    settings = job.recipe
    for split in ("train", "val", "test"):
        loader = config[f"{split}_dataloader"]
        loader["num_workers"] = settings.num_workers
        loader["persistent_workers"] = settings.num_workers > 0
    if settings.batch_size is not None:
        config["train_dataloader"]["batch_size"] = settings.batch_size


def _set_learning_rate(config: dict[str, Any], learning_rate: float | None) -> None:
    """Use the given rate as it is, or the recipe's scaled to the batch size."""
    scale = dict(config.get("auto_scale_lr") or {})
    scale["enable"] = learning_rate is None and "base_batch_size" in scale
    config["auto_scale_lr"] = scale if "base_batch_size" in scale else None
    if learning_rate is not None:
        config["optim_wrapper"]["optimizer"]["lr"] = learning_rate


def build_runner(config: Config, job: SegmenterJob, group: Group) -> Runner:
    """mmengine's Runner for training and one prediction at the end, resuming if it can."""
    # For people there is config.py: mmengine logs it and puts it into each checkpoint, and to
    # format it takes yapf a third of a CPU second.
    config = Config(config.to_dict(), format_python_code=False)
    if group.world_size > 1:
        config.launcher = "pytorch"
        wrapper = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}
        on_gpu = group.device.type == "cuda"
        wrapper["device_ids"] = [group.device.index] if on_gpu else None
        wrapper["find_unused_parameters"] = True
        config.model_wrapper_cfg = wrapper
    # Val scores belong to the project's own evaluation: here val is only predicted, once.
    for key in ("val_cfg", "val_dataloader", "val_evaluator"):
        config[key] = None
    work_dir = Path(config.work_dir)
    config.test_evaluator = result_writer(config.test_evaluator.ann_file, work_dir)
    checkpoint = last_whole_checkpoint(work_dir)
    step = -1 if checkpoint is None else int(checkpoint.stem.split("_")[1])
    group.require_same(step, f"last checkpoint in {work_dir}")
    if checkpoint is not None:
        config.resume = True
        config.load_from = str(checkpoint)
        logger.info("resuming from %s", checkpoint.name)
    runner = Runner.from_cfg(config)
    _explain_weights(runner.model, job.recipe.weights)
    if group.world_size == 1 and group.device.type == "cpu":
        # oneDNN's small convolutions are faster so (docs/performance.md); DDP has its own order.
        runner.model.to(memory_format=torch.channels_last)
    if group.is_main:
        runner.register_hook(Monitor(job, work_dir), priority="VERY_LOW")
    return runner


def _explain_weights(model: Any, weights: str | None) -> None:
    """Let the backbone take its weights by our reader: mmengine's skips what does not fit.

    A Swin that converts the names of other repositories keeps its own way, and so does a
    backbone of timm, which reads like this anyway.
    """
    backbone = getattr(model, "module", model).backbone
    own = getattr(backbone, "convert_weights", False) or isinstance(backbone, TimmBackbone)
    if own or weights in (None, "hub"):
        return
    backbone.init_weights = partial(load_backbone, backbone, weights)


def last_whole_checkpoint(work_dir: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    A kill while mmengine writes leaves half a zip archive; the one before is still there.
    """
    found = sorted(work_dir.glob("iter_*.pth"), key=lambda path: -int(path.stem.split("_")[1]))
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is None:
                    return path
        except zipfile.BadZipFile:
            logger.info("%s is incomplete, trying the one before", path.name)
    return None


def result_writer(annotations: str, work_dir: Path) -> dict[str, Any]:
    """The mmdet evaluator that scores nothing and leaves what `publish_predictions` reads."""
    return {
        "type": "CocoMetric",
        "ann_file": annotations,
        "metric": ["segm"],
        "format_only": True,
        "outfile_prefix": str(work_dir / RAW_PREFIX),
    }


def publish_predictions(work_dir: Path) -> None:
    """Turn mmdet's result files into predictions.json.

    A segmenter without boxes of its own (SOLOv2) gets those of its masks.
    """
    raw = work_dir / f"{RAW_PREFIX}.segm.json"
    results = read_results(raw, ["bbox", "segmentation"])
    for result in results:
        if min(result["bbox"][2:]) <= 0:
            result["bbox"] = [float(side) for side in coco_mask.toBbox(result["segmentation"])]
    write_json(work_dir / PREDICTIONS_FILE, results)
    logger.info("%d predicted instances", len(results))
    for path in work_dir.glob(f"{RAW_PREFIX}.*.json"):
        path.unlink()
