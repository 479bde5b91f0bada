"""Edits of mmdet configs, on plain dicts."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from mal_core.config import SegmenterConfig
from mal_core.errors import ConfigError
from mal_core.jobs.segmenter import PROJECT_ROOT, resolve_config
from phase2_configs.runner import recipe

RECIPES = sorted((PROJECT_ROOT / "conf" / "segmenter").glob("*.yaml"))


def loader(*pipeline: dict[str, Any]) -> dict[str, Any]:
    return {"batch_size": 4, "dataset": {"ann_file": "a.json", "pipeline": list(pipeline)}}


def a_config() -> dict[str, Any]:
    resize = {"type": "Resize", "scale": (1000, 600)}
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    crop = {"type": "RandomCrop", "crop_size": (400, 500)}
    choice = {"type": "RandomChoice", "transforms": [[dict(resize)], [crop]]}
    return {
        "model": {
            "backbone": {"frozen_stages": 1, "norm_eval": True, "norm_cfg": {"type": "SyncBN"}},
            "mask_head": {"num_classes": 80, "scale_ranges": ((10, 50), (40, 100))},
            "panoptic_head": {
                "num_things_classes": 80,
                "num_stuff_classes": 53,
                "loss_cls": {"class_weight": [1.0] * 133 + [0.1]},
            },
        },
        "train_dataloader": loader(*load, choice),
        "val_dataloader": loader(*load, dict(resize)),
        "test_dataloader": loader(*load, dict(resize)),
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 12},
        "param_scheduler": [
            {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 500},
            {"type": "MultiStepLR", "begin": 0, "end": 12, "milestones": [8, 11]},
        ],
        "optim_wrapper": {"type": "AmpOptimWrapper", "loss_scale": 512, "optimizer": {"lr": 1.0}},
    }


def test_all_heads_get_the_number_of_classes() -> None:
    config = a_config()
    recipe.set_classes(config, ["disc", "slab"])
    head = config["model"]["panoptic_head"]
    assert config["model"]["mask_head"]["num_classes"] == 2
    assert (head["num_things_classes"], head["num_stuff_classes"]) == (2, 0)
    assert head["loss_cls"]["class_weight"] == [1.0, 1.0, 0.1]
    assert config["train_dataloader"]["dataset"]["metainfo"]["classes"] == ("disc", "slab")


def test_classes_that_contradict_the_config_are_refused() -> None:
    config = a_config()
    config["val_dataloader"]["dataset"]["metainfo"] = {"classes": ("slab", "disc")}
    with pytest.raises(ConfigError, match=r"val_dataloader.*'slab', 'disc'"):
        recipe.set_classes(config, ["disc", "slab"])


def test_epochs_become_steps_and_the_schedule_keeps_its_shape() -> None:
    config = a_config()
    total = recipe.set_length(config, num_images=1000, max_steps=None)
    warmup, main = config["param_scheduler"]
    assert total == 12 * 250
    assert config["train_cfg"]["max_iters"] == total
    assert warmup["end"] == 300
    assert (main["end"], main["milestones"]) == (3000, [2000, 2750])
    assert not main["by_epoch"]


def test_processes_share_the_images_of_an_epoch() -> None:
    alone, together = a_config(), a_config()
    steps = recipe.set_length(alone, num_images=1600, max_steps=None)
    assert 4 * recipe.set_length(together, 1600, None, num_processes=4) == steps
    for one, four in zip(alone["param_scheduler"], together["param_scheduler"], strict=True):
        if "milestones" in one:
            assert [4 * step for step in four["milestones"]] == one["milestones"]


def test_schedule_fits_into_fewer_steps() -> None:
    config = a_config()
    assert recipe.set_length(config, num_images=1000, max_steps=120) == 120
    warmup, main = config["param_scheduler"]
    assert warmup["end"] == 12
    assert (main["end"], main["milestones"]) == (120, [80, 110])


def test_cosine_still_begins_where_the_shortened_warmup_ends() -> None:
    config = a_config()
    config["train_cfg"] = {"max_iters": 600}
    config["param_scheduler"] = [
        {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 200},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 200, "end": 600, "T_max": 400},
    ]
    recipe.set_length(config, num_images=10, max_steps=60)
    warmup, cosine = config["param_scheduler"]
    assert warmup["end"] == cosine["begin"] == 6
    assert (cosine["end"], cosine["T_max"]) == (60, 54)


def test_random_weights_are_neither_frozen_nor_downloaded() -> None:
    model = a_config()["model"]
    model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "torchvision://resnet50"}
    recipe.set_weights(model, None)
    assert model["backbone"]["init_cfg"] is None
    assert model["backbone"]["frozen_stages"] == -1
    assert model["backbone"]["norm_eval"] is False


def test_hub_weights_leave_the_recipe_alone() -> None:
    model = a_config()["model"]
    before = repr(model)
    recipe.set_weights(model, "hub")
    assert repr(model) == before


def test_weights_file_replaces_the_download_and_keeps_its_prefix(tmp_path: Path) -> None:
    model = a_config()["model"]
    init = {"type": "Pretrained", "checkpoint": "https://host/x.pth", "prefix": "backbone."}
    model["backbone"]["init_cfg"] = init
    weights = tmp_path / "weights.pth"
    weights.touch()
    recipe.set_weights(model, str(weights))
    assert model["backbone"]["init_cfg"] == {**init, "checkpoint": str(weights)}
    assert model["backbone"]["frozen_stages"] == 1


def test_image_size_scales_every_size_alike() -> None:
    config = a_config()
    recipe.set_image_size(config, 500)
    sizes = [node for node in recipe.walk(config["train_dataloader"]) if "type" in node]
    assert {"type": "Resize", "scale": (500, 300)} in sizes
    assert {"type": "RandomCrop", "crop_size": (200, 250)} in sizes
    assert config["model"]["mask_head"]["scale_ranges"] == [(5, 25), (20, 50)]


def test_every_image_is_decoded_as_stored_and_val_masks_stay_away() -> None:
    config = a_config()
    recipe.ignore_orientation(config)
    recipe.predict_without_masks(config)
    for split in ("train", "val", "test"):
        steps = config[f"{split}_dataloader"]["dataset"]["pipeline"]
        assert steps[0]["color_type"] == "color_ignore_orientation"
        masks = any(step["type"] == "LoadAnnotations" for step in steps)
        assert masks == (split == "train")


def test_single_process_needs_no_group_and_no_gpu() -> None:
    config = a_config()
    recipe.adapt_to_processes(config, amp=None, synchronized=False)
    assert config["model"]["backbone"]["norm_cfg"]["type"] == "BN"
    assert config["optim_wrapper"] == {"type": "OptimWrapper", "optimizer": {"lr": 1.0}}


@pytest.mark.parametrize(("amp", "scale"), [("bfloat16", 1.0), ("float16", "dynamic")])
def test_only_float16_losses_are_scaled(amp: Literal["bfloat16", "float16"], scale: object) -> None:
    config = a_config()
    recipe.adapt_to_processes(config, amp=amp, synchronized=False)
    wrapper = config["optim_wrapper"]
    assert (wrapper["type"], wrapper["dtype"]) == ("AmpOptimWrapper", amp)
    assert wrapper["loss_scale"] == scale


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_file_names_an_existing_config_and_all_keys(path: Path) -> None:
    settings = yaml.safe_load(path.read_text())
    assert settings["name"] == path.stem
    assert set(settings) == set(SegmenterConfig.__dataclass_fields__)
    assert Path(resolve_config(Path(settings["config"]))).stem == path.stem
    header = path.read_text().split("name:")[0]
    assert all(word in header for word in ("Source:", "Cost:", "Command:"))


def test_every_config_has_its_recipe_file() -> None:
    configs = {path.stem for path in (PROJECT_ROOT / "phase2_configs").glob("*_*.py")}
    configs -= {"mmcv_ops", "mmcv_finder", "yapf_grammar", "plain_weights", "users_config"}
    assert configs == {path.stem for path in RECIPES}


def test_options_change_single_places_of_the_config() -> None:
    config = a_config()
    config["model"]["extra"] = [{"a": 1}, {"a": 2}]
    options = {"model": {"extra": {"1": {"a": 3, "new": 4}}, "backbone": {"depth": 101}}}
    recipe.set_options(config, options)
    assert config["model"]["extra"] == [{"a": 1}, {"a": 3, "new": 4}]
    assert config["model"]["backbone"]["depth"] == 101


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": {"backbon": {"depth": 1}}}, "has no 'backbon' there. It has: "),
        ({"train_dataloader": {"dataset": {"ann_file": "x"}}}, "data, classes and seed"),
        ({"randomness": {"seed": 4}}, "data, classes and seed"),
        ({"model": {"extra": {"7": 1}}}, "has no '7' there"),
    ],
)
def test_options_without_a_place_or_against_the_twins_are_refused(
    options: dict[str, Any], message: str
) -> None:
    config = a_config()
    config["model"]["extra"] = [1, 2]
    with pytest.raises(ConfigError, match=message):
        recipe.set_options(config, options)


SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "warm-up and steps": [
        {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 500},
        {"type": "MultiStepLR", "begin": 0, "end": 12, "milestones": [8, 11]},
    ],
    "warm-up and cosine": [
        {"type": "LinearLR", "by_epoch": False, "start_factor": 0.01, "begin": 0, "end": 100},
        {"type": "CosineAnnealingLR", "begin": 1, "end": 12, "T_max": 11, "by_epoch": True},
    ],
    "a warm-up of epochs": [
        {"type": "LinearLR", "begin": 0, "end": 1},
        {"type": "CosineAnnealingLR", "begin": 6, "end": 12, "T_max": 6},
    ],
    "steps": [{"type": "StepLR", "step_size": 3}],
    "one cycle": [{"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 12}],
    "restarts": [
        {"type": "CosineRestartLR", "periods": [3, 9], "restart_weights": [1, 0.5], "eta_min": 0}
    ],
    "polynomial": [{"type": "PolyLR", "power": 0.9, "begin": 3, "end": 12}],
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_schedule_of_a_step_or_two_is_one_that_mmengine_takes(name: str, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    config = {**a_config(), "param_scheduler": SCHEDULES[name]}
    assert recipe.set_length(config, 40, steps) == steps
    built: list[_ParamScheduler] = [
        PARAM_SCHEDULERS.build({**one, "optimizer": optimizer}) for one in config["param_scheduler"]
    ]
    for _ in range(steps):
        assert 0 <= optimizer.param_groups[0]["lr"] <= 0.2
        optimizer.step()
        for scheduler in built:
            scheduler.step()
