"""How retention follows label quality: the demo's segmenter on masks of eleven qualities.

    python -m benchmarks.label_curve runs/label_curve [--seeds 0 1 2] [--jobs 2] [--labels NAME ...]

Makes files of labels for the drawn scenes (human masks as they are, eroded and dilated by
1, 2 and 4 px; filled boxes; ellipses; GrabCut from the box), trains on each and on our own
labels with `mal evaluate`, and leaves table.md, curve.json and curve.png in the folder, of
all labels that have been evaluated there. On two cores about an hour; started again it goes
on where it stopped.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.compared_labels import percent
from mal_core.data.images.loading import load_image
from mal_core.geometry.boxes import expand_box, fixed_margins, pixel_box
from mal_core.geometry.masks import box_to_rle, ellipse_to_rle, mask_to_rle, segmentation_to_mask
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table

Mask = NDArray[np.uint8]
OURS = "pseudo-labels"
SURROUNDINGS = 2.0
"""Growth of the crop in which GrabCut learns what is not the object; 2.0 doubles the box."""
TOP = 110
"""Of the plot, %."""


def main() -> None:
    """Make the labels, train on each, gather the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    names = (OURS, *MAKERS)
    parser.add_argument("--labels", nargs="+", choices=names, default=names, metavar="NAME")
    chosen = parser.parse_args()
    folder = chosen.folder.absolute()
    common = [
        "experiment=demo",
        f"segmenter_seeds=[{','.join(map(str, chosen.seeds))}]",
        f"segmenter_jobs={chosen.jobs}",
    ]
    images, annotations = drawn_scenes()
    for name in chosen.labels:
        workdir = results(folder, name).parent
        given = []
        if name != OURS:
            labels = workdir / "labels.json"
            write_labels(annotations, images, MAKERS[name], labels)
            given = [f"pseudo_labels={labels}"]
        verb = [sys.executable, "-m", "flows.commands.cli", "evaluate"]
        subprocess.run([*verb, *common, f"workdir={workdir}", *given], check=True)
    points = sorted(
        (point(name, path.parent) for name in names if (path := results(folder, name)).is_file()),
        key=lambda one: one["mask_iou"],
    )
    write_json(folder / "curve.json", points, indent=1)
    (folder / "table.md").write_text(table(points) + "\n")
    draw(points, folder / "curve.png")
    sys.stdout.write(table(points) + "\n")


def results(folder: Path, name: str) -> Path:
    """Where the numbers of one kind of labels are."""
    return folder / name.replace(" ", "_") / "retention.json"


def drawn_scenes() -> tuple[Path, Path]:
    """Folder of the demo's training images and their annotations."""
    from flows.settings import composing
    from flows.stages import inputs
    from flows.stages.run import Run

    train = inputs.inputs(Run(composing.compose(["experiment=demo"]))).train
    return train.images, train.annotations


def write_labels(
    annotations: Path, images: Path, make: Callable[[Any, Any, Path], Any], target: Path
) -> None:
    """The annotation file with other masks; crowds stay as they are."""
    content = json.loads(annotations.read_text())
    records = {record["id"]: record for record in content["images"]}
    for entry in content["annotations"]:
        if not entry.get("iscrowd", 0):
            record = records[entry["image_id"]]
            entry["segmentation"] = make(entry, record, images / record["file_name"])
    write_json(target, content)


def _box(entry: Any) -> NDArray[np.float64]:
    x, y, w, h = entry["bbox"]
    return np.array([x, y, x + w, y + h], dtype=np.float64)


def human_mask(entry: Any, record: Any, _image: Path) -> Any:
    """The mask as it is."""
    return mask_to_rle(_decoded(entry, record))


def filled_box(entry: Any, record: Any, _image: Path) -> Any:
    """Every pixel that the box touches."""
    return box_to_rle(_box(entry), record["height"], record["width"])


def ellipse(entry: Any, record: Any, _image: Path) -> Any:
    """The ellipse inscribed in the box."""
    return ellipse_to_rle(_box(entry), record["height"], record["width"])


