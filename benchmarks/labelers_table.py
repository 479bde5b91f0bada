"""How good is each labeler on each data set, and what does it cost? Data sets x labelers.

    python -m benchmarks.labelers_table runs/labelers --objects 150 \
        --data photos=IMAGES,instances_val.json,checkpoint.pth \
               scenes=IMAGES,annotations.json,scenes.pth,tiny_scenes

A data set is a folder of photos, a COCO file with human masks, a network trained on boxes of
other photos of the kind, and the file of conf/mal that it labels by (default: cpu). Labels the
same random objects with every labeler, from their boxes alone. Seconds are those of one
processor, photos decoded, on the machine it runs on. Leaves table.md and table.json, written
after every data set; a data set that is there already is not done again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.data.coco import parse_coco, read_boxes
from mal_core.geometry.boundary import boundary_iou
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.labelers.recipes import drawer_recipe, labeler_recipe
from mal_core.labelers.registry import photo_labeler
from mal_core.labelers.sampling import sample_boxes
from mal_core.labeling.protocol import Photo
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table
from mal_core.types import PseudoLabel

LABELERS = ("box", "ellipse", "grabcut", "mal", "ensemble")


@dataclass(frozen=True, kw_only=True)
class Data:
    """One data set."""

    name: str
    images: Path
    annotations: Path
    checkpoint: Path
    recipe: str


def main() -> None:
    """Label, compare, and write the table after every data set."""
    options = _options()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for text in options.data:
        data = _data(text)
        kept = out / f"{data.name}.json"
        if not kept.is_file():
            write_json(kept, list(_measured(data, options, out)), indent=1)
        rows += json.loads(kept.read_text())
        write_json(out / "table.json", rows, indent=1)
        (out / "table.md").write_text(_table(rows) + "\n")
    sys.stdout.write(_table(rows) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=IMAGES,FILE,CHECKPOINT")
    parser.add_argument("--objects", type=int, default=150)
    parser.add_argument("--labelers", nargs="+", default=LABELERS, metavar="NAME")
    parser.add_argument("--members", nargs="+", default=["mal", "grabcut", "ellipse"])
    return parser.parse_args()


def _data(text: str) -> Data:
    name, _, files = text.partition("=")
    parts = [*files.split(","), "cpu"]
    return Data(
        name=name,
        images=Path(parts[0]),
        annotations=Path(parts[1]),
        checkpoint=Path(parts[2]),
        recipe=parts[3],
    )


def _measured(data: Data, options: argparse.Namespace, out: Path) -> Iterator[dict[str, Any]]:
    dataset = read_boxes(data.images, data.annotations)
    photos = sample_boxes(dataset, options.objects)
    truth = {
        one["id"]: one.get("segmentation") for one in parse_coco(data.annotations)["annotations"]
    }
    for name in options.labelers:
        changes = {"members": options.members} if name == "ensemble" else {}
        config = drawer_recipe(name, **changes)
        network = data.checkpoint if config.is_trained else None
        writer = photo_labeler(config, network, labeler_recipe(data.recipe))
        writer.prepare(dataset, out / data.name / name)
        seconds, found = 0.0, []
        for one in photos:
            photo = one.decoded()
            started = time.process_time()
            outcomes = list(writer.outcomes([photo]))
            seconds += time.process_time() - started
            found += [_ious(outcome, truth, one) for outcome in outcomes]
        yield _row(data.name, name, found, 1000 * seconds / len(found))
        sys.stdout.write(f"{data.name} {name}: {np.mean(found, axis=0)[0]:.3f}\n")
        sys.stdout.flush()


def _ious(outcome: Any, truth: dict[int, Any], one: Photo) -> tuple[float, float]:
    """Mask and boundary IoU; 0 where a box has no mask."""
    size = one.record.height, one.record.width
    if not isinstance(outcome, PseudoLabel):
        return 0.0, 0.0
    own = segmentation_to_mask(outcome.rle, *size)
    human = segmentation_to_mask(truth[outcome.annotation_id], *size)
    union = int((own | human).sum())
    return int((own & human).sum()) / max(union, 1), boundary_iou(own, human)


def _row(
    data: str, labeler: str, found: Sequence[tuple[float, float]], seconds: float
) -> dict[str, Any]:
    ious = np.array(found)
    return {
        "data": data,
        "labeler": labeler,
        "objects": len(ious),
        "mask_iou": round(float(ious[:, 0].mean()), 4),
        "boundary_iou": round(float(ious[:, 1].mean()), 4),
        "below_half": round(float((ious[:, 0] < 0.5).mean()), 4),
        "seconds_per_1000": round(seconds, 2),
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return markdown_table(
        [
            {
                "data": f"{row['data']} ({row['objects']})",
                "labeler": row["labeler"],
                "mask IoU": f"{row['mask_iou']:.3f}",
                "boundary IoU": f"{row['boundary_iou']:.3f}",
                "below 0.5": f"{100 * row['below_half']:.0f} %",
                "s per 1,000 boxes": f"{row['seconds_per_1000']:.1f}",
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
