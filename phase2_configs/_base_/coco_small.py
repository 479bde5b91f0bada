"""COCO-format data for the small recipes: 128 px images, cheap transforms, no network.

One place for paths when run by hand with stock mmdet tools: these environment variables.
The runner (`python -m phase2_configs.runner.train`) fills in paths and classes itself.
"""

dataset_type = "CocoDataset"
train_annotations = "{{$MAL_TRAIN_ANNOTATIONS:data/coco/annotations/instances_train2017.json}}"
train_images = "{{$MAL_TRAIN_IMAGES:data/coco/train2017}}"
val_annotations = "{{$MAL_VAL_ANNOTATIONS:data/coco/annotations/instances_val2017.json}}"
val_images = "{{$MAL_VAL_IMAGES:data/coco/val2017}}"

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
        ann_file=train_annotations,
        data_prefix=dict(img=train_images),
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
        ann_file=val_annotations,
        data_prefix=dict(img=val_images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=val_annotations, metric="segm")
test_evaluator = val_evaluator
