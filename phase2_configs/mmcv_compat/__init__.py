"""mmcv where its compiled ops are absent: torchvision's kernels in their place."""
