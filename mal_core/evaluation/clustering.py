"""The paper's clustering score: do an encoder's features tell an object from its ground?

Shape letters: E feature dim, h w feature grid, S crop side.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.config import MalConfig
from mal_core.data.crops import resize_crop, wrap_crop
from mal_core.data.images.loading import load_image
from mal_core.evaluation.label_metrics import Clustering
from mal_core.evaluation.masked import MaskedFile, MaskedObject
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.models.encoder import normalize
from mal_core.models.labeler import MaskAutoLabeler
from mal_core.processes.progress import Progress

logger = logging.getLogger(__name__)


def clustering_score(features: Tensor, mask: Tensor) -> float | None:
    """Mean squared distance of unit features to the unit centre of their own side.

    Args:
        features: Float, shape (E, h, w).
        mask: Bool, the object, shape (h, w).

    Returns:
        In [0, 4], 0 where the features of each side point one way; None where the object or
        its ground has no cell.

    Source: paper, Table 6.
    """
    flat, inside = features.flatten(1).T.float(), mask.flatten()
    if not inside.any() or inside.all():
        return None
    unit = torch.nn.functional.normalize(flat, dim=1)
    distances = []
    for side in (inside, ~inside):
        centre = torch.nn.functional.normalize(flat[side].mean(0), dim=0)
        distances.append((unit[side] - centre).square().sum(1))
    return float(torch.cat(distances).mean())


@torch.inference_mode()
def measure_clustering(
    labeler: MaskAutoLabeler, config: MalConfig, human: MaskedFile, images: Path
) -> Clustering | None:
    """Mean score over the objects of a COCO file with human masks.

    The encoder is the one that writes labels (`label_network`; the student for "both"), its
    features are those of the widest crop at labeling; the human mask is averaged onto their
    grid and cut at one half.

    Raises:
        DatasetError: An image is absent or cannot be decoded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = labeler.teacher if config.label_network == "teacher" else labeler.student
    encoder = network.encoder.to(device).eval()
    judged = sorted(human.judged(), key=lambda each: each.image.image_id)
    scores: list[float] = []
    with Progress("cluster features", len(judged)) as progress:
        for number, (image, mask) in enumerate(_crops(judged, images, config), start=1):
            pixels = torch.from_numpy(image)[None].to(device)
            features = encoder(normalize(pixels, labeler.mean, labeler.std))[0].cpu()
            grid = cv2.resize(mask, features.shape[:0:-1], interpolation=cv2.INTER_AREA)
            score = clustering_score(features, torch.from_numpy(grid > 0.5))
            if score is not None:
                scores.append(score)
            progress.update(number)
    logger.info(
        "clustering: %d objects, %d too small for it", len(judged), len(judged) - len(scores)
    )
    return Clustering(score=float(np.mean(scores)), objects=len(scores)) if scores else None


def _crops(
    judged: Sequence[MaskedObject], images: Path, config: MalConfig
) -> Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Crop (S, S, 3) and human mask (crop height, crop width) of each object."""
    side = config.label_crop_size or config.crop_size
    margins = fixed_margins(max([config.test_expansion, *config.extra_expansions]))
    last: tuple[int, NDArray[np.uint8]] | None = None
    for each in judged:
        image = each.image
        if last is None or last[0] != image.image_id:
            last = image.image_id, load_image(images / image.file_name)
        crop_xyxy = expand_box(each.box_xyxy, margins)
        yield resize_crop(wrap_crop(last[1], crop_xyxy), side), _padded(each.mask(), crop_xyxy)


def _padded(mask: NDArray[np.uint8], crop_xyxy: NDArray[np.int64]) -> NDArray[np.float32]:
    """The crop of a mask; outside the image there is no object."""
    height, width = mask.shape
    x0, y0, x1, y1 = (int(value) for value in crop_xyxy)
    crop = np.zeros((y1 - y0, x1 - x0), np.float32)
    inside = mask[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    top, left = max(-y0, 0), max(-x0, 0)
    crop[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return crop
