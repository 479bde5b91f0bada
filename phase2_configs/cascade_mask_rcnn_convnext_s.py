"""Cascade Mask R-CNN, ConvNeXt-S, 3x schedule: the segmenter of the paper's ablations.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; Liu et al., "A ConvNet for the 2020s",
    CVPR 2022; mmdet's config of the same model, of which only data and image decoding change.
Cost: 106 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images; on a CPU 25 s per step
    of 2 images at 256 px.
Expected AP: 44.8 mask AP on COCO val with human masks (mmdet model zoo); the paper reports 42.3
    with MAL's pseudo-labels; not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = [
    "mmdet::convnext/cascade-mask-rcnn_convnext-s-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py",
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
