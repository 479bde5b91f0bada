"""mmdet's default runtime with everything counted in steps."""

_base_ = "mmdet::_base_/default_runtime.py"

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50),
    checkpoint=dict(
        type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2, save_last=True
    ),
)
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=False)
# One process on a CPU: NCCL would not start there.
env_cfg = dict(dist_cfg=dict(backend="gloo"))
