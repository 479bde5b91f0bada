"""Mask2Former on ImageNet-pretrained EfficientNet-Lite0: small data in minutes of one core.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR
    2022; the backbone is timm's tf_efficientnet_lite0.
Cost: see README.md of this folder.
Expected AP: see README.md of this folder.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = ["mask2former_swin_cpu.py", "_base_/lite0.py"]

# See runner/sizing.py.
sized_from_data = dict(
    object_px=28,
    least_px=256,
    most_px=512,
    crop_px=256,
    crowded=dict(
        imports=["phase2_configs.heads.local_mask2former"],
        model=dict(
            # A small object hides between 1,024 random points.
            train_cfg=dict(num_points=3136),
            panoptic_head=dict(
                type="LocalMask2FormerHead",
                cell_px=16.0,
                # The third looks at features of stride 8.
                transformer_decoder=dict(num_layers=3),
            ),
        ),
    ),
)

model = dict(
    data_preprocessor=_base_.lite0.preprocessor,
    backbone=dict(_delete_=True, **_base_.lite0.backbone),
    panoptic_head=dict(in_channels=_base_.lite0.channels),
)
optim_wrapper = dict(paramwise_cfg=_base_.lite0.paramwise)
