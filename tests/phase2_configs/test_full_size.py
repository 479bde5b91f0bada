"""Every full-size recipe builds as published, trains on either file and predicts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.settings import composing
from mal_core.config import SegmenterConfig
from mal_core.evaluation.matching import match_predictions
from mal_core.jobs.segmenter import CONFIG_FILE, config_diff
from mal_core.processes.files import write_json
from tests.phase2_configs.jobs import ARMS, make_job, run_runner, run_script, write_job

pytestmark = pytest.mark.slow

BUILD_ALL = """
import json, sys, torch
from pathlib import Path
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from phase2_configs.runner.recipe import file_dataset
from phase2_configs.runner.train import build_config
from mal_core.jobs.segmenter import read_job
register_all_modules(init_default_scope=True)
torch.manual_seed(0)
def places(node, place=""):
    if not isinstance(node, (dict, list, tuple)):
        return {place: node}
    items = node.items() if isinstance(node, dict) else enumerate(node)
    return {p: v for key, value in items for p, v in places(value, f"{place}.{key}").items()}
paths = list(map(Path, sys.argv[1:]))
for path, other in zip(paths[::2], paths[1::2]):
    config, twin = (build_config(read_job(p), p.parent)
                    for p in (path, other))
    human, pseudo = places(config.to_dict()), places(twin.to_dict())
    differing = sorted(p for p in human.keys() | pseudo.keys() if human.get(p) != pseudo.get(p))
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        features = model.extract_feat(torch.zeros(1, 3, 64, 64))
    weights = sum(p.numel() for p in model.parameters())
    frozen = sum(not p.requires_grad for p in model.backbone.parameters())
    colors = {d["color_type"] for s in ("train", "val", "test")
              for d in file_dataset(config[s + "_dataloader"].dataset).pipeline
              if d["type"] == "LoadImageFromFile"}
    steps = config.train_cfg.max_iters
    milestones = [s.get("milestones") for s in config.param_scheduler if "milestones" in s]
    classes = file_dataset(config.train_dataloader.dataset).metainfo.classes
    print("@", json.dumps([path.parent.parent.name, len(features), weights, frozen, sorted(colors),
                           steps, milestones, classes, differing]))
"""


STOCK = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"

# Millions of weights with two classes, as published for the 80 of COCO within a few per cent.
FULL_SIZE = {
    "solov2_r50": 46,
    "solov2_r101": 65,
    "solov2_r101_dcn": 68,
    "solov2_x101_dcn": 113,
    "boxinst_r50": 35,
    "mask_rcnn_r101_lvis": 63,
    "mask_rcnn_x101_32x4d_lvis": 63,
    "mask_rcnn_x101_64x4d_lvis": 102,
    "cascade_mask_rcnn_convnext_b": 145,
    "cascade_mask_rcnn_convnext_t": 86,
    "cascade_mask_rcnn_convnext_s": 106,
    "mask2former_swin_t": 47,
    "mask2former_swin_s": 69,
}

# One of each family trains for two steps and predicts; the others take one step. What differs
# between the arms is shown where all are built, and by the published config, which is not.
FAMILY_HEADS = (
    "solov2_r50",
    "boxinst_r50",
    "mask_rcnn_r101_lvis",
    "cascade_mask_rcnn_convnext_t",
    "mask2former_swin_t",
    STOCK,
)

OTHERS = tuple(name for name in FULL_SIZE if name not in FAMILY_HEADS)

# SOLOv2's heads work on grids whose size no image changes; deformable ones take a minute a step.
SMALL_GRIDS = {"model": {"mask_head": {"num_grids": [10, 9, 6, 4, 3]}}}

STEP_ALL = """
import sys
from pathlib import Path
from phase2_configs.runner.train import main
for path in sys.argv[1:]:
    status = main([path])
    for checkpoint in Path(path).parent.glob("*.pth"):  # up to two gigabytes each
        checkpoint.unlink()
    if status:
        sys.exit(f"{path}: {status}")
