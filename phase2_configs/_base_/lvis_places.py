"""Where LVIS lies, for runs by hand with stock mmdet tools, in the variables of coco_places.py.

LVIS is COCO's format with other names of files; by hand, give a file with `file_name`.
"""

train_annotations = "{{$MAL_TRAIN_ANNOTATIONS:data/lvis_v1/annotations/lvis_v1_train.json}}"
train_images = "{{$MAL_TRAIN_IMAGES:data/coco}}"
val_annotations = "{{$MAL_VAL_ANNOTATIONS:data/lvis_v1/annotations/lvis_v1_val.json}}"
val_images = "{{$MAL_VAL_IMAGES:data/coco}}"

train_places = dict(data_root=None, ann_file=train_annotations, data_prefix=dict(img=train_images))
val_places = dict(data_root=None, ann_file=val_annotations, data_prefix=dict(img=val_images))
