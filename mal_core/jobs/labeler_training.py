"""Training a labeler from Python, as `mal train` does: in a child process."""

from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import TypeVar

from mal_core.config import SEEDS, EncoderConfig, MalConfig
from mal_core.config.labelers import UNTRAINED
from mal_core.data.coco import read_boxes, strip_masks
from mal_core.errors import ArgumentError, ConfigError, told_of
from mal_core.jobs.phase1 import TrainJob, train_in_child
from mal_core.labelers.files import normal_split
from mal_core.labelers.mal import Labeler, load_labeler
from mal_core.labelers.recipes import encoder_recipe, labeler_recipe
from mal_core.models.encoder_names import check_encoder_name
from mal_core.processes.files import Place, is_file, path_of, sha256_file
from mal_core.processes.places import FOLDER, check_place, leaving_nothing
from mal_core.processes.records import read_record

Settings = TypeVar("Settings", MalConfig, EncoderConfig)


def train_labeler(
    images: Place,
    annotations: Place,
    output_dir: Place,
    *,
    mal: str | MalConfig = "cpu",
    encoder: str | EncoderConfig = "deit_tiny",
    seed: int = 0,
) -> Labeler:
    """Train a labeler on boxes, as `mal train` does, in a child process.

    Leaves `checkpoint.pth`, `scalars.jsonl` and `train.log` in `output_dir`. What was interrupted
    continues when it is called again; what is refused leaves nothing. Masks in the annotations
    are not read.

    Args:
        images: Folder of the photos.
        annotations: COCO file with boxes.
        output_dir: Where the training works; made when it is absent.
        mal: The recipe: a name in `conf/mal`, or settings (`labeler_recipe` changes some). Its
            `guide` is a file of masks, such as `Labeler.label_file` writes; no labeler's name.
        encoder: Likewise, a name in `conf/encoder` or settings (`encoder_recipe`).
        seed: Of weights and batches.

    Raises:
        DatasetError: Carries every problem of the annotations and of their images.
        ConfigError: A setting is impossible, or `output_dir` is no folder that can be written to,
            or holds the beginning of another training.
        ArgumentError: A place is no path, settings are of another type, or there is no such seed.
        TrainingError: The training diverged.
        WorkerError: The child process died.
    """
    folder = path_of(output_dir, "output_dir").absolute()
    own = path_of(images, "images").absolute()
    given = path_of(annotations, "annotations").absolute()
    chosen = _settings(mal, MalConfig, labeler_recipe, "mal")
    network = _settings(encoder, EncoderConfig, encoder_recipe, "encoder")
    _require_files(chosen, network)
    checked_seed = _checked_seed(seed)
    check_place(folder, [own, given], kind=FOLDER, told=f"output_dir={output_dir}")
    fresh = folder / "boxes.new.json"
    fresh.unlink(missing_ok=True)  # of a call that was killed
    with leaving_nothing(folder / "input"), leaving_nothing(fresh):
        split = normal_split(own, given, folder / "input")
        job = TrainJob(
            images=split.images,
            boxes=folder / "boxes.json",
            strict=False,
            encoder=network,
            mal=chosen,
            seed=checked_seed,
            output_dir=folder,
        )
        with split.in_users_words():
            strip_masks(split.annotations, fresh)
        with told_of({fresh: given}):
            read_boxes(job.images, fresh, decode=True)
        _require_same_training(job, fresh)
    fresh.replace(job.boxes)
    train_in_child(job)
    return load_labeler(folder / "checkpoint.pth")


def _settings(
    given: object, kind: type[Settings], recipe: Callable[[str], Settings], name: str
) -> Settings:
    if isinstance(given, str):
        return recipe(given)
    if not isinstance(given, kind):
        message = (
            f"{name} is of type {type(given).__name__}; wanted the name of a recipe, or a "
            f"{kind.__name__} such as {recipe.__name__}() makes."
        )
        raise ArgumentError(message)
    return given


def _require_files(mal: MalConfig, encoder: EncoderConfig) -> None:
    """Refuse an encoder that does not exist and files that are not there, before any work."""
    check_encoder_name(encoder.name)
    for key, path in (("encoder.weights", encoder.weights), ("mal.guide", mal.guide)):
        if path is not None and not is_file(path):
            message = f"{key}={path}: no such file.{_instead(key, path)}"
            raise ConfigError(message)


def _instead(key: str, path: Path) -> str:
    """How to make the file, where a labeler is named as `mal.guide=NAME` of the command does."""
    if key != "mal.guide" or str(path) not in (*UNTRAINED, "ensemble"):
        return ""
    return (
        f" From Python a guide is a file of masks: load_labeler(labeler={str(path)!r}, ...)"
        '.label_file(images, annotations, "guide.json") makes one.'
    )


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < SEEDS:
        message = f"seed is {seed!r}; wanted a whole number from 0 to {SEEDS - 1}."
        raise ArgumentError(message)
    return int(seed)


def _require_same_training(job: TrainJob, boxes: Path) -> None:
    """Refuse to go on with the state of a training of other settings or boxes."""
    state, earlier = job.output_dir / "state.pth", job.output_dir / "train_job.json"
    if not (state.exists() and earlier.exists()):
        return
    same_boxes = job.boxes.exists() and sha256_file(job.boxes) == sha256_file(boxes)
    if read_record(TrainJob, earlier) != job or not same_boxes:
        message = (
            f"{job.output_dir} holds an interrupted training with other settings or boxes. Choose "
            f"another folder, or delete {state} to start anew."
        )
        raise ConfigError(message)
