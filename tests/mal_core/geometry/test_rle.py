"""Encoding inside the crop equals encoding the full image."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.geometry.rle import crop_mask_to_rle


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_in_a_box_decodes_to_the_pasted_mask(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 40, 2)
    x0, y0 = generator.integers(0, width), generator.integers(0, height)
    x1, y1 = generator.integers(x0, width) + 1, generator.integers(y0, height) + 1
    mask = generator.random((y1 - y0, x1 - x0)) < generator.choice([0.1, 0.5, 0.95, 1.0])
    full = np.zeros((height, width), np.uint8)
    full[y0:y1, x0:x1] = mask
    rle = crop_mask_to_rle(mask, (int(x0), int(y0)), int(height), int(width))
    np.testing.assert_array_equal(coco_mask.decode(rle), full)
    expected = coco_mask.encode(np.asfortranarray(full))["counts"].decode("ascii")
    assert rle == {"size": [height, width], "counts": expected}
