"""BoxInst, ResNet-50: the one-stage baseline, which learns masks from boxes by itself.

Its mask loss looks at boxes and colors only, so both arms should come out alike: what it
reaches is what pseudo-labels have to beat.

Source: Tian et al., "BoxInst: High-Performance Instance Segmentation with Box Annotations", CVPR
    2021; mmdet's boxinst_r50_fpn_ms-90k_coco.py, of which only data and image decoding change.
Cost: 35 M weights; 90,000 steps of 16 images.
Expected AP: 30.8 on COCO val (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["mmdet::boxinst/boxinst_r50_fpn_ms-90k_coco.py", "_base_/coco_places.py"]

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[0]["color_type"] = test_pipeline[0]["color_type"] = "color_ignore_orientation"

train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_places))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **_base_.val_places))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.val_annotations, metric=["segm"])
test_evaluator = val_evaluator
