"""The clustering score: formula on made features, geometry on a real encoder."""

import numpy as np
import pytest
import torch

from mal_core.evaluation.clustering import clustering_score, measure_clustering
from mal_core.evaluation.masked import masked_of
from mal_core.models.labeler import build_labeler
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal
from tests.mal_core.formats.drawn_formats import coco, draw, label

HALF = torch.zeros(8, 8, dtype=torch.bool)
HALF[:, :4] = True


def test_constant_features_on_each_side_score_zero():
    """Spec S18."""
    features = torch.where(HALF, torch.tensor([1.0, 2, 3])[:, None, None], -torch.ones(3, 1, 1))
    assert clustering_score(features, HALF) == pytest.approx(0, abs=1e-6)


def test_the_length_of_a_feature_does_not_matter():
    features = torch.where(HALF, torch.tensor([1.0, 2, 3])[:, None, None], -torch.ones(3, 1, 1))
    assert clustering_score(features * torch.rand(8, 8), HALF) == pytest.approx(0, abs=1e-6)


def test_random_features_score_near_two():
    """Spec S18."""
    score = clustering_score(torch.randn(256, 64, 64), torch.rand(64, 64) > 0.5)
    assert score == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("mask", [torch.zeros(8, 8, dtype=torch.bool), HALF | True])
def test_a_side_without_a_cell_has_no_score(mask):
    assert clustering_score(torch.randn(3, 8, 8), mask) is None


def test_an_encoder_that_sees_the_object_scores_zero_and_one_that_sees_noise_does_not(tmp_path):
    class Sees(torch.nn.Module):
        """Features that say where the picture is dark, at stride 8."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            dark = torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 8) < 0
            return torch.cat([dark.float(), 1 - dark.float()], dim=1)

    labeler, _ = build_labeler(TINY_ENCODER, tiny_mal())
    human = label(coco())
    images = draw(tmp_path)
    noisy = measure_clustering(labeler, tiny_mal(), masked_of(human), images)
    assert noisy is not None
    assert noisy.objects == 3
    assert 0 < noisy.score < 4

    import cv2

    from mal_core.geometry.masks import segmentation_to_mask

    for image in human["images"]:
        mine = [a for a in human["annotations"] if a["image_id"] == image["id"]][:1]
        mask = segmentation_to_mask(mine[0]["segmentation"], 30, 40)
        picture = np.repeat(np.where(mask, 0, 255)[..., None], 3, axis=2).astype(np.uint8)
        cv2.imwrite(str(images / image["file_name"].replace("jpg", "png")), picture)
        image["file_name"] = image["file_name"].replace("jpg", "png")
    human["annotations"] = [human["annotations"][0], human["annotations"][2]]
    labeler.student.encoder = Sees()
    found = measure_clustering(labeler, tiny_mal(), masked_of(human), images)
    assert found is not None
    assert found.score < 0.2
