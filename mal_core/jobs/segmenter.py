"""Phase 2 seen from the library: one child process per training, files in, files out."""

import difflib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.data.categories import category_problems
from mal_core.data.object_sizes import ObjectSizes
from mal_core.data.view import CocoView, read_view
from mal_core.errors import ArtifactError, ConfigError, DatasetError, SegmenterError
from mal_core.processes.child_errors import forget_failure, read_failure
from mal_core.processes.files import sha256_file
from mal_core.processes.nodes import run_ranks
from mal_core.processes.records import read_record, to_json, write_record

PROJECT_ROOT = Path(__file__).resolve().parents[2]
RUNNER_MODULE = "phase2_configs.runner.train"
JOB_FILE = "job.json"
CONFIG_FILE = "config.py"
PREDICTIONS_FILE = "predictions.json"
SCALARS_FILE = "scalars.jsonl"
DETECTIONS_FILE = "detections.json"
LOG_FILE = "log.txt"
INPUT_IS_WRONG, TRAINING_FAILED = 2, 3
"""Exit status of the child: nothing was trained, or the training itself broke off."""
MEMORY_ADVICE = (
    "If memory ran out: lower segmenter.batch_size or segmenter.image_size, "
    "or train fewer side by side (segmenter_jobs)."
)


@dataclass(frozen=True, kw_only=True)
class SegmenterJob:
    """One training: a recipe on one pair of annotation files.

    The human-mask run and the pseudo-label run of a recipe differ in
    `train.annotations` only.

    Attributes:
        most_objects: Objects on the fullest image of the data, the same for both runs
            whatever the labeler skipped; the validation file's own count where it is higher.
        sizes: Of the objects of the original training file, for recipes that are sized by
            them, the same for both runs; None: those of `train`.
    """

    recipe: SegmenterConfig
    train: SplitConfig
    val: SplitConfig
    seed: int = 0
    most_objects: int = 0
    sizes: ObjectSizes | None = None


@dataclass(frozen=True, kw_only=True)
class KeptDetections:
    """What a training leaves to say of its detections.

    Attributes:
        per_image: Those that the segmenter keeps of an image; None: it sets no limit.
    """

    per_image: int | None


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """A job with the data that it was started on.

    Attributes:
        job: With absolute paths.
        digests: SHA-256 of the annotations, by split.
    """

    job: SegmenterJob
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterRun:
    """What a finished training left behind; every path exists.

    Attributes:
        predictions: COCO results list for the val images: RLE masks with `str` counts.
        scalars: One JSON object per line: step, loss, learning_rate, seconds.
        config: The complete mmdet config, usable by mmdet's own tools.
        checkpoint: Weights after the last step, in mmengine's format.
    """

    segmenter: str
    predictions: Path
    scalars: Path
    config: Path
    checkpoint: Path


def train_segmenter(
    job: SegmenterJob,
    work_dir: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    title_prefix: str = "",
) -> SegmenterRun:
    """Train one segmenter and let it predict the val images, in a child process.

    Call it again with the same job and folder after any interruption: it continues
    from the last good checkpoint, and returns at once when everything is finished.

    Args:
        job: What to train on what.
        work_dir: Receives all files; used by this job only.
        on_line: Called with each line the child prints; default logs it.
        title_prefix: Put before the titles of the progress bars.

    Returns:
        The files of the finished run.

    Raises:
        ConfigError: `work_dir` belongs to another job, or mmdet refuses the recipe.
        DatasetError: The two annotation files cannot be trained and scored together.
        CheckpointError: A file of weights is refused.
        SegmenterError: The child failed; carries return code, log and last lines.
    """
    check_segmenter_data(job.train.annotations, job.val.annotations)
    resolve_config(job.recipe.config)
    work_dir = work_dir.resolve()
    job_path = _claim(work_dir, claim_of(job))
    run_phase_2(
        RUNNER_MODULE,
        job_path,
        what=f"segmenter {job.recipe.name}",
        num_processes=job.recipe.num_processes,
        on_line=on_line,
        title_prefix=title_prefix,
    )
    return read_run(job.recipe.name, work_dir)


def run_phase_2(
    module: str,
    job_path: Path,
    *,
    what: str,
    num_processes: int = 1,
    on_line: Callable[[str], None] | None = None,
    title_prefix: str = "",
) -> None:
    """Run a module of phase2_configs on a job file, with its log beside that.

    Raises:
        ConfigError, DatasetError, CheckpointError: As the child raised them.
        SegmenterError: The child failed otherwise; a killed one comes with advice.
    """
    forget_failure(job_path)
    try:
        run_ranks(
            ["-m", module, str(job_path)],
            num_processes=num_processes,
            what=what,
            log_path=job_path.parent / LOG_FILE,
            on_line=on_line,
            error_type=SegmenterError,
            environment={"PYTHONPATH": _python_path()},
            title_prefix=title_prefix,
        )
    except SegmenterError as error:
        if error.return_code == -signal.SIGKILL:
            # What the kernel kills for memory cannot say so itself.
            error.args = (f"{error}\nIt was killed. {MEMORY_ADVICE}",)
        # What the user can correct comes back as the child said it, not as the end of its log.
        raise read_failure(job_path) or error from error


