"""Every full-size recipe builds as published, trains on either file and predicts."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows.settings import composing
from mal_core.config import SegmenterConfig
from mal_core.evaluation.matching import match_predictions
from mal_core.processes.files import write_json
from tests.phase2_configs.conftest import SIZE
from tests.phase2_configs.jobs import ARMS, make_job, run_script, write_job

pytestmark = pytest.mark.slow

TRAIN_AND_BUILD = """
import json, math, sys, torch
from pathlib import Path
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from phase2_configs.runner.recipe import file_dataset
from phase2_configs.runner.training import build_config
from mal_core.jobs.segmenter import read_job
from phase2_configs.runner.train import main
names, jobs, folders = (text.split("\\n") for text in sys.argv[1:])
for job in jobs:
    if status := main([job]):
        sys.exit(f"{job}: {status}")
    for checkpoint in Path(job).parent.glob("*.pth"):  # up to a gigabyte each
        checkpoint.unlink()
register_all_modules(init_default_scope=True)
torch.manual_seed(0)
def config_of(folder):
    return build_config(read_job(folder / "job.json"), folder)
def places(node, place=""):
    if not isinstance(node, (dict, list, tuple)):
        return {place: node}
    items = node.items() if isinstance(node, dict) else enumerate(node)
    return {p: v for key, value in items for p, v in places(value, f"{place}.{key}").items()}
def first_of(loader):
    return next(iter(Runner.build_dataloader(loader, seed=0)))
def step_and_predict(model, config):
    before = model.backbone.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items() if "weight" in name}
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    losses = model.train().train_step(first_of(config.train_dataloader), optimizer)
    after = model.backbone.state_dict()
    with torch.no_grad():
        (image,) = model.eval().test_step(first_of(config.test_dataloader))
    found = image.pred_instances
    return {"finite": all(math.isfinite(value) for value in losses.values()),
            "moved": any(not torch.equal(after[name], old) for name, old in before.items()),
            "masks": list(found.masks.shape), "scores": len(found.scores)}
for folder in map(Path, folders):
    config, twin = (config_of(folder / arm) for arm in ("human", "pseudo"))
    human, pseudo = places(config.to_dict()), places(twin.to_dict())
    row = {"differing": sorted(p for p in human.keys() | pseudo.keys()
                               if human.get(p) != pseudo.get(p))}
    row["colors"] = sorted({d["color_type"] for s in ("train", "val", "test")
                            for d in file_dataset(config[s + "_dataloader"].dataset).pipeline
                            if d["type"] == "LoadImageFromFile"})
    row["steps"] = config.train_cfg.max_iters
    row["milestones"] = [m for s in config.param_scheduler for m in s.get("milestones", [])]
    row["classes"] = file_dataset(config.train_dataloader.dataset).metainfo.classes
    small = config_of(folder / "small")
    model = MODELS.build(small.model)
    row["weights"] = sum(p.numel() for p in model.parameters())
    row["frozen"] = sum(not p.requires_grad for p in model.backbone.parameters())
    if folder.name in names:
        row |= step_and_predict(model, small)
    print("@", json.dumps([folder.name, row]))
    del model
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

# One of each family trains for two steps as a user's does, and predicts; the others are built once,
# and what is built takes a step and predicts without mmengine's runner.
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

# A mask for each of hundreds of proposals costs most of a step, and is the same work each time.
FEW_PROPOSALS = {
    "model": {
        "train_cfg": {"rpn_proposal": {"max_per_img": 40}},
        "test_cfg": {"rpn": {"max_per_img": 40}},
    }
}

# Twice the weights again, which nobody resumes here: a gigabyte of the largest.
NO_OPTIMIZER = {"default_hooks": {"checkpoint": {"save_optimizer": False}}}


