"""COCO exports read by mmdet's own dataset: every object, none ignored, exactly the masks."""

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules

from mal_core.formats.exports import export_labels
from mal_core.formats.exports.labeled import Photos
from tests.builders import write_coco
from tests.mal_core.formats.exports.test_exports import OBJECTS, masks_of

pytestmark = [
    pytest.mark.slow,  # the import of mmdet
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("name", ["coco_rle", "coco_polygon", "cvat"])
def test_mmdet_reads_every_object_and_ignores_none(name, tmp_path):
    register_all_modules(init_default_scope=True)
    files = write_coco(tmp_path / "data")
    export_labels(files.annotations, name, tmp_path / "out", Photos())
    file = "instances.json" if name == "cvat" else "annotations.json"
    dataset = DATASETS.build(
        {
            "type": "CocoDataset",
            "ann_file": str(tmp_path / "out" / file),
            "data_prefix": {"img": f"{files.images}/"},
            "metainfo": {"classes": ("disc", "slab")},
            "pipeline": [
                {"type": "LoadImageFromFile"},
                {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
            ],
        }
    )
    found = [dataset[index] for index in range(len(dataset))]
    assert sum(len(one["gt_bboxes_labels"]) for one in found) == OBJECTS
    assert not any(flag for one in found for flag in one["gt_ignore_flags"])
    masks = [mask for one in found for mask in one["gt_masks"].to_ndarray()]
    for mask, wanted in zip(masks, masks_of(files).values(), strict=True):
        assert np.array_equal(mask, wanted)
