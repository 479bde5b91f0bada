"""SOLOv2, ResNeXt-101 64x4d with deformable convolutions, 3x schedule.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020;
    Zhu et al., "Deformable ConvNets v2", CVPR 2019; mmdet's solov2_x101-dcn_fpn_ms-3x_coco.py.
    Beside data and image decoding the warm-up changes: 1,000 steps from a thirtieth of the rate,
    as in the paper's runs of this model (spec 8).
Cost: 113 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images.
Expected AP: 42.4 on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./solov2_r101_dcn.py"

model = dict(
    backbone=dict(
        type="ResNeXt",
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint="open-mmlab://resnext101_64x4d"),
    )
)

# Deformable layers of a ResNeXt need half the steps of the ResNet, from a gentler start.
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 30, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
