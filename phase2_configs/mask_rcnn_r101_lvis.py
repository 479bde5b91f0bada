"""Mask R-CNN, ResNet-101, LVIS v1: 1x schedule, images with rare classes shown more often.

Source: He et al., "Mask R-CNN", ICCV 2017;
    Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019;
    mmdet's lvis/mask-rcnn_r101_fpn_sample1e-3_ms-1x_lvis-v1.py, of which only data and image
    decoding change.
Cost: 69 M weights with LVIS's 1,203 classes; 12 epochs, made for 8 GPUs of 2 images.
Expected AP: 23.6 on LVIS v1 val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["mmdet::lvis/mask-rcnn_r101_fpn_sample1e-3_ms-1x_lvis-v1.py", "_base_/lvis_places.py"]

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[0]["color_type"] = test_pipeline[0]["color_type"] = "color_ignore_orientation"

train_dataloader = dict(
    dataset=dict(dataset=dict(type="CocoDataset", pipeline=train_pipeline, **_base_.train_places))
)
val_dataloader = dict(dataset=dict(type="CocoDataset", pipeline=test_pipeline, **_base_.val_places))
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=_base_.val_annotations, metric=["segm"])
test_evaluator = val_evaluator
