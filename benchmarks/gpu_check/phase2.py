"""Phase 2 on the card: images/s of full-size recipes on torchvision's kernels."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu_check import device
from benchmarks.gpu_check.sizes import Sizes
from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.errors import SegmenterError
from mal_core.jobs.segmenter import SegmenterJob, train_segmenter
from scenes.write import write_scenes

LOG_EVERY = 5
TRAIN_SCENES, VAL_SCENES = 64, 8


def measure(sizes: Sizes) -> Iterator[tuple[str, Any]]:
    """Images/s, memory and seconds of each recipe, or why it broke off."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(
            folder / "scenes",
            num_train=TRAIN_SCENES,
            num_val=VAL_SCENES,
            size=sizes.scene_side,
            seed=0,
        )
        for recipe, batch, side, amp in sizes.recipes:
            try:
                numbers = _train(recipe, batch, side, amp, sizes.segmenter_steps, folder)
            except SegmenterError as error:  # the others are worth knowing all the same
                numbers = {"error": str(error).splitlines()[0]}
            yield recipe, numbers


def _train(
    recipe: str, batch: int, side: int | None, amp: bool, steps: int, folder: Path
) -> dict[str, Any]:
    train, val = (
        SplitConfig(
            images=folder / "scenes" / split / "images",
            annotations=folder / "scenes" / split / "annotations.json",
        )
        for split in ("train", "val")
    )
    settings = SegmenterConfig(
        name=recipe,
        config=Path(f"phase2_configs/{recipe}.py"),
        max_steps=steps,
        batch_size=batch,
        image_size=side,
        num_workers=8 if device.ON_GPU else 0,
        amp=amp and device.ON_GPU,
        options={"default_hooks": {"logger": {"interval": min(LOG_EVERY, steps)}}},
    )
    work_dir = folder / recipe
    started = time.perf_counter()
    run = train_segmenter(SegmenterJob(recipe=settings, train=train, val=val), work_dir)
    lines = [
        json.loads(line)
        for path in work_dir.glob("*/vis_data/scalars.json")
        for line in path.read_text().splitlines()
    ]
    logged = [line for line in lines if "loss" in line]
    return {
        "batch": batch,
        "images_per_s": batch / median(line["time"] for line in logged[-3:]),
        "waiting_for_data": median(line["data_time"] / line["time"] for line in logged[-3:]),
        "peak_memory_gb": max(line.get("memory", 0) for line in logged) / 1024,
        "last_loss": logged[-1]["loss"],
        "predictions": len(json.loads(run.predictions.read_text())),
        "total_s": time.perf_counter() - started,
    }
