"""mmdet's mask heads with a weight per object in the mask loss; classes and boxes as they were.

Each head counts its masks as mmdet does and multiplies the loss of each by its object's weight.
The weights of a file have mean 1, so they change which objects are heard, not how loud all of
them are together; weights of 1 are mmdet's own loss.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import Mask2FormerHead, SOLOV2Head
from mmdet.models.losses.cross_entropy_loss import mask_cross_entropy
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from phase2_configs.heads.local_mask2former import LocalMask2FormerHead
from phase2_configs.heads.local_solov2 import LocalSOLOV2Head


def weights_of(instances: InstanceData) -> Tensor:
    """Weights of an image's objects, float32, shape (N,)."""
    if "mask_weights" in instances:
        return instances.mask_weights
    return torch.ones(len(instances.labels), device=instances.labels.device)


class _RowWeighted(nn.Module):
    """A loss of several masks that count as the next weights of `rows` say.

    Attributes:
        rows: Weights of the masks of each call to come, set by the head.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.rows: Iterator[Tensor] = iter(())

    def forward(self, pred: Tensor, target: Tensor, **settings: Any) -> Tensor:
        rows = next(self.rows)
        weights = rows.repeat_interleave(len(pred) // len(rows)).to(pred.dtype)
        return self.loss(pred, target, weight=weights, **settings)


@MODELS.register_module()
class WeightedSOLOV2Head(SOLOV2Head):
    """SOLOv2: the Dice loss of each positive cell counts as the object that the cell is for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_mask = _RowWeighted(self.loss_mask)
        self._cells: list[list[Tensor]] = []

    def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Mmdet's losses, each of shape ()."""
        self._cells = []
        self.loss_mask.rows = self._weights_by_level()
        return super().loss_by_feat(*args, **kwargs)

    def _weights_by_level(self) -> Iterator[Tensor]:
        """Weights of the cells of each level that has any, image after image, as mmdet asks."""
        for images in zip(*self._cells, strict=True):
            if len(weights := torch.cat(images)):
                yield weights

    def _get_targets_single(
        self, gt_instances: InstanceData, featmap_sizes: Sequence[int] | None = None
    ) -> tuple[list[Any], ...]:
        # Object by object, because mmdet's own targets do not say whose they are; joined in
        # the order of the objects, they are what mmdet makes of all of them at once.
        weights = weights_of(gt_instances)
        stock = super()._get_targets_single
        parts = [
            stock(gt_instances[k : k + 1], featmap_sizes=featmap_sizes) for k in range(len(weights))
        ]
        if not parts:
            self._cells.append([weights.new_zeros(0) for _ in self.num_grids])
            return stock(gt_instances, featmap_sizes=featmap_sizes)
        by_level = [list(zip(*part, strict=True)) for part in parts]
        levels = [_joined(level) for level in zip(*by_level, strict=True)]
        counts = [[len(part[0][level]) for part in parts] for level in range(len(levels))]
        self._cells.append(
            [weights.repeat_interleave(torch.tensor(n, device=weights.device)) for n in counts]
        )
        return tuple(list(column) for column in zip(*levels, strict=True))


def _joined(objects: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """One level's targets of all objects; where two claim a cell its class is the later one's."""
    _, labels, positive, indices = objects[0]
    for _, more_labels, more_positive, more_indices in objects[1:]:
        labels = torch.where(more_positive.view_as(labels), more_labels, labels)
        positive = positive | more_positive
        indices = [*indices, *more_indices]
    return torch.cat([instance[0] for instance in objects]), labels, positive, indices


@MODELS.register_module()
class WeightedFCNMaskHead(FCNMaskHead):
    """The Mask R-CNN family: each proposal counts as the object that it was assigned to."""

    def loss_and_target(
        self,
        mask_preds: Tensor,
        sampling_results: list[Any],
        batch_gt_instances: list[InstanceData],
        rcnn_train_cfg: Any,
    ) -> dict[str, Any]:
        """The weighted loss of predictions of shape (P, C, h, w)."""
        stock = super().loss_and_target
        if len(mask_preds) == 0:
            return stock(mask_preds, sampling_results, batch_gt_instances, rcnn_train_cfg)
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        weights = torch.cat(
            [
                weights_of(instances)[result.pos_assigned_gt_inds]
                for instances, result in zip(batch_gt_instances, sampling_results, strict=True)
            ]
        )
        loss = self.loss_mask.loss_weight * mask_cross_entropy(
            mask_preds,
            targets,
            torch.zeros_like(labels) if self.class_agnostic else labels,
            class_weight=weights[:, None, None].to(mask_preds.dtype),
        )
        return {"loss_mask": {"loss_mask": loss}, "mask_targets": targets}


@MODELS.register_module()
class WeightedMask2FormerHead(Mask2FormerHead):
    """Mask2Former: both mask losses of a query count as the object that it was matched with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_mask = _RowWeighted(self.loss_mask)
        self.loss_dice = _RowWeighted(self.loss_dice)
        self._matched: list[Tensor] = []

    def preprocess_gt(
        self, batch_gt_instances: list[InstanceData], batch_gt_semantic_segs: list[Any]
    ) -> list[InstanceData]:
        targets = super().preprocess_gt(batch_gt_instances, batch_gt_semantic_segs)
        for target, instances in zip(targets, batch_gt_instances, strict=True):
            weights = weights_of(instances)
            stuff = weights.new_ones(len(target.labels) - len(weights))
            target.mask_weights = torch.cat([weights, stuff])
        return targets

    def _get_targets_single(
        self, cls_score: Tensor, mask_pred: Tensor, gt_instances: InstanceData, img_meta: Any
    ) -> tuple[Any, ...]:
        found = super()._get_targets_single(cls_score, mask_pred, gt_instances, img_meta)
        self._matched.append(weights_of(gt_instances)[found[-1].pos_assigned_gt_inds])
        return found

    def _loss_by_feat_single(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        self._matched = []
        for loss in (self.loss_dice, self.loss_mask):
            loss.rows = self._all_matched()
        return super()._loss_by_feat_single(*args, **kwargs)

    def _all_matched(self) -> Iterator[Tensor]:
        yield torch.cat(self._matched)


@MODELS.register_module()
class WeightedLocalSOLOV2Head(WeightedSOLOV2Head, LocalSOLOV2Head):
    """SOLOv2 with windows around its cells: as SOLOv2."""


@MODELS.register_module()
class WeightedLocalMask2FormerHead(WeightedMask2FormerHead, LocalMask2FormerHead):
    """Mask2Former with a query per cell: as Mask2Former."""
