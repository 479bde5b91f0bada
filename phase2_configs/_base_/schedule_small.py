"""Steps instead of epochs, for small models: AdamW, linear warm-up, cosine to zero."""

max_steps = 600
warmup_steps = 60

train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_steps, val_interval=max_steps)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-4, weight_decay=0.01, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warmup_steps),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=warmup_steps,
        end=max_steps,
        T_max=max_steps - warmup_steps,
        eta_min=0.0,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
