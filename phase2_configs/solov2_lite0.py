"""SOLOv2 on ImageNet-pretrained EfficientNet-Lite0: small data in minutes of one core.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020; the
    backbone is timm's tf_efficientnet_lite0.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["solov2_r18.py", "_base_/lite0.py"]

# See runner/sizing.py.
sized_from_data = dict(
    object_px=24,
    least_px=256,
    most_px=512,
    crop_px=None,
    crowded=dict(
        imports=["phase2_configs.heads.local_solov2"],
        crop_px=256,
        # `strides`: masks of so few cells (of 4 x 4 px) are dropped.
        model=dict(mask_head=dict(type="LocalSOLOV2Head", crop_share=1.0, strides=[2, 8, 16, 32])),
    ),
)

model = dict(
    data_preprocessor=_base_.lite0.preprocessor,
    backbone=dict(_delete_=True, **_base_.lite0.backbone),
    neck=dict(in_channels=_base_.lite0.channels),
    mask_head=dict(
        scale_ranges=((1, 48), (32, 96), (72, 192), (144, 2048)),
        num_grids=[34, 16, 8, 6],
        pos_scale=0.3,
    ),
    test_cfg=dict(max_per_img=100),
)
optim_wrapper = dict(paramwise_cfg=_base_.lite0.paramwise)
