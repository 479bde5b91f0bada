"""How much each label counts: from its score in the annotation file to a weight of its mask loss.

A weight has to follow its object through every transform of a recipe, also through those that
drop, crop or mix objects. All of them treat class labels as they treat the boxes and masks, and
none reads them; so the weight travels in the upper bits of the label until it is packed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import DATASETS, TRANSFORMS

from mal_core.errors import DatasetError
from mal_core.types import HUMAN_SOURCE

LABEL_BITS = 24
LEVELS = 1 << 16
"""Steps of a weight of 1."""
WEIGHT = "mask_weight"


def weight_of(annotation: Mapping[str, Any], how: str, threshold: float) -> float:
    """Weight of an annotation's mask before all are scaled to a mean of 1.

    A human mask, and one without a score, counts in full.
    """
    score = annotation.get("score")
    if score is None or annotation.get("source") == HUMAN_SOURCE:
        return 1.0
    return float(score) if how == "score" else float(score >= threshold)


@DATASETS.register_module()
class WeightedCocoDataset(CocoDataset):
    """A COCO file whose instances carry the weight of their masks; the mean weight is 1.

    Args:
        label_weights: "score" or "threshold".
        label_threshold: Least score of a mask that counts, with "threshold".
    """

    def __init__(self, *args: Any, label_weights: str, label_threshold: float, **kwargs: Any):
        self.label_weights = label_weights
        self.label_threshold = label_threshold
        super().__init__(*args, **kwargs)

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> Any:
        # One by one: mmdet drops some annotations and does not say which ones.
        info = super().parse_data_info({**raw_data_info, "raw_ann_info": []})
        for annotation in raw_data_info["raw_ann_info"]:
            alone = super().parse_data_info({**raw_data_info, "raw_ann_info": [annotation]})
            for instance in alone["instances"]:
                weight = weight_of(annotation, self.label_weights, self.label_threshold)
                info["instances"].append({**instance, WEIGHT: weight})
        return info

    def load_data_list(self) -> list[dict[str, Any]]:
        data = super().load_data_list()
        instances = [
            instance
            for info in data
            for instance in info["instances"]
            if not instance["ignore_flag"]
        ]
        mean = float(np.mean([instance[WEIGHT] for instance in instances])) if instances else 1.0
        if mean == 0:
            raise DatasetError(Path(self.ann_file), [self._no_label_counts(len(instances))])
        for instance in instances:
            instance[WEIGHT] /= mean
        return data

    def _no_label_counts(self, count: int) -> str:
        by_threshold = self.label_weights == "threshold"
        least = f"of at least {self.label_threshold:g}" if by_threshold else "above 0"
        return (
            f"segmenter.label_weights={self.label_weights}: none of the {count} labels has a "
            f"score {least}. Lower segmenter.label_threshold, or train without weights."
        )


@TRANSFORMS.register_module()
class WeightsIntoLabels(BaseTransform):
    """Put the weights of the instances into the upper bits of their labels."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        weights = np.array([instance.get(WEIGHT, 1.0) for instance in results["instances"]])
        levels = np.round(weights * LEVELS).astype(np.int64)
        results["gt_bboxes_labels"] = results["gt_bboxes_labels"] + (levels << LABEL_BITS)
        return results


@TRANSFORMS.register_module()
class PackWeightedInputs(PackDetInputs):
    """Pack as mmdet does, with the weights as `gt_instances.mask_weights`, float32, shape (N,)."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        packed = super().transform(results)
        instances = packed["data_samples"].gt_instances
        codes = instances.labels
        instances.labels = codes & ((1 << LABEL_BITS) - 1)
        instances.mask_weights = (codes >> LABEL_BITS).to(torch.float32) / LEVELS
        return packed
