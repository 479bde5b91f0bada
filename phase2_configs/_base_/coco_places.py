"""Where a data set in COCO format lies, for runs by hand with stock mmdet tools.

These environment variables are the one place for paths. The runner
(`python -m phase2_configs.runner.train`) fills in paths and classes itself.
"""

train_annotations = "{{$MAL_TRAIN_ANNOTATIONS:data/coco/annotations/instances_train2017.json}}"
train_images = "{{$MAL_TRAIN_IMAGES:data/coco/train2017}}"
val_annotations = "{{$MAL_VAL_ANNOTATIONS:data/coco/annotations/instances_val2017.json}}"
val_images = "{{$MAL_VAL_IMAGES:data/coco/val2017}}"

train_places = dict(data_root=None, ann_file=train_annotations, data_prefix=dict(img=train_images))
val_places = dict(data_root=None, ann_file=val_annotations, data_prefix=dict(img=val_images))
