"""`make bench`: what our own code costs, in units that do not depend on the machine.

A *decode* is one `cv2.imread` of the same photo, a *matmul* one float32 product of two
1024 x 1024 matrices, both on the same single thread. Every repetition measures the work
and its yardstick one after the other, so that a busy machine slows both; the table shows
medians. Photos are those of ../shared/data/coco_dev where they are, else drawn ones.

Options: --repeats N, --check (exit status 1 when a target is missed).
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from mal_core.config import MalConfig
from mal_core.data.crops import TrainBatches
from mal_core.labelers.recipes import labeler_recipe
from mal_core.labeling.protocol import Photo
from mal_core.labeling.views import Seen, draw_mask, to_label, views_of
from mal_core.quality.score import default_model
from mal_core.training.losses import mean_field
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord

COCO_DEV = Path(__file__).parents[2] / "shared" / "data" / "coco_dev"
NUM_PHOTOS = 24
CROP_SIZE = 512
SETTINGS = MalConfig(
    crop_size=CROP_SIZE, batch_size=1, max_steps=1, learning_rate=1.0, num_workers=0
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One line of the table; `ratios` are work over yardstick, one per repetition."""

    name: str
    unit: str
    target: float
    reference: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        """Median over repetitions."""
        return median(self.ratios)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def photos(folder: Path) -> BoxDataset:
    """Real photos with all their boxes, or drawn ones of the same size."""
    source = COCO_DEV / "annotations" / "instances_val.json"
    if not source.is_file():
        return drawn_photos(folder)
    content = json.loads(source.read_text())
    records = tuple(_record(image) for image in content["images"][:NUM_PHOTOS])
    chosen = {record.image_id for record in records}
    boxes = tuple(
        _box(entry)
        for entry in content["annotations"]
        if entry["image_id"] in chosen and not entry["iscrowd"] and min(entry["bbox"][2:]) > 1
    )
    return _dataset(source, COCO_DEV / "images", records, boxes)


def _record(image: dict[str, object]) -> ImageRecord:
    return ImageRecord(
        image_id=int(str(image["id"])),
        file_name=str(image["file_name"]),
        height=int(str(image["height"])),
        width=int(str(image["width"])),
    )


def _box(entry: dict[str, Any]) -> BoxAnnotation:
    x, y, w, h = entry["bbox"]
    return BoxAnnotation(
        annotation_id=int(str(entry["id"])),
        image_id=int(str(entry["image_id"])),
        category_id=1,
        box_xyxy=(x, y, x + w, y + h),
    )


