"""What stages are called: in keys and folders of the store, in flows, in settings like `latest`."""

from typing import Literal, get_args

FlowStage = Literal[
    "full", "train-mal", "generate-pseudo-labels", "train-segmenter", "evaluate-retention"
]
FULL, TRAIN, LABEL, SEGMENT, EVALUATE = get_args(FlowStage)
SCENES, NORMAL_FORM, IMAGES = "scenes", "normal-form", "images"
ONE_CLASS, NORMAL_MASKS = "one-class", "normal-masks"
CHECK, BOXES, GUIDE, PREDICT = "check", "boxes", "guide", "predict"
OVERLAP = "overlap"
