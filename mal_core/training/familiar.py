"""The training crops that a checkpoint remembers, so that labeling can tell what is unlike them."""

import numpy as np

from mal_core.config import MalConfig
from mal_core.data.crops import trainable_boxes
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import upright_parts
from mal_core.models.labeler import MaskAutoLabeler
from mal_core.quality.familiarity import MOST, FamiliarCrops, point_of, remember
from mal_core.types import BoxDataset

SEED = 5


def familiar_crops(
    labeler: MaskAutoLabeler, dataset: BoxDataset, config: MalConfig
) -> FamiliarCrops | None:
    """Some training boxes, cropped as they are for labeling, as the trained network sees them.

    Args:
        labeler: Trained; is left in evaluation mode.
        dataset: What it was trained on.
        config: How it labels.

    Returns:
        None where there are too few boxes to tell what is usual.
    """
    boxes = trainable_boxes(dataset, config)
    order = np.random.default_rng(SEED).permutation(len(boxes))[:MOST]
    records = {record.image_id: record for record in dataset.images}
    chosen = [boxes[index] for index in sorted(order.tolist())]
    photos = (
        part.photo
        for box in chosen
        for part in upright_parts(
            Photo(record=records[box.image_id], boxes=(box,), source=dataset.image_root)
        )
    )
    writer = MaskWriter(labeler, config)
    found = [point_of(features) for features in writer.features(photos)]
    return remember(np.stack(found)) if found else None
