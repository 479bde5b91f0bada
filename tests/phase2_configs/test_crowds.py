"""Crowds of equal objects are told apart after a training of a minute, in both families."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.config import SplitConfig
from mal_core.evaluation.compared_arms import match_run
from mal_core.jobs.segmenter import CONFIG_FILE, PREDICTIONS_FILE, SegmenterJob
from mal_core.labelers.recipes import segmenter_recipe
from tests.phase2_configs.jobs import run_runner, write_job

RECIPES = {
    "solov2_lite0": ("LocalSOLOV2Head", 25, 0.3),
    "mask2former_lite0": ("LocalMask2FormerHead", 36, 0.2),
}
"""Head for crowds, steps, and an AP that it is sure to reach by then (0.45 and 0.33 were seen)."""
SIDE, RADIUS, SPACING = 128, 7, 18


def draw_crowds(folder: Path, count: int, seed: int) -> SplitConfig:
    """Images of grey discs in rows, each moved a little, a few left out."""
    generator = np.random.default_rng(seed)
    images, annotations = [], []
    folder.mkdir()
    for number in range(1, count + 1):
        canvas = generator.integers(20, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        for x in range(SPACING // 2, SIDE - RADIUS, SPACING):
            for y in range(SPACING // 2, SIDE - RADIUS, SPACING):
                if generator.random() < 0.3:
                    continue
                center = tuple(int(v) for v in np.add((x, y), generator.integers(-1, 2, 2)))
                mask = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), center, RADIUS, 1, -1)
                canvas[mask > 0] = 160
                rle = coco_mask.encode(np.asfortranarray(mask))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "iscrowd": 0,
                        "area": int(mask.sum()),
                        "bbox": coco_mask.toBbox(rle).tolist(),
                        "segmentation": {"size": [SIDE, SIDE], "counts": rle["counts"].decode()},
                    }
                )
        cv2.imwrite(str(folder / f"{number}.png"), canvas)
    content = {"images": images, "annotations": annotations}
    path = folder / "annotations.json"
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "cell"}]}))
    return SplitConfig(images=folder, annotations=path)


@pytest.mark.slow
def test_a_short_training_tells_the_objects_of_a_crowd_apart(tmp_path: Path) -> None:
    train, val = draw_crowds(tmp_path / "train", 8, 0), draw_crowds(tmp_path / "val", 4, 1)
    jobs = []
    for name, (_, steps, _) in RECIPES.items():
        recipe = segmenter_recipe(
            name, max_steps=steps, batch_size=2, image_size=192, num_workers=0
        )
        job = SegmenterJob(recipe=recipe, train=train, val=val, seed=0)
        jobs.append(write_job(dataclasses.replace(job, most_objects=49), tmp_path / name))
    result = run_runner(*jobs)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    for name, (head, _, least) in RECIPES.items():
        assert f'"{head}"' in (tmp_path / name / CONFIG_FILE).read_text().replace("'", '"')
        metrics = match_run(val.annotations, tmp_path / name / PREDICTIONS_FILE).metrics()
        assert metrics.ap is not None
        assert metrics.ap > least
