"""The worst and an even spread of the masks of one or more files of labels, side by side.

    python -m benchmarks.contact_sheets OUT --images DIR --human FILE \
        --labels before=FILE after=FILE [--objects 30] [--photos LIST]

A sheet shows one object per tile pair: its mask of each file of labels in orange, its box in blue,
the human outline in green, and the IoU below. For each file there is `worst_NAME.webp`, its lowest
IoUs; `spread.webp` has every n-th object in the order of the last file. Only objects that all
files and the human file know count; LIST holds names of the photos that may be shown, one a line.
`photos.md` says whose the shown photos are, as far as the human file knows.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco
from mal_core.evaluation.agreement import measure_agreement
from mal_core.evaluation.masked import MaskedObject, masks_by_id, read_masked
from mal_core.report.gallery import Painter
from mal_core.report.text_tables import markdown_table

TILE_PX, CAPTION_PX, GAP_PX = 148, 16, 6
MOST_BYTES = 250_000
QUALITIES = range(88, 20, -6)
WORST, SPREAD = "worst", "spread"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One object as each file of labels draws it.

    Attributes:
        drawn: By the name of the file.
        ious: Of its mask in each file with the human mask.
    """

    drawn: Mapping[str, MaskedObject]
    ious: Mapping[str, float]

    @property
    def photo(self) -> str:
        """File name of its photo."""
        return next(iter(self.drawn.values())).image.file_name


def main() -> None:
    """Choose, draw and write all sheets."""
    options = _options()
    labels = {name: Path(path) for name, _, path in (one.partition("=") for one in options.labels)}
    subjects = read_subjects(labels, options.human)
    if options.photos is not None:
        shown = set(options.photos.read_text().split())
        subjects = [one for one in subjects if one.photo in shown]
    sheets = choose(subjects, list(labels), options.objects)
    options.out.mkdir(parents=True, exist_ok=True)
    painter = Painter(options.images, masks_by_id(options.human))
    for name, chosen in sheets.items():
        write_sheet(options.out / f"{name}.webp", chosen, painter, options.columns)
        means = ", ".join(
            f"{label} {np.mean([one.ious[label] for one in chosen]):.3f}" for label in labels
        )
        sys.stdout.write(f"{name}: {len(chosen)} of {len(subjects)} objects, mean IoU {means}\n")
    photos = {one.photo for chosen in sheets.values() for one in chosen}
    (options.out / "photos.md").write_text(f"{owners(options.human, photos)}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--human", type=Path, required=True)
    parser.add_argument("--labels", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--objects", type=int, default=30)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--photos", type=Path, help="names of the photos that may be shown")
    return parser.parse_args()


def read_subjects(labels: Mapping[str, Path], human: Path) -> list[Subject]:
    """The objects that all files have in common, in the order of the human file."""
    drawn = {
        name: {one.annotation_id: one for one in read_masked(path).objects}
        for name, path in labels.items()
    }
    ious = {
        name: {one.annotation_id: one.mask_iou for one in measure_agreement(path, human).objects}
        for name, path in labels.items()
    }
    return [
        Subject(
            drawn={name: drawn[name][key] for name in labels},
            ious={name: ious[name][key] for name in labels},
        )
        for key in next(iter(ious.values()))
        if all(key in drawn[name] and key in ious[name] for name in labels)
    ]


def choose(
    subjects: Sequence[Subject], names: Sequence[str], count: int
) -> dict[str, list[Subject]]:
    """By sheet: the lowest IoUs of each file, and an even spread in the order of the last."""
    ranked = {name: sorted(subjects, key=lambda one: one.ious[name]) for name in names}
    sheets = {f"{WORST}_{name}": ranked[name][:count] for name in names}
    places = np.linspace(0, len(subjects) - 1, min(count, len(subjects))).round().astype(int)
    return {**sheets, SPREAD: [ranked[names[-1]][place] for place in places]}


def write_sheet(path: Path, subjects: Iterable[Subject], painter: Painter, columns: int) -> None:
    """One picture of all subjects, `columns` in a row, as good as fits into MOST_BYTES."""
    cells = [_cell(one, painter) for one in subjects]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % min(columns, len(cells)))
    width = min(columns, len(cells))
    rows = [cv2.hconcat(cells[start : start + width]) for start in range(0, len(cells), width)]
    sheet = cv2.vconcat(rows)
    for quality in QUALITIES:
        _, encoded = cv2.imencode(".webp", sheet, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if encoded.nbytes <= MOST_BYTES:
            break
    path.write_bytes(encoded.tobytes())


def _cell(subject: Subject, painter: Painter) -> NDArray[np.uint8]:
    """A subject as all files draw it, in a row, BGR."""
    gap = np.full((TILE_PX + CAPTION_PX + GAP_PX, GAP_PX, 3), 255, np.uint8)
    tiles = [
        _tile(painter.paint(one), f"{name} {subject.ious[name]:.2f}")
        for name, one in subject.drawn.items()
    ]
    return np.asarray(cv2.hconcat([*tiles, gap]))


def _tile(jpeg: bytes, caption: str) -> NDArray[np.uint8]:
    """A picture in the middle of a square, with its caption below, BGR."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
    scale = TILE_PX / max(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    tile = np.full((TILE_PX + CAPTION_PX + GAP_PX, TILE_PX + 2, 3), 255, np.uint8)
    top, left = (TILE_PX - size[1]) // 2, (TILE_PX - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    place = (2, TILE_PX + CAPTION_PX - 4)
    cv2.putText(tile, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def owners(human: Path, photos: Iterable[str]) -> str:
    """Markdown: each shown photo, where it is from and its licence; COCO's fields."""
    content: dict[str, Any] = parse_coco(human)
    names = {entry["id"]: entry["name"] for entry in content.get("licenses", [])}
    shown = set(photos)
    return markdown_table(
        [
            {
                "photo": entry["file_name"],
                "from": str(entry.get("flickr_url", "")),
                "licence": str(names.get(entry.get("license"), "")),
            }
            for entry in content["images"]
            if entry["file_name"] in shown
        ]
    )


if __name__ == "__main__":
    main()
