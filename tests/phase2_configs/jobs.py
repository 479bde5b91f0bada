"""Jobs on the drawn scenes, and what runs them as the library does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.jobs.segmenter import JOB_FILE, SegmenterJob, claim_of
from mal_core.processes.children import child_environment
from mal_core.processes.records import write_record

# Steps, image size and learning rate with which 8 images are learned by heart in seconds.
FAMILIES = {
    "solov2_r18": (30, 96, 2e-3),
    "cascade_mask_rcnn_convnext_cpu": (40, 96, 2e-3),
    "mask2former_swin_cpu": (40, 96, 2e-3),
}

ARMS = ("human", "pseudo")


def make_job(drawn: Any, name: str, annotations: Path, val: Path) -> SegmenterJob:
    steps, size, rate = FAMILIES[name]
    recipe = SegmenterConfig(
        name=name,
        config=Path(f"phase2_configs/{name}.py"),
        max_steps=steps,
        batch_size=4,
        image_size=size,
        learning_rate=rate,
        num_workers=0,
    )
    return SegmenterJob(
        recipe=recipe,
        train=SplitConfig(images=drawn.images, annotations=annotations),
        val=SplitConfig(images=drawn.images, annotations=val),
        seed=3,
    )


def write_job(job: SegmenterJob, work_dir: Path) -> Path:
    write_record(work_dir / JOB_FILE, claim_of(job))
    return work_dir / JOB_FILE


def run_runner(*jobs: Path) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "phase2_configs.runner.train", *jobs)


def run_script(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_python("-c", script, *arguments)


def run_python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=False,
    )
