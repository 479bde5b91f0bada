"""Foundation models of the real classes, small and random, saved and loaded as files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mal_core
from mal_core.config.labelers import FOUNDATIONS, LabelerConfig, MemberConfig, called
from mal_core.labelers.foundations import Foundation
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.weights import find_weights, with_local_weights
from mal_core.processes.files import READ_EVENT
from mal_core.types import BoxAnnotation
from tests.mal_core.labelers.tiny_foundations import SIDE, write_tiny

pytest.importorskip("transformers", reason="the extra `sam` is not installed")

BOXES = [(8.0, 6.0, 40.0, 50.0), (50.0, 10.0, 118.0, 84.0), (2.0, 60.0, 30.0, 94.0)]
HEIGHT, WIDTH = 96, 128
SHAPES = r"SamModel: [a-z0-9_.]+ has shape \[[\d, ]+\], but by config.json it is \[[\d, ]+\]"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    return {name: write_tiny(name, root / name) for name in FOUNDATIONS}


@pytest.fixture
def photo() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def foundation(name: str, folder: Path, **changes: object) -> Foundation:
    return Foundation(folder, drawer_recipe(name, weights=str(folder), **changes))


def annotations(boxes: list[tuple[float, float, float, float]]) -> list[BoxAnnotation]:
    return [
        BoxAnnotation(annotation_id=index, image_id=0, category_id=0, box_xyxy=box)
        for index, box in enumerate(boxes)
    ]


def full_masks(
    drawer: Foundation, photo: np.ndarray, boxes: list[tuple[float, float, float, float]]
) -> np.ndarray:
    masks = np.zeros((len(boxes), *photo.shape[:2]), dtype=bool)
    for mask, drawing in zip(masks, drawer.draw(photo, annotations(boxes)), strict=True):
        x0, y0, x1, y1 = drawing.window_xyxy
        mask[y0:y1, x0:x1] = drawing.mask
    return masks


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_boxes_of_a_photo_share_one_embedding_and_get_one_mask_each(folders, photo, name):
    drawer = foundation(name, folders[name], boxes_per_pass=2)
    calls = []
    drawer.model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    asked = []
    drawer.model.register_forward_pre_hook(
        lambda _module, _args, given: asked.append(given), with_kwargs=True
    )
    drawings = list(drawer.draw(photo, annotations(BOXES)))
    assert len(drawings) == len(BOXES)
    assert len(calls) == 1
    assert [given["input_boxes"].shape[1] for given in asked] == [2, 1]
    assert not any(given["multimask_output"] for given in asked)
    for drawing, (x0, y0, x1, y1) in zip(drawings, BOXES, strict=True):
        assert drawing.window_xyxy == (int(x0), int(y0), int(x1), int(y1))
        assert drawing.logits.shape == (y1 - y0, x1 - x0)
        assert 0 <= drawing.confidence <= 1
    alone = list(foundation(name, folders[name], boxes_per_pass=8).draw(photo, annotations(BOXES)))
    for one, other in zip(drawings, alone, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-3)


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_prompts_are_in_px_of_the_encoders_input(folders, photo, name):
    """SAM and HQ-SAM keep the photo's shape, SAM 2 and 3 squeeze it to a square."""
    drawer = foundation(name, folders[name])
    asked = []
    drawer.model.prompt_encoder.register_forward_pre_hook(
        lambda _module, _args, given: asked.append(given["input_boxes"]), with_kwargs=True
    )
    list(drawer.draw(photo, annotations(BOXES)))
    scale_x = SIDE / WIDTH
    scale_y = scale_x if name in ("sam", "hq_sam") else SIDE / HEIGHT
    wanted = np.array(BOXES) * [scale_x, scale_y, scale_x, scale_y]
    np.testing.assert_allclose(asked[0][0].numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_a_mask_drawn_on_its_prompt_comes_back_on_its_box(folders, photo, name):
    """The whole way of the frames: the decoder fills what it is prompted with, nothing else."""
    drawer = foundation(name, folders[name], cut_to_box=False)
    real = drawer.model.forward

    def filled(**given: object) -> object:
        found = real(**given)
        # Centers of cells finer than a pixel of the photo, in px of the encoder's input.
        cells = (torch.arange(4 * SIDE) + 0.5) / 4
        x0, y0, x1, y1 = given["input_boxes"][0].T[..., None]
        inside_x = (cells > x0) & (cells < x1)
        inside_y = (cells > y0) & (cells < y1)
        found.pred_masks = torch.where(inside_y[:, :, None] & inside_x[:, None, :], 5.0, -5.0)[
            None, :, None
        ]
        return found

    drawer.model.forward = filled
    boxes = [*BOXES, (60.0, 20.0, 124.0, 90.0)]
    for mask, (x0, y0, x1, y1) in zip(full_masks(drawer, photo, boxes), boxes, strict=True):
        wanted = np.zeros_like(mask)
        wanted[int(y0) : int(y1), int(x0) : int(x1)] = True
        assert iou(mask, wanted) > 0.97  # one pixel aside: 0.91


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_a_photo_and_boxes_of_twice_the_size_give_masks_of_twice_the_size(folders, photo, name):
    """With the real decoder: pixel boxes taken for normalised ones, or unscaled, would not."""
    drawer = foundation(name, folders[name], cut_to_box=False)
    small = full_masks(drawer, photo, BOXES)
    large_photo = cv2.resize(photo, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_LINEAR)
    doubled = [tuple(2 * value for value in box) for box in BOXES]
    large = full_masks(drawer, large_photo, doubled)
    unscaled = full_masks(drawer, large_photo, BOXES)
    enlarged = small.repeat(2, 1).repeat(2, 2)
    agreement = [iou(one, other) for one, other in zip(enlarged, large, strict=True)]
    wrong = [iou(one, other) for one, other in zip(enlarged, unscaled, strict=True)]
    assert min(agreement) > 0.6, agreement
    assert np.mean(wrong) < np.mean(agreement) - 0.02


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_preprocessing_is_that_of_the_published_models(name):
    """Recorded from the published preprocessor_config.json files."""
    import transformers

    kinds = {
        "sam": ("SamImageProcessor", {"longest_edge": 1024}),
        "hq_sam": ("SamImageProcessor", {"longest_edge": 1024}),
        "sam2": ("Sam2ImageProcessor", {"height": 1024, "width": 1024}),
        "sam3": ("Sam3ImageProcessor", {"height": 1008, "width": 1008}),
    }
    kind, size = kinds[name]
    processor = getattr(transformers, kind)()
    found = {key: value for key, value in dict(processor.size).items() if value}
    assert found == size
    imagenet = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    mean, std = ([0.5] * 3, [0.5] * 3) if name == "sam3" else imagenet
    assert list(processor.image_mean) == mean
    assert list(processor.image_std) == std
    assert processor.rescale_factor == 1 / 255
    assert bool(processor.do_pad) is (name in ("sam", "hq_sam"))


@pytest.mark.parametrize("name", FOUNDATIONS)
def test_without_a_description_the_preprocessing_is_the_models_usual_one(
    folders, photo, name, tmp_path
):
    for file in ("config.json", "model.safetensors"):
        shutil.copy(folders[name] / file, tmp_path)
    bare = foundation(name, tmp_path)
    described = foundation(name, folders[name])
    np.testing.assert_array_equal(
        full_masks(bare, photo, BOXES), full_masks(described, photo, BOXES)
    )


def test_weights_that_do_not_fit_are_refused_in_one_sentence(folders, tmp_path):
    def load(name: str, folder: Path) -> None:
        mal_core.load_labeler(labeler=name, weights=str(folder))

    with pytest.raises(mal_core.ConfigError, match="labeler=sam takes it"):
        load("sam2", folders["sam"])
    with pytest.raises(mal_core.ConfigError, match="no such folder or file"):
        load("sam", tmp_path / "absent")
    shutil.copytree(folders["sam"], tmp_path / "pickle")
    (tmp_path / "pickle" / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    with pytest.raises(mal_core.CheckpointError, match="can run code"):
        load("sam", tmp_path / "pickle")
    shutil.copytree(folders["sam"], tmp_path / "other")
    description = tmp_path / "other" / "config.json"
    content = json.loads(description.read_text())
    content["mask_decoder_config"]["mlp_dim"] = 48
    description.write_text(json.dumps(content))
    with pytest.raises(mal_core.CheckpointError, match=SHAPES):
        load("sam", tmp_path / "other")
    shutil.copytree(folders["sam2"], tmp_path / "frame")
    path = tmp_path / "frame" / "processor_config.json"
    path.write_text(path.read_text().replace(str(SIDE), "128"))
    with pytest.raises(mal_core.CheckpointError, match="boxes are scaled to 128 px"):
        load("sam2", tmp_path / "frame")


def copy_of(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    return place


def described_otherwise(folder: Path, part: str, **changes: object) -> Path:
    description = folder / "config.json"
    content = json.loads(description.read_text())
    content[part] |= changes
    description.write_text(json.dumps(content))
    return folder


def test_a_file_that_lost_its_end_is_refused_before_the_work(folders, tmp_path):
    folder = copy_of(folders["sam"], tmp_path / "half")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recipe = drawer_recipe("sam", weights=str(folder))
    with pytest.raises(mal_core.CheckpointError, match=r"not downloaded to its end") as caught:
        find_weights(recipe)
    assert str(caught.value).startswith(f"{path} is no readable file of weights")
    path.write_bytes(b"")
    with pytest.raises(mal_core.CheckpointError, match=r"is no readable file of weights"):
        find_weights(recipe)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_holds_no_numbers_is_named(folders, tmp_path, value):
    folder = copy_of(folders["sam2"], tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(tensors) if name.startswith("mask_decoder."))
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(mal_core.CheckpointError, match=r"hold a NaN or an infinity in") as caught:
        foundation("sam2", folder)
    assert name in str(caught.value)


def test_logits_that_are_no_numbers_are_refused(folders, photo):
    drawer = foundation("sam", folders["sam"])
    with torch.no_grad():
        for parameter in drawer.model.mask_decoder.parameters():
            parameter.fill_(3e38)  # finite, and what comes of it is not
    with pytest.raises(mal_core.CheckpointError, match="NaN or infinite logits"):
        list(drawer.draw(photo, annotations(BOXES)))


def test_a_model_that_cannot_run_is_told_in_one_sentence(folders, photo, tmp_path):
    other = described_otherwise(
        copy_of(folders["sam"], tmp_path / "heads"), "prompt_encoder_config", image_embedding_size=4
    )
    with pytest.raises(mal_core.CheckpointError, match=r"make a SamModel that does not run: "):
        list(foundation("sam", other).draw(photo, annotations(BOXES)))
    odd = described_otherwise(
        copy_of(folders["sam"], tmp_path / "act"), "vision_config", hidden_act="no such thing"
    )
    with pytest.raises(mal_core.CheckpointError, match=r"do not fit SamModel: .*no such thing"):
        foundation("sam", odd)


def test_what_fails_after_the_first_photo_is_no_fault_of_the_folder(folders, photo, monkeypatch):
    drawer = foundation("sam", folders["sam"])
    list(drawer.draw(photo, annotations(BOXES)))
    monkeypatch.setattr(drawer.model, "forward", None)
    with pytest.raises(TypeError):
        list(drawer.draw(photo, annotations(BOXES)))


def test_preprocessing_that_cannot_be_read_is_told(folders, tmp_path):
    folder = copy_of(folders["sam2"], tmp_path / "odd")
    (folder / "processor_config.json").write_text("{")
    with pytest.raises(mal_core.CheckpointError, match="preprocessing cannot be read"):
        foundation("sam2", folder)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(mal_core.ConfigError, match=r"pip install 'mal-pipeline\[sam\]'"):
        mal_core.load_labeler(labeler="sam2")


def test_weights_that_are_opened_without_python_are_told_of(folders, monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "audit", lambda *event: heard.append(event))
    foundation("sam2", folders["sam2"])
    assert (READ_EVENT, str(folders["sam2"] / "model.safetensors")) in heard


def test_the_best_of_three_masks_is_the_one_with_the_highest_rating(folders, photo):
    drawer = foundation("sam", folders["sam"], best_of_three=True)
    seen = []
    drawer.model.register_forward_hook(lambda _module, _args, found: seen.append(found.iou_scores))
    drawings = list(drawer.draw(photo, annotations(BOXES)))
    assert seen[0].shape == (1, len(BOXES), 3)
    best = seen[0][0].max(1).values.clip(0, 1).tolist()
    assert [one.confidence for one in drawings] == pytest.approx(best)


def test_importing_the_library_loads_no_transformers():
    code = "import sys, mal_core; mal_core.load_labeler(labeler='box'); "
    code += "assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_leader_of_two_models_stays_the_same_where_their_weights_lie(folders, tmp_path):
    small = MemberConfig(name="sam2", weights=str(folders["sam2"] / "model.safetensors"))
    large = MemberConfig(name="sam2", weights=str(write_tiny("sam2", tmp_path / "large")))
    config = LabelerConfig(name="ensemble", members=(small, large), leader="sam2 model.safetensors")
    here, _ = with_local_weights(config)
    assert here.leader is not None
    assert called(here.members).index(here.leader) == 0
