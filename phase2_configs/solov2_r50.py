"""SOLOv2, ResNet-50, 3x schedule: the reference's first segmenter.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020;
    mmdet's solov2_r50_fpn_ms-3x_coco.py, of which only data and image decoding change.
Cost: 46 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images; on a CPU 4.9 s per
    step of 2 images at 256 px.
Expected AP: 37.5 on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "mmdet::solov2/solov2_r50_fpn_ms-3x_coco.py"

# One place for paths when run by hand; the runner fills in paths and classes itself.
train_annotations = "{{$MAL_TRAIN_ANNOTATIONS:data/coco/annotations/instances_train2017.json}}"
train_images = "{{$MAL_TRAIN_IMAGES:data/coco/train2017}}"
val_annotations = "{{$MAL_VAL_ANNOTATIONS:data/coco/annotations/instances_val2017.json}}"
val_images = "{{$MAL_VAL_IMAGES:data/coco/val2017}}"

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline = _base_.train_pipeline
train_pipeline[0]["color_type"] = "color_ignore_orientation"
test_pipeline = _base_.test_pipeline
test_pipeline[0]["color_type"] = "color_ignore_orientation"

train_dataloader = dict(
    dataset=dict(
        data_root=None,
        ann_file=train_annotations,
        data_prefix=dict(img=train_images),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=None,
        ann_file=val_annotations,
        data_prefix=dict(img=val_images),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=val_annotations, metric=["segm"])
test_evaluator = val_evaluator
