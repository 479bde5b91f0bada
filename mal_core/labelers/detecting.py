"""Words to boxes: what an open-vocabulary detector finds in photos, as `boxes=` reads it.

    python -m mal_core.labelers.detecting --weights IDEA-Research/grounding-dino-tiny \
        --images photos --words "traffic light" bicycle --output found

Grounding DINO, OWL-ViT and OWLv2 through transformers. Leaves found/boxes.json, a COCO results
list, and found/instances.json, the photos, one class for each word, and the boxes again. Each
word is looked for by itself: a detector that is given several at once answers with parts of them,
and with mixtures.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from mal_core.data.images.frames import turned
from mal_core.data.images.headers import read_header
from mal_core.data.images.loading import load_image
from mal_core.errors import ConfigError, DatasetError, MalCoreError
from mal_core.formats.folder_files import IMAGE_SUFFIXES
from mal_core.formats.text_rows import pictures_below
from mal_core.labelers.pretrained import load_pretrained, load_processor, telling_of
from mal_core.labelers.weights import find_detector, require_transformers
from mal_core.processes.own_file import check_own, write_own_json
from mal_core.processes.places import FOLDER, check_place

FAMILIES = ("grounding-dino", "owlv2", "owlvit")
"""`model_type` of the detectors that this knows how to ask."""
FILES = ("instances.json", "boxes.json")
THRESHOLD = 0.25
SAME = 0.7
"""IoU from which two boxes are of one object; the one with the better score stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Boxes of one photo.

    Attributes:
        boxes_xyxy: In px of the photo, inside it, float, shape (N, 4).
        words: Index of the word that each was found by, shape (N,).
        scores: In [0, 1], shape (N,).
    """

    boxes_xyxy: NDArray[np.float64]
    words: NDArray[np.int64]
    scores: NDArray[np.float64]


class Detector:
    """An open-vocabulary detector.

    Args:
        weights: A name on the hub, or a folder with configuration, tokenizer and safetensors.

    Raises:
        ConfigError: transformers is not installed, or the weights are of another kind of model.
        CheckpointError: The weights are not complete.
    """

    def __init__(self, weights: str) -> None:
        require_transformers("mal_core.labelers.detecting")
        folder = find_detector(weights, FAMILIES)
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.processor: Any = load_processor(AutoProcessor, folder)
        model, _ = load_pretrained(AutoModelForZeroShotObjectDetection, folder)
        self.model = model.to(self.device).eval()
        self._dotted = self.model.config.model_type == "grounding-dino"
        self._folder, self._has_run = folder, False

    def require_short(self, words: Sequence[str]) -> None:
        """Refuse what the text encoder cannot read whole.

        Raises:
            ConfigError: A phrase has more tokens than the model has positions.
        """
        described = self.model.config
        limits = [
            getattr(described.text_config, "max_position_embeddings", None),
            getattr(described, "max_text_len", None),
        ]
        limit = min((one for one in limits if one is not None), default=None)
        for word in words:
            count = len(self.processor.tokenizer(self._asked(word), verbose=False).input_ids)
            if limit is not None and count > limit:
                message = (
                    f"--words {word!r} is too long: asked as {self._asked(word)!r} it has {count} "
                    f"tokens, and this detector reads {limit}. Shorten it."
                )
                raise ConfigError(message)

    def _asked(self, word: str) -> str:
        return f"{word.lower().rstrip('.')}." if self._dotted else f"a photo of a {word}"

    def find(self, image: NDArray[np.uint8], words: Sequence[str], threshold: float) -> Found:
        """What each word finds in a photo, one box for an object that several find.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            words: What to look for.
            threshold: Least score of a box, in [0, 1].
        """
        parts = [self._find(image, word, threshold) for word in words]
        boxes = torch.cat([boxes for boxes, _ in parts])
        scores = torch.cat([scores for _, scores in parts])
        index = torch.cat([torch.full((len(s),), n) for n, (_, s) in enumerate(parts)])
        inside = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        boxes, scores, index = boxes[inside], scores[inside], index[inside]
        kept = nms(boxes, scores, SAME)
        return Found(
            boxes_xyxy=boxes[kept].double().numpy(),
            words=index[kept].numpy(),
            scores=scores[kept].double().numpy(),
        )

    @torch.inference_mode()
    def _find(self, image: NDArray[np.uint8], word: str, threshold: float) -> tuple[Tensor, Tensor]:
        """Boxes, shape (N, 4), and their scores, shape (N,)."""
        height, width = image.shape[:2]
        text: Any = self._asked(word) if self._dotted else [[self._asked(word)]]
        with telling_of(self._folder, self.model, ran=self._has_run):
            given = self.processor(images=image, text=text, return_tensors="pt").to(self.device)
            outputs = self.model(**given)
        self._has_run = True
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs, threshold=threshold, target_sizes=[(height, width)]
        )
        boxes = found["boxes"].float().cpu()
        limits = torch.tensor([width, height, width, height])
        return boxes.clamp(min=0).minimum(limits), found["scores"].float().cpu()


def detect(
    detector: Detector, images: Path, words: Sequence[str], output: Path, *, threshold: float
) -> int:
    """Look for words in all photos of a folder; leaves boxes.json and instances.json.

    Args:
        detector: Who looks.
        images: Folder of the photos.
        words: What to look for, each a class.
        output: Folder that receives both files.
        threshold: Least score of a box, in [0, 1].

    Photos are looked at as viewers show them, and listed with the size that they have so.

    Returns:
        How many boxes were found.

    Raises:
        ConfigError: A phrase is too long for the detector.
        DatasetError: There is no photo, one cannot be decoded, or nothing was found.
    """
    detector.require_short(words)
    listed: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, path in enumerate(_photos(images), start=1):
        image = turned(load_image(path), read_header(path).orientation)
        height, width = image.shape[:2]
        name = path.relative_to(images).as_posix()
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        boxes += _entries(number, detector.find(image, words, threshold))
    if not boxes:
        problem = f"nothing was found in {len(listed)} photos: lower --threshold={threshold:g}."
        raise DatasetError(images, [problem])
    output.mkdir(parents=True, exist_ok=True)
    classes = [{"id": number, "name": word} for number, word in enumerate(words, start=1)]
    annotations = [{"id": number, "iscrowd": 0, **box} for number, box in enumerate(boxes, start=1)]
    content = {"images": listed, "annotations": annotations, "categories": classes}
    for name, value in zip(FILES, (content, boxes), strict=True):
        write_own_json(output / name, value)
    return len(boxes)


def _photos(folder: Path) -> list[Path]:
    found = pictures_below(folder)
    if not found:
        problem = f"no photo lies there; wanted {', '.join(sorted(IMAGE_SUFFIXES))}."
        raise DatasetError(folder, [problem])
    return found


def _entries(image_id: int, found: Found) -> Iterator[dict[str, Any]]:
    """A photo's part of a COCO results list."""
    for box, word, score in zip(found.boxes_xyxy, found.words, found.scores, strict=True):
        x0, y0, x1, y1 = (float(value) for value in box)
        yield {
            "image_id": image_id,
            "category_id": int(word) + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(score),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Detect as the command line says; 2 where something is wrong with it."""
    parser = argparse.ArgumentParser(
        prog="python -m mal_core.labelers.detecting", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--weights", required=True, help="name on the hub, or a folder")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--words", nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    given = parser.parse_args(arguments)
    try:
        _check(given)
        count = detect(
            Detector(given.weights), given.images, given.words, given.output,
            threshold=given.threshold,
        )  # fmt: skip
    except MalCoreError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{count} boxes in {given.output / FILES[1]}\n")
    return 0


def _check(given: argparse.Namespace) -> None:
    words = [word.strip() for word in given.words]
    if not all(words):
        message = "--words: one of them is empty. Give what to look for."
        raise ConfigError(message)
    if len({word.lower() for word in words}) < len(words):
        listed = " ".join(map(repr, given.words))
        message = f"--words {listed}: one is there twice; wanted different words."
        raise ConfigError(message)
    if not 0 <= given.threshold < 1:
        message = f"--threshold {given.threshold:g} is not possible: wanted in [0, 1)."
        raise ConfigError(message)
    if not given.images.is_dir():
        message = f"--images {given.images}: no such folder."
        raise ConfigError(message)
    check_place(given.output, [given.images], kind=FOLDER, told=f"--output {given.output}")
    for name in FILES:
        place = given.output / name
        check_place(place, told=f"--output {given.output}: {place}")
        check_own(place, f"--output {given.output}: {place}")


if __name__ == "__main__":
    sys.exit(main())
