"""Crops out of a photo, masks out of logits."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.config import MalConfig
from mal_core.errors import ConfigError
from mal_core.labeling.views import BoxViews, Outcome, Seen, draw_mask, to_label
from mal_core.quality.score import default_model
from mal_core.types import BoxAnnotation, ImageRecord, PseudoLabel, SkippedBox
from tests.mal_core.drawn import cut_views

RECORD = ImageRecord(image_id=1, file_name="a.png", height=700, width=900)


def settings(**changes: object) -> MalConfig:
    """A crop of 128 px."""
    basic = {"crop_size": 128, "batch_size": 1, "max_steps": 1, "learning_rate": 1e-3}
    return MalConfig(**{**basic, **changes})


def views(tmp_path, box: tuple[float, float, float, float], config: MalConfig) -> BoxViews:
    """The views of one box in a photo of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    annotation = BoxAnnotation(annotation_id=5, image_id=1, category_id=1, box_xyxy=box)
    (item,) = cut_views(RECORD, [annotation], tmp_path, config)
    return item


def label(tmp_path, box, level: float, **changes: object) -> Outcome:
    """Label a box for which the network says `level` everywhere."""
    config = settings(**changes)
    item = views(tmp_path, box, config)
    logits = [np.full((32, 32), level, dtype=np.float32) for _ in item.views]
    return decided(item, logits, config)


def decided(item: BoxViews, logits: list[np.ndarray], config: MalConfig) -> Outcome:
    """The label that these logits make."""
    seen = [Seen(logits=one) for one in logits]
    return to_label(draw_mask(item, seen, config), default_model("labels"))


SMALL, MEDIUM, LARGE = (10, 10, 41, 42), (10, 10, 42, 42), (10, 10, 106, 106)


@pytest.mark.parametrize(("box", "labeled"), [(SMALL, True), (MEDIUM, False), (LARGE, True)])
def test_thresholds_by_size_use_half_open_bins(tmp_path, box, labeled):
    outcome = label(tmp_path, box, 0.0, mask_thresholds=(0.3, 0.6, 0.4))
    assert isinstance(outcome, PseudoLabel if labeled else SkippedBox)


def test_without_thresholds_by_size_one_serves_all(tmp_path):
    assert isinstance(label(tmp_path, SMALL, 0.1), PseudoLabel)
    assert isinstance(label(tmp_path, SMALL, 0.1, mask_threshold=0.6), SkippedBox)


@pytest.mark.parametrize("compat_official", [False, True])
@pytest.mark.parametrize("box", [(100.0, 50.5, 780.3, 650.0), (0.0, 0.0, 900.0, 700.0)])
def test_no_pixel_of_a_mask_larger_than_the_crop_leaves_its_box(tmp_path, box, compat_official):
    outcome = label(tmp_path, box, 3.0, compat_official=compat_official)
    mask = coco_mask.decode(outcome.rle)
    x0, y0, x1, y1 = int(box[0]), int(box[1]), int(np.ceil(box[2])), int(np.ceil(box[3]))
    assert mask[y0:y1, x0:x1].mean() > 0.99
    mask[y0:y1, x0:x1] = 0
    assert not mask.any()


def test_a_label_says_what_its_score_was_made_from(tmp_path):
    outcome = label(tmp_path, MEDIUM, 1.0)
    assert outcome.mask_area == 32 * 32
    low, high = outcome.interval
    assert 0 <= low <= outcome.score <= high <= 1
    assert outcome.components["refined"] == 1.0
    assert outcome.components["gaps"] == 0.0
    assert set(outcome.components) < {*default_model("labels").names, "belief"}
    assert outcome.components["belief"] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-3)
    assert outcome.score == pytest.approx(
        float(default_model("labels").predict([outcome.components])[0]), abs=1e-4
    )


def test_a_mask_is_doubted_whose_object_goes_on_beyond_its_box_for_all_who_do_not_know_it(tmp_path):
    config = settings()
    item = views(tmp_path, LARGE, config)
    logits = np.full((32, 32), 2.0, dtype=np.float32)
    held = np.full((32, 32), -5.0, dtype=np.float32)
    held[5:27, 5:27] = 5
    contained, spilt = (
        to_label(
            draw_mask(item, [Seen(logits=logits, unaware=unaware)], config),
            default_model("labels"),
        )
        for unaware in (held, logits)
    )
    assert contained.rle == spilt.rle
    assert contained.components["spill"] < spilt.components["spill"]
    assert contained.score > spilt.score


def test_features_of_the_widest_view_speak_for_a_mask(tmp_path):
    config = settings(extra_expansions=(0.2,))
    item = views(tmp_path, LARGE, config)
    logits = np.full((32, 32), -4.0, dtype=np.float32)
    logits[:, 16:] = 4
    features = np.random.default_rng(0).normal(0, 0.1, (5, 8, 8)).astype(np.float32)
    features[0, :, 4:] += 1
    seen = [Seen(logits=logits, features=features), Seen(logits=logits, features=-features)]
    drawn = draw_mask(item, seen, config)
    assert drawn.components()["kinship"] > 0.6
    assert drawn.components(np.ones_like(drawn.mask))["kinship"] < 0.3


def test_views_come_widest_first_and_equal_ones_once(tmp_path):
    item = views(tmp_path, MEDIUM, settings(extra_expansions=(1.0, 0.6, 0.2)))
    widths = [int(view.crop_xyxy[2] - view.crop_xyxy[0]) for view in item.views]
    assert len(widths) == 3
    assert widths == sorted(widths, reverse=True)
    assert all(view.crop.shape == (128, 128, 3) for view in item.views)


def test_crops_at_labeling_may_have_their_own_size(tmp_path):
    item = views(tmp_path, MEDIUM, settings(label_crop_size=192))
    assert item.views[0].crop.shape == (192, 192, 3)


def test_the_references_order_of_operations_changes_masks_of_large_boxes(tmp_path):
    config, official = settings(), settings(compat_official=True)
    item = views(tmp_path, (100.0, 50.0, 780.0, 650.0), config)
    logits = [np.random.default_rng(1).normal(0, 2, (32, 32)).astype(np.float32)]
    ours, theirs = (decided(item, logits, c) for c in (config, official))
    first, second = coco_mask.decode(ours.rle), coco_mask.decode(theirs.rle)
    assert 0 < (first != second).mean() < 0.02


@pytest.mark.parametrize("cuts", [(0.1, 0.5, 1.0), (0.0, 0.5, 0.5)])
def test_thresholds_by_size_must_be_probabilities(cuts):
    with pytest.raises(ConfigError, match=r"mal\.mask_thresholds"):
        settings(mask_thresholds=cuts)


def test_stray_fragments_go_and_pinholes_close_when_asked(tmp_path):
    logits = np.full((32, 32), -3.0, dtype=np.float32)
    logits[8:24, 8:24] = 3.0
    logits[15, 15] = -9.0
    item = views(tmp_path, (100.0, 100.0, 400.0, 400.0), settings())
    plain, cleaned = (
        draw_mask(item, [Seen(logits=logits)], settings(**changes))
        for changes in ({}, {"drop_fragments": 0.1, "fill_holes": 0.1})
    )
    assert (plain.dropped, plain.filled) == (0, 0)
    assert cleaned.filled == np.count_nonzero(cleaned.mask & ~plain.mask) > 0
    label_of = to_label(cleaned, default_model("labels"))
    assert label_of.filled == cleaned.filled
