"""Predictions for images whose annotations nobody but a server has, in the form it wants."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mal_core.config import SplitConfig
from mal_core.data.categories import category_problems
from mal_core.data.images.loading import image_problems
from mal_core.data.results import read_results
from mal_core.data.view import read_image_list, read_view
from mal_core.errors import DatasetError
from mal_core.jobs.segmenter import PREDICTIONS_FILE, SegmenterRun, run_phase_2
from mal_core.processes.files import atomic_path
from mal_core.processes.records import write_record

PREDICTOR_MODULE = "phase2_configs.runner.predict"
JOB_FILE = "predict_job.json"
KEYS = ("image_id", "category_id", "segmentation", "score")
LIST_PREFIXES = ("image_info_", "instances_")


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """Let a trained segmenter predict other images.

    Attributes:
        run: The finished training.
        train: Annotations it was trained on, which number its classes.
        test: Images, and a COCO file that lists them; it needs no annotations.
    """

    run: SegmenterRun
    train: Path
    test: SplitConfig


def predict_in_child(
    job: PredictJob, folder: Path, *, on_line: Callable[[str], None] | None = None
) -> Path:
    """Predict in a child process; leaves predictions.json, a COCO results list, in `folder`.

    Raises:
        SegmenterError: The child failed.
    """
    folder = folder.resolve()
    path = folder / JOB_FILE
    write_record(path, job, indent=1)
    run_phase_2(PREDICTOR_MODULE, path, what=f"prediction of {job.run.segmenter}", on_line=on_line)
    return folder / PREDICTIONS_FILE


def check_image_list(test: SplitConfig, train: Path, *, max_image_pixels: int) -> None:
    """Refuse a list of images that cannot be predicted, with all its problems.

    Raises:
        DatasetError: No list of images, images that are absent or of another size, or classes
            other than those of the training file.
    """
    listed = read_image_list(test.annotations)
    trained = read_view(train, masks=False).categories
    problems = [
        *image_problems(test.images, listed.images, decode=False, max_pixels=max_image_pixels),
        *category_problems(listed.categories, trained, train),
    ]
    if not listed.images:
        problems.append("it lists no images.")
    if problems:
        raise DatasetError(test.annotations, problems)


def testset_name(annotations: Path) -> str:
    """What a list of images is called: test-dev2017 for image_info_test-dev2017.json."""
    name = annotations.stem
    for prefix in LIST_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def write_submission(predictions: Path, folder: Path, *, testset: str, algorithm: str) -> Path:
    """Write detections_TESTSET_ALGORITHM_results.json, and the zip of it that COCO's server takes.

    Args:
        predictions: COCO results list.
        folder: Receives both files.
        testset: For example test-dev2017.
        algorithm: Any name; what is no letter, digit or hyphen becomes a hyphen.

    Returns:
        The zip. Equal predictions give equal bytes.
    """
    algorithm = re.sub(r"[^A-Za-z0-9-]+", "-", algorithm)
    name = f"detections_{testset}_{algorithm}_results"
    entries = [{key: entry[key] for key in KEYS} for entry in read_results(predictions, KEYS)]
    text = json.dumps(entries, allow_nan=False)
    with atomic_path(folder / f"{name}.json") as temporary:
        temporary.write_text(text)
    target = folder / f"{name}.zip"
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        # A fixed date: the same predictions are the same file.
        member = zipfile.ZipInfo(f"{name}.json", date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(member, text, compress_type=zipfile.ZIP_DEFLATED)
    return target