def drawn_photos(folder: Path, count: int = NUM_PHOTOS) -> BoxDataset:
    """JPEG photos of 640 x 480 px with structure at all scales, seven boxes each."""
    generator = np.random.default_rng(0)
    records, boxes = [], []
    for index in range(count):
        pixels = np.zeros((480, 640, 3), np.float32)
        for side in (8, 32, 128):
            noise = generator.normal(0, 45, (480 * side // 640, side, 3)).astype(np.float32)
            pixels += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
        image = (pixels + 128).clip(0, 255).astype(np.uint8)
        name = f"{index}.jpg"
        cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        records.append(ImageRecord(image_id=index, file_name=name, height=480, width=640))
        for number in range(7):
            w, h = (int(v) for v in generator.integers(16, 300, 2))
            x, y = int(generator.integers(0, 640 - w)), int(generator.integers(0, 480 - h))
            boxes.append(
                BoxAnnotation(
                    annotation_id=7 * index + number,
                    image_id=index,
                    category_id=1,
                    box_xyxy=(x, y, x + w, y + h),
                )
            )
    return _dataset(folder / "drawn", folder, tuple(records), tuple(boxes))


def _dataset(
    source: Path,
    images: Path,
    records: tuple[ImageRecord, ...],
    boxes: tuple[BoxAnnotation, ...],
) -> BoxDataset:
    return BoxDataset(
        annotations_path=source,
        image_root=images,
        categories=(),
        images=records,
        boxes=boxes,
        skipped=(),
        num_crowds=0,
        num_clipped=0,
    )


def bench_mean_field(repeats: int) -> Result:
    """100 iterations on 4 x 128 x 128 against a matrix product."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 128, 128, generator=generator).cumsum(3) * 0.02
    prob = torch.rand(4, 128, 128, generator=generator)
    box = torch.zeros(4, 128, 128)
    box[:, 16:112, 16:112] = 1
    a, b = torch.randn(2, 1024, 1024, generator=generator)
    ratios = [
        seconds(lambda: mean_field(image, prob, box)) / seconds(lambda: a @ b)
        for _ in range(repeats)
    ]
    return Result(
        name="mean field, 4x128x128, 3x3, 100 iterations",
        unit="matmul",
        target=1.0,
        reference=13.3,
        ratios=ratios,
    )


def bench_training_sample(dataset: BoxDataset, repeats: int) -> Result:
    """Both views of one box at crop 512, its photo decoded anew every time."""
    some = dataset.boxes[:: max(1, len(dataset.boxes) // 40)]
    ratios = _sample_ratios(dataset, some, SETTINGS, repeats)
    return Result(
        name="training sample, crop 512, both views, decode included",
        unit="decode",
        target=3.0,
        reference=10.1,
        ratios=ratios,
    )


def bench_large_photos(repeats: int) -> Result:
    """The same from photos of 12 megapixels at crop 224, decoded as small as the crop allows."""
    with tempfile.TemporaryDirectory() as folder:
        small = drawn_photos(Path(folder), 2)
        records, boxes = [], []
        for record in small.images:
            path = Path(folder) / record.file_name
            large = cv2.resize(cv2.imread(str(path)), (4000, 3000), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(path), large)
            records.append(replace(record, height=3000, width=4000))
        for box in small.boxes:
            x0, y0, x1, y1 = (6.25 * value for value in box.box_xyxy)
            boxes.append(replace(box, box_xyxy=(x0, y0, x1, y1)))
        dataset = _dataset(Path(folder) / "drawn", Path(folder), tuple(records), tuple(boxes))
        config = replace(SETTINGS, crop_size=224)
        ratios = _sample_ratios(dataset, dataset.boxes, config, repeats)
    return Result(
        name="the same, crop 224 of photos of 12 megapixels",
        unit="decode",
        target=1.0,
        reference=1.1,
        ratios=ratios,
    )


def bench_label(dataset: BoxDataset, repeats: int, config: MalConfig, name: str) -> Result:
    """A label without the network: decode, crop, and from logits to RLE."""
    generator = np.random.default_rng(0)
    side = (config.label_crop_size or config.crop_size) // 4
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot((rows - side / 2) / side, (columns - side / 2) / side)
    logits = (8 - 25 * distance + generator.normal(0, 0.2, distance.shape)).astype(np.float32)
    seen = Seen(logits=logits)
    model = default_model("labels")
    ratios = []
    for _ in range(repeats):
        work = yardstick = 0.0
        for record in dataset.images:
            boxes = tuple(box for box in dataset.boxes if box.image_id == record.image_id)
            if not boxes:
                continue
            path = dataset.image_root / record.file_name
            photo = Photo(record=record, boxes=boxes, source=dataset.image_root)
            yardstick += len(boxes) * seconds(lambda path=path: cv2.imread(str(path)))  # type: ignore[misc]
            work += seconds(
                lambda photo=photo: [  # type: ignore[misc]
                    to_label(draw_mask(item, [seen] * len(item.views), config), model)
                    for item in views_of(photo, config)
                ]
            )
        ratios.append(work / yardstick)
    return Result(name=name, unit="decode", target=0.6, reference=3.2, ratios=ratios)


def _sample_ratios(
    dataset: BoxDataset, boxes: Sequence[BoxAnnotation], config: MalConfig, repeats: int
) -> list[float]:
    """Per repetition: seconds of a training sample of each box, in decodes of its photo."""
    ratios = []
    for repeat in range(repeats):
        work = yardstick = 0.0
        for box in boxes:
            one = _only(dataset, box)
            batches = TrainBatches(one, config, seed=repeat)
            yardstick += _decode_seconds(one)
            work += seconds(lambda batches=batches: batches[0])  # type: ignore[misc]
        ratios.append(work / yardstick)
    return ratios


def _only(dataset: BoxDataset, box: BoxAnnotation) -> BoxDataset:
    records = tuple(record for record in dataset.images if record.image_id == box.image_id)
    return _dataset(dataset.annotations_path, dataset.image_root, records, (box,))


def _decode_seconds(dataset: BoxDataset) -> float:
    path = str(dataset.image_root / dataset.images[0].file_name)
    return seconds(lambda: cv2.imread(path))


def run(repeats: int) -> list[Result]:
    """Everything that is measured, each `repeats` times."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = photos(Path(folder))
        sys.stdout.write(
            f"{len(dataset.images)} photos of {dataset.image_root.parent.name}, "
            f"{len(dataset.boxes)} boxes; medians of {repeats} repetitions\n"
        )
        return [
            bench_mean_field(5 * repeats),
            bench_training_sample(dataset, repeats),
            bench_large_photos(2),
            bench_label(dataset, repeats, SETTINGS, "label without the network, per box"),
            bench_label(dataset, 2, labeler_recipe(), "the same by the default recipe (no target)"),
        ]


def main() -> int:
    """Print the table; with --check, 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="repetitions, 5 unless told")
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    missed = False
    for result in run(options.repeats):
        bound = "" if result.name.endswith("(no target)") else f"at most {result.target:g}, "
        missed = missed or (bool(bound) and result.ratio > result.target)
        sys.stdout.write(
            f"{result.name:58s} {result.ratio:5.2f} {result.unit}s "
            f"({bound}reference {result.reference:g})\n"
        )
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
