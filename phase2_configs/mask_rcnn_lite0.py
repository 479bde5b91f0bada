"""Mask R-CNN on ImageNet-pretrained EfficientNet-Lite0: small data in minutes of one core.

Source: He et al., "Mask R-CNN", ICCV 2017; the backbone is timm's tf_efficientnet_lite0.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "_base_/coco_small.py",
    "_base_/schedule_small.py",
    "_base_/runtime_small.py",
    "_base_/lite0.py",
]

channels = 64

# See runner/sizing.py.
sized_from_data = dict(object_px=28, least_px=256, most_px=512, crop_px=256)

model = dict(
    data_preprocessor=_base_.lite0.preprocessor,
    backbone=dict(_delete_=True, **_base_.lite0.backbone),
    neck=dict(in_channels=_base_.lite0.channels, out_channels=channels),
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(in_channels=channels, fc_out_channels=4 * channels),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), rcnn=dict(max_per_img=100)),
)
optim_wrapper = dict(paramwise_cfg=_base_.lite0.paramwise)
