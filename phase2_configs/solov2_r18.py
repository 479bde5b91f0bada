"""SOLOv2, slimmed ResNet-18: the demo's segmenter, learns from random weights on a CPU.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["_base_/coco_small.py", "_base_/schedule_small.py", "_base_/runtime_small.py"]

# A third of ResNet-18's width (64) and a quarter of the heads' (256): 2 M weights, and four
# instead of five levels. Time per step is what limits a training of minutes.
width = 24
channels = 64

model = dict(
    type="SOLOv2",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=width,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type="BN", requires_grad=True),
        # Blocks that start as identities are made for long schedules.
        zero_init_residual=False,
        style="pytorch",
        init_cfg=None,
    ),
    neck=dict(
        type="FPN",
        in_channels=[width, 2 * width, 4 * width, 8 * width],
        out_channels=channels,
        start_level=0,
        num_outs=4,
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    mask_head=dict(
        type="SOLOV2Head",
        num_classes=80,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        strides=[8, 8, 16, 32],
        # One head learns nearly all objects of small images: a short schedule cannot
        # afford to teach the same thing at four scales.
        scale_ranges=((1, 24), (20, 80), (72, 128), (112, 512)),
        pos_scale=0.4,
        num_grids=[16, 14, 6, 4],
        cls_down_index=0,
        norm_cfg=dict(type="BN", requires_grad=True),
        mask_feature_head=dict(
            feat_channels=channels // 2,
            start_level=0,
            end_level=3,
            out_channels=channels // 2,
            mask_stride=4,
            norm_cfg=dict(type="BN", requires_grad=True),
        ),
        loss_mask=dict(type="DiceLoss", use_sigmoid=True, loss_weight=3.0),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=3.0),
    ),
    test_cfg=dict(
        nms_pre=200,
        score_thr=0.05,
        mask_thr=0.5,
        filter_thr=0.02,
        kernel="gaussian",
        sigma=2.0,
        max_per_img=50,
    ),
)
