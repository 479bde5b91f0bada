"""SOLOv2, ResNet-101, 3x schedule.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020;
    mmdet's solov2_r101_fpn_ms-3x_coco.py, of which only data and image decoding change.
Cost: 65 M weights; 36 epochs of COCO, made for 8 GPUs of 2 images.
Expected AP: 39.1 on COCO val with human masks (mmdet model zoo); not measured here.
Command: python -m phase2_configs.runner.train JOB.json   (or mmdet's tools/train.py, see README.md)
"""

_base_ = "./solov2_r50.py"

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint="torchvision://resnet101")))
