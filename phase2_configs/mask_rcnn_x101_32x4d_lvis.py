"""Mask R-CNN, ResNeXt-101 32x4d, LVIS v1: 1x schedule, images with rare classes shown more often.

Source: Xie et al., "Aggregated Residual Transformations", CVPR 2017;
    Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019;
    mmdet's lvis/mask-rcnn_x101-32x4d_fpn_sample1e-3_ms-1x_lvis-v1.py, of which only data and image
    decoding change.
Cost: 68 M weights with LVIS's 1,203 classes; 12 epochs, made for 8 GPUs of 2 images.
Expected AP: 25.5 on LVIS v1 val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./mask_rcnn_r101_lvis.py"

model = dict(
    backbone=dict(
        type="ResNeXt",
        depth=101,
        groups=32,
        base_width=4,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnext101_32x4d"),
    )
)
