"""Mask R-CNN, ResNeXt-101 64x4d, LVIS v1: 1x schedule, images with rare classes shown more often.

Source: Xie et al., "Aggregated Residual Transformations", CVPR 2017;
    Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019;
    mmdet's lvis/mask-rcnn_x101-64x4d_fpn_sample1e-3_ms-1x_lvis-v1.py, of which only data and image
    decoding change.
Cost: 107 M weights with LVIS's 1,203 classes; 12 epochs, made for 8 GPUs of 2 images.
Expected AP: 25.8 on LVIS v1 val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./mask_rcnn_x101_32x4d_lvis.py"

model = dict(backbone=dict(groups=64, init_cfg=dict(checkpoint="open-mmlab://resnext101_64x4d")))
