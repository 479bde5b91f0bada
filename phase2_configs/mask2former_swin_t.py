"""Mask2Former, Swin-T, 50 epochs.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
    2022; mmdet's config of the same model, of which only data and image decoding change.
Cost: 47 M weights; 368,750 steps of 16 images.
Expected AP: 44.7 mask AP on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = [
    "mmdet::mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py",
    "_base_/coco_places.py",
]

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[0]["color_type"] = test_pipeline[0]["color_type"] = "color_ignore_orientation"

train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_places))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **_base_.val_places))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.val_annotations, metric=["segm"])
test_evaluator = val_evaluator
