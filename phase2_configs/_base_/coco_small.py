"""COCO-format data for the small recipes: 128 px images, cheap transforms, no network."""

_base_ = "coco_places.py"

dataset_type = "CocoDataset"
image_scale = (128, 128)

# Photos come in the frame of their boxes; phase 1 does not apply EXIF rotation either.
load_image = dict(type="LoadImageFromFile", color_type="color_ignore_orientation")
load_annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)

train_pipeline = [
    load_image,
    load_annotations,
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    load_image,
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        ann_file=_base_.train_annotations,
        data_prefix=dict(img=_base_.train_images),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        ann_file=_base_.val_annotations,
        data_prefix=dict(img=_base_.val_images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=_base_.val_annotations, metric="segm")
test_evaluator = val_evaluator
