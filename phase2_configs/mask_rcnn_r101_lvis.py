"""Mask R-CNN, ResNet-101, LVIS v1: 1x schedule, images with rare classes shown more often.

Source: He et al., "Mask R-CNN", ICCV 2017;
    Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019;
    mmdet's lvis/mask-rcnn_r101_fpn_sample1e-3_ms-1x_lvis-v1.py, of which only data and image
    decoding change.
Cost: 69 M weights with LVIS's 1,203 classes; 12 epochs, made for 8 GPUs of 2 images.
Expected AP: 23.6 on LVIS v1 val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "mmdet::lvis/mask-rcnn_r101_fpn_sample1e-3_ms-1x_lvis-v1.py"

# One place for paths when run by hand; the runner fills in paths and classes itself.
train_annotations = "{{$MAL_TRAIN_ANNOTATIONS:data/lvis_v1/annotations/lvis_v1_train.json}}"
train_images = "{{$MAL_TRAIN_IMAGES:data/coco}}"
val_annotations = "{{$MAL_VAL_ANNOTATIONS:data/lvis_v1/annotations/lvis_v1_val.json}}"
val_images = "{{$MAL_VAL_IMAGES:data/coco}}"

# Boxes and masks belong to the stored pixels: phase 1 does not apply EXIF rotation either.
train_pipeline = _base_.train_pipeline
train_pipeline[0]["color_type"] = "color_ignore_orientation"
test_pipeline = _base_.test_pipeline
test_pipeline[0]["color_type"] = "color_ignore_orientation"

# LVIS is COCO's format with other names of files; by hand, give a file with `file_name`.
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            type="CocoDataset",
            data_root=None,
            ann_file=train_annotations,
            data_prefix=dict(img=train_images),
            pipeline=train_pipeline,
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        type="CocoDataset",
        data_root=None,
        ann_file=val_annotations,
        data_prefix=dict(img=val_images),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=val_annotations, metric=["segm"])
test_evaluator = val_evaluator
