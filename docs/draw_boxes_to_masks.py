"""Draw the README's picture: photos with their boxes above, the masks made from them below.

python docs/draw_boxes_to_masks.py OUTPUT.jpg LABELED.json IMAGES_DIR IMAGE_ID [IMAGE_ID ...]
"""

import argparse
import colorsys
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.loading import load_image
from mal_core.geometry.masks import segmentation_to_mask

Image = NDArray[np.uint8]

TILE_HEIGHT = 200
GAP = 6
OPACITY = 0.55


def color_of(index: int) -> tuple[int, int, int]:
    """Distinct bright colours."""
    red, green, blue = colorsys.hsv_to_rgb((index * 0.381966) % 1.0, 0.75, 1.0)
    return int(255 * red), int(255 * green), int(255 * blue)


def draw_boxes(image: Image, annotations: list[dict[str, Any]], scale: float) -> Image:
    """The photo with every box."""
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for index, annotation in enumerate(annotations):
        x, y, w, h = (round(value * scale) for value in annotation["bbox"])
        cv2.rectangle(shown, (x, y), (x + w, y + h), color_of(index), 2)
    return shown


def draw_masks(image: Image, annotations: list[dict[str, Any]], scale: float) -> Image:
    """The photo with every mask."""
    blended = image.astype(np.float32)
    outlines = []
    for index, annotation in enumerate(annotations):
        mask = segmentation_to_mask(annotation["segmentation"], *image.shape[:2])
        color = np.array(color_of(index), dtype=np.float32)
        blended[mask > 0] = blended[mask > 0] * (1 - OPACITY) + color * OPACITY
        large = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        outlines.append((cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0], index))
    shown = cv2.resize(
        blended.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    for contours, index in outlines:
        cv2.drawContours(shown, contours, -1, color_of(index), 1)
    return shown


def main() -> None:
    """Draw one column per image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("labeled", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("ids", type=int, nargs="+")
    given = parser.parse_args()
    content = json.loads(given.labeled.read_text())
    records = {record["id"]: record for record in content["images"]}
    columns = []
    for image_id in given.ids:
        image = load_image(given.images / records[image_id]["file_name"])
        annotations = [
            a for a in content["annotations"] if a["image_id"] == image_id and not a["iscrowd"]
        ]
        scale = TILE_HEIGHT / image.shape[0]
        pair = [draw(image, annotations, scale) for draw in (draw_boxes, draw_masks)]
        columns.append(cv2.vconcat([pair[0], np.full_like(pair[0][:GAP], 255), pair[1]]))
        columns.append(np.full((columns[-1].shape[0], GAP, 3), 255, np.uint8))
    picture = cv2.hconcat(columns[:-1])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88]
    cv2.imwrite(str(given.output), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)


if __name__ == "__main__":
    main()
