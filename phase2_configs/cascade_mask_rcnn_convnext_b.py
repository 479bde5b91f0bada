"""Cascade Mask R-CNN, ConvNeXt-B, 3x schedule.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; Liu et al., "A ConvNet for the 2020s",
    CVPR 2022. mmdet has no config of this size: ConvNeXt-S's with the backbone of spec 8.
Cost: 145 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images.
Expected AP: unknown; the paper reports a retention of 94.5 % for it; not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./cascade_mask_rcnn_convnext_s.py"

checkpoint = (
    "https://mmassets.onedl.ai/mmclassification/v0/convnext/"
    "convnext-base_3rdparty_32xb128_in1k_20220124-d0915162.pth"
)
model = dict(
    backbone=dict(arch="base", init_cfg=dict(checkpoint=checkpoint)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
