"""EfficientNet-Lite0 of timm with ImageNet weights, for recipes that run in minutes of one core.

Its weights: `segmenter.weights`, a file or the installed package of weights. A recipe puts
`lite0.backbone` and the rest into its model: two bases may not both say what `model` is.
"""

custom_imports = dict(
    imports=["phase2_configs.backbones.timm_backbone"], allow_failed_imports=False
)
lite0 = dict(
    preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type="TimmBackbone",
        name="tf_efficientnet_lite0",
        frozen_stages=1,
        norm_eval=True,
        init_cfg=None,
    ),
    channels=[24, 40, 112, 320],
    paramwise=dict(norm_decay_mult=0.0, custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