"""


@pytest.mark.parametrize("name", FAMILY_HEADS)
def test_full_size_recipe_trains_and_predicts(name: str, drawn: Any, tmp_path: Path) -> None:
    arms = ARMS if name == STOCK else ("pseudo",)
    recipe = smoke_recipe(name)
    val = first_images(drawn.val, tmp_path / "val.json", 1)
    jobs = []
    for arm in arms:
        few = first_images(getattr(drawn, arm), tmp_path / f"{arm}.json", 2)
        job = replace(make_job(drawn, "solov2_r18", few, val), recipe=recipe)
        jobs.append(write_job(job, tmp_path / arm / "work"))
    result = run_runner(*jobs)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    for arm in arms:
        lines = (tmp_path / arm / "work" / "scalars.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2]
        assert (
            match_predictions(val, tmp_path / arm / "work" / "predictions.json").metrics().ap
            is not None
        )
    if arms == ARMS:
        expect_other_annotations_only(*(tmp_path / arm / "work" / CONFIG_FILE for arm in ARMS))
    for checkpoint in tmp_path.rglob("*.pth"):  # up to two gigabytes each
        checkpoint.unlink()


def smoke_recipe(name: str) -> SegmenterConfig:
    chosen = f"segmenter.config={name}" if "::" in name else f"segmenters=[{name}]"
    return composing.compose(["experiment=smoke", chosen]).segmenters[0]


def expect_other_annotations_only(human: Path, pseudo: Path) -> None:
    diff = config_diff(human, pseudo)
    changed = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
    assert len(changed) == 2, diff
    assert all(line.rstrip(",").endswith(".json'") for line in changed), diff


def test_every_other_full_size_recipe_takes_a_step_and_predicts(drawn: Any, tmp_path: Path) -> None:
    val = first_images(drawn.val, tmp_path / "val.json", 1)
    few = first_images(drawn.pseudo, tmp_path / "pseudo.json", 2)
    jobs = []
    for name in OTHERS:
        recipe = replace(smoke_recipe(name), max_steps=1)
        if name.startswith("solov2"):
            recipe = replace(recipe, options=SMALL_GRIDS)
        job = replace(make_job(drawn, "solov2_r18", few, val), recipe=recipe)
        jobs.append(write_job(job, tmp_path / name))
    result = run_script(STEP_ALL, *jobs)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    for job_file in jobs:
        lines = job_file.with_name("scalars.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1]
        assert (
            match_predictions(val, job_file.with_name("predictions.json")).metrics().ap is not None
        )


def first_images(annotations: Path, target: Path, count: int) -> Path:
    """The first images of a file, with what lies on them."""
    content = json.loads(annotations.read_text())
    images = content["images"][:count]
    known = {image["id"] for image in images}
    kept = [entry for entry in content["annotations"] if entry["image_id"] in known]
    write_json(target, {**content, "images": images, "annotations": kept})
    return target


def test_full_size_recipes_build_with_the_classes_of_the_file(drawn: Any, tmp_path: Path) -> None:
    jobs = []
    for name in FULL_SIZE:
        recipe = SegmenterConfig(
            name=name, config=Path(f"phase2_configs/{name}.py"), max_steps=900, batch_size=2
        )
        for arm in ARMS:
            job = make_job(drawn, "solov2_r18", getattr(drawn, arm), drawn.val)
            jobs.append(write_job(replace(job, recipe=recipe), tmp_path / name / arm))
    result = run_script(BUILD_ALL, *jobs)
    assert result.returncode == 0, result.stderr
    built = [json.loads(line[2:]) for line in result.stdout.splitlines() if line.startswith("@ ")]
    assert [row[0] for row in built] == list(FULL_SIZE)
    for name, _, weights, frozen, colors, steps, milestones, classes, differing in built:
        assert [place.rpartition(".")[2] for place in differing] == ["ann_file", "work_dir"], name
        assert weights / 1e6 == pytest.approx(FULL_SIZE[name], rel=0.05), name
        assert frozen == 0, "random weights must not be frozen"
        assert colors == ["color_ignore_orientation"]
        assert classes == ["disc", "slab"]
        assert steps == 900
        assert all(0 < step < 900 for scheduler in milestones for step in scheduler)
