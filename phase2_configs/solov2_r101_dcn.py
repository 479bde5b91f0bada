"""SOLOv2, ResNet-101 with deformable convolutions, 3x schedule.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020;
    Zhu et al., "Deformable ConvNets v2", CVPR 2019; mmdet's solov2_r101-dcn_fpn_ms-3x_coco.py.
    Beside data and image decoding the warm-up changes: 2,000 steps from a tenth of the rate, as
    in the paper's runs of this model (spec 8).
Cost: 68 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images.
Expected AP: 41.2 on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./solov2_r50.py"

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint="torchvision://resnet101"),
        dcn=dict(type="DCNv2", deformable_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    ),
    mask_head=dict(
        mask_feature_head=dict(conv_cfg=dict(type="DCNv2")),
        dcn_cfg=dict(type="DCNv2"),
        dcn_apply_to_all_conv=True,
    ),
)

# Deformable layers need a longer and gentler start than the stock 500 steps.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2000),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
