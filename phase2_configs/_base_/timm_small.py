"""A light ImageNet-pretrained backbone through timm, for minutes of one core.

Its weights: `segmenter.weights`, a file or the installed package of weights.
"""

_base_ = ["coco_small.py", "schedule_small.py", "runtime_small.py"]
custom_imports = dict(
    imports=["phase2_configs.backbones.timm_backbone"], allow_failed_imports=False
)
