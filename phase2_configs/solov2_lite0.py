"""SOLOv2 on ImageNet-pretrained EfficientNet-Lite0: small data in minutes of one core.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020; the
    backbone is timm's tf_efficientnet_lite0.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["solov2_r18.py"]
custom_imports = dict(
    imports=["phase2_configs.backbones.timm_backbone"], allow_failed_imports=False
)

# See runner/sizing.py.
sized_from_data = dict(object_px=24, least_px=256, most_px=512, crop_px=None)

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        name="tf_efficientnet_lite0",
        frozen_stages=1,
        norm_eval=True,
        init_cfg=None,
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
    mask_head=dict(
        scale_ranges=((1, 48), (32, 96), (72, 192), (144, 2048)),
        num_grids=[34, 16, 8, 6],
        pos_scale=0.3,
    ),
    test_cfg=dict(max_per_img=100),
)
optim_wrapper = dict(
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
