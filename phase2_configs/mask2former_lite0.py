"""Mask2Former on ImageNet-pretrained EfficientNet-Lite0: small data in minutes of one core.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
    2022; the backbone is timm's tf_efficientnet_lite0.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["mask2former_swin_cpu.py"]
custom_imports = dict(
    imports=["phase2_configs.backbones.timm_backbone"], allow_failed_imports=False
)

# See runner/sizing.py.
sized_from_data = dict(object_px=28, least_px=256, most_px=512, crop_px=256)

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
    panoptic_head=dict(in_channels=[24, 40, 112, 320]),
)
optim_wrapper = dict(
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