def grown(pixels: int) -> Callable[[Any, Any, Path], Any]:
    """Human masks dilated (eroded when negative) by a disk of a radius in pixels."""

    def make(entry: Any, record: Any, _image: Path) -> Any:
        mask = _decoded(entry, record)
        side = 2 * abs(pixels) + 1
        reach = np.arange(side) - abs(pixels)
        disk = (reach[:, None] ** 2 + reach**2 <= pixels**2).astype(np.uint8)
        # OpenCV counts what lies outside the image as inside an object, when it erodes.
        return mask_to_rle((cv2.dilate if pixels > 0 else cv2.erode)(mask, disk))

    return make


def grabcut(entry: Any, record: Any, image: Path) -> Any:
    """OpenCV's GrabCut, five iterations from the box, in a crop that shows its surroundings."""
    height, width = record["height"], record["width"]
    surroundings = expand_box(_box(entry), fixed_margins(SURROUNDINGS)).astype(np.float64)
    x0, y0, x1, y1 = pixel_box(surroundings, height, width)
    left, top, right, bottom = pixel_box(_box(entry), height, width)
    state = np.full((y1 - y0, x1 - x0), cv2.GC_BGD, np.uint8)
    state[top - y0 : bottom - y0, left - x0 : right - x0] = cv2.GC_PR_FGD
    crop = np.ascontiguousarray(load_image(image)[y0:y1, x0:x1, ::-1])
    cv2.setRNGSeed(0)
    if (state == cv2.GC_BGD).any():
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(crop, state, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = (state == cv2.GC_PR_FGD) | (state == cv2.GC_FGD)
    return mask_to_rle(mask) if mask.any() else filled_box(entry, record, image)


def _decoded(entry: Any, record: Any) -> Mask:
    return segmentation_to_mask(entry["segmentation"], record["height"], record["width"])


MAKERS: dict[str, Callable[[Any, Any, Path], Any]] = {
    "filled boxes": filled_box,
    "ellipses": ellipse,
    "GrabCut": grabcut,
    "eroded 4 px": grown(-4),
    "dilated 4 px": grown(4),
    "eroded 2 px": grown(-2),
    "dilated 2 px": grown(2),
    "eroded 1 px": grown(-1),
    "dilated 1 px": grown(1),
    "human masks": human_mask,
}


def point(name: str, workdir: Path) -> dict[str, Any]:
    """What retention.json says about one kind of labels."""
    content = json.loads((workdir / "retention.json").read_text())
    (segmenter,) = content["segmenters"].values()
    return {
        "labels": name,
        "mask_iou": content["label_quality"]["mask_iou"]["all"],
        **{key: segmenter[key] for key in ("human", "pseudo", "retention", "interval", "runs")},
        "accounting": content["accounting"],
    }


def table(points: Iterable[dict[str, Any]]) -> str:
    """The numbers in percent."""
    rows = []
    for one in points:
        rows.append({"labels": one["labels"], "mask IoU": f"{one['mask_iou']:.3f}"})
        rows[-1]["AP of each seed"] = ", ".join(
            f"{100 * run['AP']:.1f}" for run in one["runs"]["pseudo"]
        )
        for metric in ("AP", "AP50", "AP75", "APbnd"):
            rows[-1][f"{metric} kept, %"] = percent(
                one["retention"][metric], one["interval"][metric]
            )
    return markdown_table(rows)


def draw(points: list[dict[str, Any]], target: Path) -> None:
    """Mask IoU against retention, with whiskers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for metric, color in (("AP50", "#228833"), ("AP", "#4477aa"), ("APbnd", "#ee6677")):
        known = [one for one in points if one["interval"][metric]]
        x = [one["mask_iou"] for one in known]
        y = [100 * one["retention"][metric] for one in known]
        ends = np.array([one["interval"][metric] for one in known]).T * 100
        below, above = np.maximum(y - ends[0], 0), np.maximum(ends[1] - y, 0)
        axes.errorbar(x, y, yerr=[below, above], fmt="o", color=color, label=metric, capsize=3)
    for one in points:
        place = one["mask_iou"], TOP + 1
        axes.annotate(
            one["labels"], place, fontsize=7, rotation=60, va="bottom", annotation_clip=False
        )
    axes.set_xlabel("mask IoU of the labels with the human masks")
    axes.set_ylabel("retention, % (95 % interval)")
    axes.set_ylim(-5, TOP)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(100, color="gray", linewidth=0.8)
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
