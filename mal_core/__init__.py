"""Mask Auto-Labeler: boxes in, masks out. A plain library; knows no orchestrator."""

import os

# OpenCV reads its limit once, when it is loaded, here and in child processes. Sizes are judged
# before anything is decoded, by a limit that a setting moves (data.max_image_pixels).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 40))
