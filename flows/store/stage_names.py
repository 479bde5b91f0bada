"""What stages are called: in keys and folders of the store, in flows, in settings like `latest`."""

from typing import Literal, get_args

FlowStage = Literal[
    "full", "train-mal", "generate-pseudo-labels", "train-segmenter", "evaluate-retention"
]
FULL, TRAIN, LABEL, SEGMENT, EVALUATE = get_args(FlowStage)
SCENES, NORMAL_FORM, IMAGES = "scenes", "normal-form", "images"
ONE_CLASS, NORMAL_MASKS = "one-class", "normal-masks"
CHECK, BOXES, PREDICT = "check", "boxes", "predict"
GUIDE = "draw-guide"
"""In flows; the store has its output among those of LABEL, which does the same."""
OVERLAP = "overlap"
