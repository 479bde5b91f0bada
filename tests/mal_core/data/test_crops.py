"""Crops: wrap-around, views, box masks, augmentation."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mal_core.data import crops
from mal_core.data.crops import TrainBatches, decoding_for, resize_crop, wrap_crop
from mal_core.data.images.augment import augment_colors
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord
from tests.mal_core.drawn import draw_ellipses, tiny_mal


def gradient_image(height: int = 30, width: int = 40) -> np.ndarray:
    """An image in which every pixel is different."""
    return np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3).astype(np.uint8)


def test_a_crop_inside_the_image_is_a_plain_slice():
    """Spec S9."""
    image = gradient_image()
    np.testing.assert_array_equal(wrap_crop(image, np.array([3, 5, 20, 25])), image[5:25, 3:20])


def test_pixels_outside_come_from_the_opposite_side():
    """Spec S9."""
    image = gradient_image()
    crop = wrap_crop(image, np.array([-4, -3, 44, 35]))
    np.testing.assert_array_equal(crop[0, 0], image[30 - 3, 40 - 4])
    np.testing.assert_array_equal(crop[-1, -1], image[4, 3])
    np.testing.assert_array_equal(crop[3:33, 4:44], image)


def test_an_overhang_larger_than_the_image_is_possible():
    crop = wrap_crop(gradient_image(8, 8), np.array([-30, -30, 30, 30]))
    assert crop.shape == (60, 60, 3)


@pytest.mark.parametrize("side", [16, 64])
def test_a_resized_crop_keeps_its_mean_colour(side):
    crop = np.full((37, 29, 3), (10, 120, 240), np.uint8)
    resized = resize_crop(crop, side)
    assert resized.shape == (side, side, 3)
    assert (resized == (10, 120, 240)).all()


def test_both_views_share_their_geometry_and_the_mask_lies_on_the_box(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    batch = TrainBatches(dataset, tiny_mal(batch_size=6), seed=3)[0]
    assert batch.image.shape == batch.teacher_image.shape == (6, 64, 64, 3)
    assert batch.box_mask.shape == (6, 16, 16)
    ground = batch.teacher_image[:, 0, 0].float()[:, None, None]
    is_object = (batch.teacher_image.float() - ground).abs().sum(-1) > 60
    coverage = torch.nn.functional.adaptive_avg_pool2d(is_object.float(), 16)
    outside = coverage[batch.box_mask == 0]
    assert outside.mean() < 0.02
    assert coverage[batch.box_mask == 1].mean() > 0.5


def test_one_epoch_shows_every_box_once(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    batches = TrainBatches(dataset, tiny_mal(batch_size=2), seed=0)
    shown = [batches._box_at(position).annotation_id for position in range(12)]
    assert sorted(shown[:6]) == sorted(shown[6:]) == [box.annotation_id for box in dataset.boxes]
    assert shown[:6] != shown[6:]


def test_a_batch_depends_on_seed_and_step_alone(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 6)
    in_order = TrainBatches(dataset, tiny_mal(), seed=0)
    in_order[0]
    fresh = TrainBatches(dataset, tiny_mal(), seed=0)
    assert torch.equal(in_order[1].image, fresh[1].image)
    assert not torch.equal(TrainBatches(dataset, tiny_mal(), seed=1)[1].image, fresh[1].image)


def test_augmentation_changes_colours_only_as_its_generator_says():
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    original = image.copy()
    outputs = [augment_colors(image, np.random.default_rng(seed)) for seed in range(40)]
    again = [augment_colors(image, np.random.default_rng(seed)) for seed in range(40)]
    assert all(np.array_equal(a, b) for a, b in zip(outputs, again, strict=True))
    unchanged = sum(np.array_equal(output, image) for output in outputs)
    assert 0 < unchanged < 20
    np.testing.assert_array_equal(image, original)


def test_jitter_keeps_gray_gray_but_for_its_level():
    image = np.full((8, 8, 3), 120, np.uint8)
    outputs = [augment_colors(image, np.random.default_rng(seed)) for seed in range(40)]
    assert all(np.ptp(output.astype(int), axis=2).max() <= 1 for output in outputs)
    assert len({int(output[0, 0, 0]) for output in outputs}) > 5


def test_jitter_turns_hues_both_ways():
    image = np.full((8, 8, 3), (200, 60, 60), np.uint8)
    outputs = [augment_colors(image, np.random.default_rng(seed)) for seed in range(80)]
    green_over_blue = [int(output[0, 0, 1]) - int(output[0, 0, 2]) for output in outputs]
    assert min(green_over_blue) < -20
    assert max(green_over_blue) > 20


@pytest.mark.parametrize(
    ("crop", "size", "reduction", "snapped"),
    [
        ([101, 51, 357, 307], (480, 640), 4, [100, 48, 360, 308]),  # four times the side
        ([101, 51, 356, 307], (480, 640), 2, [100, 50, 356, 308]),  # one column short of that
        ([0, 0, 1024, 1024], (1024, 1024), 8, [0, 0, 1024, 1024]),
        ([8, 8, 71, 400], (480, 640), 1, [8, 8, 71, 400]),  # thin
        ([-1, 0, 300, 300], (480, 640), 4, [-4, 0, 300, 300]),  # wraps around
        ([-1, 0, 300, 300], (480, 638), 2, [-2, 0, 300, 300]),
        ([-1, 0, 300, 300], (479, 639), 1, [-1, 0, 300, 300]),  # at an edge of no reduced pixel
        ([101, 51, 639, 479], (479, 639), 1, [101, 51, 639, 479]),  # edges of no reduced pixel
        ([101, 51, 638, 478], (479, 639), 2, [100, 50, 638, 478]),
    ],
)
def test_a_photo_is_decoded_as_small_as_its_crop_allows(crop, size, reduction, snapped):
    found = decoding_for(np.array(crop), size, 64)
    assert found.reduction == reduction
    assert found.crop_xyxy.tolist() == snapped


@pytest.fixture
def large_photo(tmp_path: Path) -> BoxDataset:
    """A JPEG of 1,200 x 900 px with soft stripes, and an ellipse that fills its box."""
    rows, columns = np.mgrid[:900, :1200]
    pixels = np.stack([96 + 64 * np.sin(rows / 23 + c) * np.cos(columns / 31) for c in range(3)], 2)
    pixels = pixels.astype(np.uint8)
    cv2.ellipse(pixels, (640, 450), (300, 240), 0, 0, 360, (230, 40, 30), -1)
    cv2.imwrite(str(tmp_path / "large.jpg"), pixels)
    record = ImageRecord(image_id=1, file_name="large.jpg", height=900, width=1200)
    box = BoxAnnotation(
        annotation_id=1, image_id=1, category_id=1, box_xyxy=(340.0, 210.0, 941.0, 691.0)
    )
    return BoxDataset(
        annotations_path=tmp_path / "annotations.json",
        image_root=tmp_path,
        categories=(),
        images=(record,),
        boxes=(box,),
        skipped=(),
        num_crowds=0,
        num_clipped=0,
    )


def test_a_reduced_photo_gives_the_crop_of_the_whole_one(large_photo: BoxDataset, monkeypatch):
    """But for what its JPEG blocks leave out below the crop's own pixels."""
    config = tiny_mal(batch_size=8, max_steps=2, max_box_area=1e10)
    decoded: list[int] = []
    load = crops.load_image
    monkeypatch.setattr(
        crops, "load_image", lambda path, factor: decoded.append(factor) or load(path, factor)
    )
    reduced = TrainBatches(large_photo, config, seed=0)[0]
    assert set(decoded) & {4, 8}
    monkeypatch.setattr(
        crops,
        "decoding_for",
        lambda crop, size, side: replace(decoding_for(crop, size, side), reduction=1),
    )
    whole = TrainBatches(large_photo, config, seed=0)[0]
    assert torch.equal(reduced.box_mask, whole.box_mask)
    difference = (reduced.teacher_image.float() - whole.teacher_image.float()).abs()
    assert difference.mean() < 1.5


def test_the_published_code_is_compared_with_on_whole_photos(large_photo: BoxDataset, monkeypatch):
    monkeypatch.setattr(crops, "decoding_for", None)  # would fail when called
    config = tiny_mal(compat_official=True, max_box_area=1e10)
    assert TrainBatches(large_photo, config, seed=0)[0].image.shape == (4, 64, 64, 3)