def read_run(segmenter: str, work_dir: Path) -> SegmenterRun:
    """Collect the files of a finished training.

    Raises:
        ArtifactError: A file is missing, so the training has not finished.
    """
    pointer = work_dir / "last_checkpoint"
    checkpoint = Path(pointer.read_text().strip()).name if pointer.exists() else "last_checkpoint"
    run = SegmenterRun(
        segmenter=segmenter,
        predictions=work_dir / PREDICTIONS_FILE,
        scalars=work_dir / SCALARS_FILE,
        config=work_dir / CONFIG_FILE,
        checkpoint=work_dir / checkpoint,
    )
    files = (run.predictions, run.scalars, run.config, run.checkpoint)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        message = f"{work_dir}: {', '.join(missing)} missing; this training has not finished."
        raise ArtifactError(message)
    return run


def claim_of(job: SegmenterJob) -> ClaimedJob:
    """The job as a folder keeps it and the child reads it."""
    splits = {"train": job.train, "val": job.val}
    digests = {name: sha256_file(split.annotations) for name, split in splits.items()}
    absolute = replace(job, train=_absolute(job.train), val=_absolute(job.val))
    return ClaimedJob(job=absolute, digests=digests)


def _absolute(split: SplitConfig) -> SplitConfig:
    return SplitConfig(images=split.images.resolve(), annotations=split.annotations.resolve())


def read_job(path: Path) -> SegmenterJob:
    """The job that a folder belongs to; digests are not checked.

    Raises:
        RecordError: The file is none of this version.
    """
    return read_record(ClaimedJob, path).job


def is_claimed_otherwise(path: Path, claim: ClaimedJob) -> bool:
    """Whether a folder's job file is there and of another job, or of another version."""
    return path.exists() and json.loads(path.read_text()) != to_json(claim)


def _claim(work_dir: Path, claim: ClaimedJob) -> Path:
    path = work_dir / JOB_FILE
    if is_claimed_otherwise(path, claim):
        message = (
            f"{work_dir} holds a training with other settings or other annotations. "
            f"Resuming it would mix the two: delete the folder or choose another one."
        )
        raise ConfigError(message)
    write_record(path, claim, indent=1)
    return path


def _python_path() -> str:
    # The child must find this very project, however the parent found it.
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(PROJECT_ROOT), *([inherited] if inherited else [])])


def resolve_config(config: Path) -> str:
    """Where mmdet reads a recipe from.

    Args:
        config: A path, relative to the project or to the current folder, or the
            name of a config bundled with mmdet ("mmdet::solov2/...py").

    Raises:
        ConfigError: There is no such file.
    """
    if "::" in str(config):
        return str(config)
    candidates = (PROJECT_ROOT / config, Path.cwd() / config)
    for path in candidates:
        if path.is_file():
            return str(path)
    message = f"segmenter config {config} is not a file, in {PROJECT_ROOT} or in {Path.cwd()}."
    raise ConfigError(message)


def check_segmenter_data(train: Path, val: Path) -> None:
    """Refuse annotation files that mmdet would train on wrongly without a word.

    mmdet selects categories by name in the order of each file, so unequal categories
    shift labels; it needs an `area`, and a `segmentation` it can read.

    Raises:
        DatasetError: Carries all problems of one file.
    """
    trained, scored = (read_view(path, named=False) for path in (train, val))
    problems = list(trained.all_problems)
    if not trained.num_boxes:
        problems.append("no annotation to train on: it has none, or crowds only.")
    bare = trained.masks.without
    if bare:
        problems.append(
            f"annotation {bare[0]} has no mask that mmdet reads, as {len(bare)} in all: wanted "
            "polygons of at least 3 points, or RLE with size and counts."
        )
    problems += _unusual_problems(trained)
    if problems:
        raise DatasetError(train, problems)
    problems = [*scored.all_problems, *_unusual_problems(scored)]
    problems += category_problems(scored.categories, trained.categories, train)
    if problems:
        raise DatasetError(val, problems)


def _unusual_problems(view: CocoView) -> list[str]:
    return [
        f"{count} {what}; mmdet would not. Train on what `write_normal_masks` makes of it."
        for what, count in view.masks.unusual.items()
    ]


def config_diff(first: Path, second: Path) -> str:
    """Unified diff of two dumped configs, each with its own folder left out.

    Args:
        first: `config.py` of one arm.
        second: `config.py` of the other arm.

    Returns:
        The diff, empty when the recipes are the same.
    """
    lines = difflib.unified_diff(
        _normalised(first), _normalised(second), "human masks", "pseudo-labels", lineterm="", n=0
    )
    return "\n".join(lines)


def _normalised(config: Path) -> Sequence[str]:
    text = config.read_text()
    for folder in {str(config.parent), str(config.parent.resolve())}:
        for end in ("'", '"', "/"):
            text = text.replace(f"{folder}{end}", f"WORK_DIR{end}")
    return text.splitlines()