@pytest.fixture(scope="module")
def files(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The first two images on either file, one of the validation images."""
    folder = tmp_path_factory.mktemp("few")
    count = {"human": 2, "pseudo": 2, "val": 1}
    return {
        name: first_images(getattr(drawn, name), folder / f"{name}.json", number)
        for name, number in count.items()
    }


@pytest.fixture(scope="module")
def small() -> dict[str, SegmenterConfig]:
    """Each recipe as the smallest experiment takes it."""
    names = ",".join(FULL_SIZE)
    recipes = composing.compose(["experiment=smoke", f"segmenters=[{names}]"]).segmenters
    stock = composing.compose(["experiment=smoke", f"segmenter.config={STOCK}"]).segmenters
    found = {**{recipe.name: recipe for recipe in recipes}, STOCK: stock[0]}
    for name, recipe in found.items():
        less = FEW_PROPOSALS if "mask_rcnn" in name else {}
        less = SMALL_GRIDS if name.startswith("solov2") else less
        found[name] = replace(recipe, options={**less, **NO_OPTIMIZER})
    return found


@dataclass(frozen=True)
class Done:
    """Folders of the trainings of one recipe of each family, and what every recipe became."""

    heads: dict[str, Path]
    built: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def done(
    drawn: Any,
    files: dict[str, Path],
    small: dict[str, SegmenterConfig],
    tmp_path_factory: pytest.TempPathFactory,
) -> Done:
    """All of it in one process, which costs seconds to start."""
    root = tmp_path_factory.mktemp("heads")
    few = make_job(drawn, "solov2_r18", files["pseudo"], files["val"])
    heads = {name: root / str(number) for number, name in enumerate(FAMILY_HEADS)}
    jobs = [write_job(replace(few, recipe=small[name]), heads[name]) for name in heads]
    folders = []
    for number, name in enumerate((*FULL_SIZE, STOCK)):
        folder = tmp_path_factory.mktemp("built") / (name if name != STOCK else str(number))
        config = Path(name if name == STOCK else f"phase2_configs/{name}.py")
        published = SegmenterConfig(name=name, config=config, max_steps=900, batch_size=2)
        for arm in ARMS:
            job = make_job(drawn, "solov2_r18", getattr(drawn, arm), drawn.val)
            write_job(replace(job, recipe=published), folder / arm)
        write_job(replace(few, recipe=small[name]), folder / "small")
        folders.append(folder)
    result = run_script(TRAIN_AND_BUILD, *("\n".join(map(str, x)) for x in (OTHERS, jobs, folders)))
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    rows = [json.loads(line[2:]) for line in result.stdout.splitlines() if line.startswith("@ ")]
    assert len(rows) == len(folders)
    built = zip((*FULL_SIZE, STOCK), (row for _, row in rows), strict=True)
    return Done(heads, dict(built))


@pytest.mark.parametrize("name", FAMILY_HEADS)
def test_full_size_recipe_trains_and_predicts(
    name: str, done: Done, files: dict[str, Path]
) -> None:
    heads = done.heads
    lines = (heads[name] / "scalars.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    predictions = heads[name] / "predictions.json"
    assert match_predictions(files["val"], predictions).metrics().ap is not None


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_full_size_recipe_takes_a_step_and_predicts(name: str, done: Done) -> None:
    row = done.built[name]
    assert row["finite"]
    assert row["moved"], "a step must change the backbone"
    assert row["masks"] == [row["scores"], SIZE, SIZE]


@pytest.mark.parametrize("name", [*FULL_SIZE, STOCK])
def test_full_size_recipes_build_with_the_classes_of_the_file(name: str, done: Done) -> None:
    row = done.built[name]
    assert [place.rpartition(".")[2] for place in row["differing"]] == ["ann_file", "work_dir"]
    assert row["classes"] == ["disc", "slab"]
    assert row["colors"] == ["color_ignore_orientation"]
    assert row["steps"] == 900
    assert all(0 < step < 900 for step in row["milestones"])
    if name != STOCK:
        assert row["weights"] / 1e6 == pytest.approx(FULL_SIZE[name], rel=0.05)
        assert row["frozen"] == 0, "random weights must not be frozen"


def first_images(annotations: Path, target: Path, count: int) -> Path:
    """The first images of a file, with what lies on them."""
    content = json.loads(annotations.read_text())
    images = content["images"][:count]
    known = {image["id"] for image in images}
    kept = [entry for entry in content["annotations"] if entry["image_id"] in known]
    write_json(target, {**content, "images": images, "annotations": kept})
    return target
