"""SOLOv2's cells and Mask2Former's queries with places: as many as the image at hand needs."""

import importlib
import math
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mal_core.data.object_sizes import ObjectSizes
from mal_core.jobs.segmenter import PROJECT_ROOT
from phase2_configs.runner import recipe, sizing

pytestmark = [
    pytest.mark.slow,  # the import of mmdet
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
]

CROWD = ObjectSizes(
    sides=(0.03, 0.04, 0.05, 0.06, 0.07),
    ratios=(0.8, 0.9, 1.0, 1.1, 1.2),
    per_image=(20.0, 30.0, 40.0, 50.0, 60.0),
)
CHANNELS = 64


@pytest.fixture(autouse=True)
def _mmdet() -> None:
    register_all_modules(init_default_scope=True)
    importlib.import_module("phase2_configs.heads.local_solov2")
    importlib.import_module("phase2_configs.heads.local_mask2former")
    torch.manual_seed(0)


def head_of(name: str, part: str) -> tuple[Any, dict[str, Any]]:
    """The head of a recipe that is sized for a crowd, and its config."""
    config = Config.fromfile(str(PROJECT_ROOT / "phase2_configs" / f"{name}.py")).to_dict()
    recipe.set_classes(config, ["cell"])
    sizing.fit(config, CROWD, None)
    node = Config(config["model"][part])
    node.update(train_cfg=config["model"].get("train_cfg"), test_cfg=config["model"]["test_cfg"])
    return MODELS.build(node), config


def maps(side: int, channels: list[int]) -> list[torch.Tensor]:
    return [
        torch.randn(1, count, side // stride, side // stride)
        for count, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_cells_of_a_crop_are_as_large_as_those_of_an_image() -> None:
    head, config = head_of("solov2_lite0", "mask_head")
    crop, _, _ = head.train()(maps(256, [CHANNELS] * 4))
    image, _, _ = head.eval()(maps(480, [CHANNELS] * 4))
    cells = [
        side / level.shape[-1] for side, levels in ((256, crop), (480, image)) for level in levels
    ]
    assert [level.shape[-1] for level in image] == config["model"]["mask_head"]["num_grids"]
    assert cells[:4] == pytest.approx(cells[4:], rel=0.15)


def test_cells_that_say_the_same_have_masks_at_their_own_places() -> None:
    head, _ = head_of("solov2_lite0", "mask_head")
    head.conv_kernel.weight.data.zero_()
    head.conv_kernel.bias.data.zero_()
    kernels, _, features = head.eval()(maps(256, [CHANNELS] * 4))
    grid = kernels[0].shape[-1]
    masks = torch.einsum("cij,chw->ijhw", kernels[0][0], features[0])
    highest = masks.flatten(2).argmax(-1)
    rows, columns = highest // masks.shape[-1], highest % masks.shape[-1]
    wanted = (torch.arange(grid) + 0.5) * (masks.shape[-1] / grid) - 0.5
    assert (rows - wanted[:, None]).abs().max() <= 0.51
    assert (columns - wanted).abs().max() <= 0.51


def test_an_image_has_a_query_per_cell_and_no_fewer_than_it_may_keep() -> None:
    head, config = head_of("mask2former_lite0", "panoptic_head")
    channels = config["model"]["panoptic_head"]["in_channels"]
    cell = config["model"]["panoptic_head"]["cell_px"]
    classes, masks = head.train()(maps(256, channels), [None])
    assert len(classes) == 4  # before the first of three layers, and after each
    assert classes[0].shape[1] == masks[0].shape[1] == math.ceil(256 / cell) ** 2
    head.least_queries = 500
    classes, masks = head.eval()(maps(256, channels), [None])
    assert classes[-1].shape == (1, 500, 2)
    assert masks[-1].shape == (1, 500, 64, 64)
    head.least_queries = 20
    _, masks = head(maps(512, channels), [None])
    assert masks[-1].shape == (1, 20, 128, 128)


def test_queries_look_around_their_places_from_the_start() -> None:
    head, config = head_of("mask2former_lite0", "panoptic_head")
    head.mask_embed[-1].weight.data.zero_()
    head.mask_embed[-1].bias.data.zero_()
    _, masks = head.train()(maps(256, config["model"]["panoptic_head"]["in_channels"]), [None])
    assert masks[0][0].flatten(1).amax(1).min() > 0
    inside = (masks[0][0] > 0).flatten(1)
    assert inside.any(0).all()  # together they see all of the image
    assert inside.float().mean() < 0.1  # and each a small part


def test_queries_with_the_mask_of_a_better_one_lose_their_scores() -> None:
    head, _ = head_of("mask2former_lite0", "panoptic_head")
    masks = torch.full((3, 16, 16), -9.0)
    masks[:2, 2:8, 2:8] = 9.0
    masks[2, 10:14, 10:14] = 9.0
    scores = torch.tensor([0.9, 0.6, 0.5])
    classes = torch.stack([scores, 1 - scores], -1).log()
    found, kept = head._best(classes, masks)
    found = found.softmax(-1)[:, 0]
    assert found[:2].tolist() == pytest.approx([0.9, 0.5], abs=1e-4)
    assert found[2] < 0.01
    assert torch.equal(kept[1], masks[2])
