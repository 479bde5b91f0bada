"""SOLOv2, ResNet-50, 3x schedule: the reference's first segmenter.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020;
    mmdet's solov2_r50_fpn_ms-3x_coco.py, of which only data and image decoding change.
Cost: 46 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images; on a CPU 4.9 s per
    step of 2 images at 256 px.
Expected AP: 37.5 on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["mmdet::solov2/solov2_r50_fpn_ms-3x_coco.py", "_base_/coco_places.py"]

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[0]["color_type"] = test_pipeline[0]["color_type"] = "color_ignore_orientation"

train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_places))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **_base_.val_places))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.val_annotations, metric=["segm"])
test_evaluator = val_evaluator
