"""Cascade Mask R-CNN, shrunken ConvNeXt: the same family, small enough to train on a CPU.

Source: as cascade_mask_rcnn_convnext_t.py; narrower, shallower, fewer proposals.
Cost: 1 M weights; about 0.1 s per step of 2 images at 128 px on one CPU thread.
Expected AP: not measured on COCO; made for tests, for own small data and for trying things out.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "_base_/coco_small.py",
    "_base_/schedule_small.py",
    "_base_/runtime_small.py",
]
custom_imports = dict(imports=["mmpretrain.models"], allow_failed_imports=False)

widths = [24, 48, 96, 192]
channels = 32
num_rois = 32

model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.ConvNeXt",
        arch=dict(depths=[1, 1, 2, 1], channels=widths),
        out_indices=[0, 1, 2, 3],
        drop_path_rate=0.0,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=widths, out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # Objects of 128 px images are a sixth as large as those of 800 px images.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        mask_roi_extractor=dict(out_channels=channels),
        bbox_head=[
            dict(head, in_channels=channels, fc_out_channels=4 * channels)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(num_convs=1, in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=256, max_per_img=64),
        rcnn=[
            dict(stage, sampler=dict(stage.sampler, num=num_rois))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    # An untrained cascade would otherwise spend its time on a thousand random boxes.
    test_cfg=dict(rpn=dict(nms_pre=256, max_per_img=64), rcnn=dict(max_per_img=50)),
)
