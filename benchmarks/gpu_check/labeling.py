"""Labeling on the card: boxes/s with and without the network, and how busy the card is."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import drawn_photos
from benchmarks.gpu_check import device
from benchmarks.gpu_check.sizes import Sizes
from mal_core.config import MalConfig, RefinementConfig
from mal_core.labeling.journal import LabelJournal
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.work import LabelWork
from mal_core.models.labeler import Sight, build_labeler


class WithoutNetwork(MaskWriter):
    """All of labeling but the forward passes: logits of a fixed blob."""

    def see(
        self,
        crops_u8: torch.Tensor,
        boxes_xyxy: torch.Tensor,
        box_masks: torch.Tensor | None = None,
    ) -> Sight:
        """Logits of shape (B, S/4, S/4), and one feature."""
        side = crops_u8.shape[1] // 4
        line = torch.linspace(-1, 1, side)
        blob = 4 - 8 * torch.hypot(line[:, None], line[None, :])
        blobs = blob.expand(len(crops_u8), side, side)
        return Sight(blobs, blobs, blobs[:, None, ::4, ::4])


def measure(sizes: Sizes) -> Iterator[tuple[str, Any]]:
    """Boxes/s of plain and refined labeling, and with the network in either precision."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = LabelWork(drawn_photos(folder, sizes.photos))
        for title, refined in (("plain", False), ("refined", True)):
            config = sizes.config(refinement=RefinementConfig(enabled=refined))
            fp32 = dataclasses.replace(config, label_precision="fp32")
            torch.manual_seed(0)
            labeler, _ = build_labeler(sizes.encoder, config)
            numbers = {
                "with_network": _boxes_per_s(work, MaskWriter(labeler, config), folder, config),
                "in_fp32": _boxes_per_s(work, MaskWriter(labeler, fp32), folder, fp32),
                "without_network": _boxes_per_s(
                    work, WithoutNetwork(labeler, config), folder, config
                ),
            }
            yield title, numbers


def _boxes_per_s(
    work: LabelWork, writer: MaskWriter, folder: Path, config: MalConfig
) -> dict[str, Any]:
    batches = list(work.batches)
    side = config.label_crop_size or config.crop_size
    crops = torch.zeros(config.label_batch_size, side, side, 3, dtype=torch.uint8)
    writer.logits(crops, torch.tensor([[0.0, 0.0, 50.0, 50.0]]).expand(len(crops), 4))  # warm-up
    journal = LabelJournal(Path(tempfile.mkdtemp(dir=folder)))
    with device.watched_utilization() as busy:
        started = time.perf_counter()
        work.label(batches, writer, journal, lambda done, total: None)
        took = time.perf_counter() - started
    return {
        "boxes": work.num_boxes(batches),
        "boxes_per_s": work.num_boxes(batches) / took,
        "gpu_utilization": busy[0] if busy else None,
    }
