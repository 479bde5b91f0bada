"""Foundation models that take boxes: SAM, SAM 2, the tracker of SAM 3, HQ-SAM (transformers).

The photo goes through the image encoder once; its boxes follow in the mask decoder. Boxes are
scaled by the model's own processor, from px of the photo to px of the encoder's input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.config.labelers import MemberConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.geometry.boxes import pixel_box
from mal_core.labelers.drawing import Drawing, Map, PixelBox
from mal_core.labelers.pretrained import load_pretrained, load_processor, telling_of
from mal_core.labelers.weights import EXTRA
from mal_core.models.precision import computes_in_bf16
from mal_core.types import BoxAnnotation

MOST_PIXELS = 1 << 25
"""Of masks at the size of the photo that exist together."""
SHOWN_TENSORS = 3


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Classes of transformers, and where they differ.

    Attributes:
        padded: Photos keep their shape and are padded to the encoder's square; else squeezed.
    """

    model: str
    processor: str
    image_processor: str
    padded: bool


_FAMILIES = {
    "sam": _Family(
        model="SamModel",
        processor="SamProcessor",
        image_processor="SamImageProcessor",
        padded=True,
    ),
    "hq_sam": _Family(
        model="SamHQModel",
        processor="SamHQProcessor",
        image_processor="SamImageProcessor",
        padded=True,
    ),
    "sam2": _Family(
        model="Sam2Model",
        processor="Sam2Processor",
        image_processor="Sam2ImageProcessor",
        padded=False,
    ),
    "sam3": _Family(
        model="Sam3TrackerModel",
        processor="Sam3TrackerProcessor",
        image_processor="Sam3ImageProcessor",
        padded=False,
    ),
}


class Foundation:
    """A model prompted with boxes.

    Args:
        folder: With config.json and model.safetensors; nothing else is read from there but the
            description of the preprocessing, if there is one.
        config: Which model, and how it draws.

    Raises:
        ConfigError: The installed transformers has no such class.
        CheckpointError: The weights do not fit the model.
    """

    def __init__(self, folder: Path, config: MemberConfig) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        family = _FAMILIES[config.name]
        self._padded = family.padded
        self.model = _model(family, folder).to(self.device).eval()
        self.processor = _processor(family, folder, self.model)
        self._bf16 = computes_in_bf16(config.precision, self.device)
        self._folder, self._has_run = folder, False

    @torch.inference_mode()
    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One drawing per box, in order; the confidence is the IoU that the model expects.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: In px of the image.

        Raises:
            CheckpointError: The model cannot run, or its logits are no numbers.
        """
        if not boxes:
            return
        with telling_of(self._folder, self.model, ran=self._has_run):
            embedding, prompts, inputs = self._prompted(image, boxes)
        per_pass = max(1, min(self.config.boxes_per_pass, MOST_PIXELS // image[..., 0].size))
        for start in range(0, len(boxes), per_pass):
            part = slice(start, start + per_pass)
            with telling_of(self._folder, self.model, ran=self._has_run):
                logits, scores = self._decoded(embedding, prompts[:, part], inputs)
            self._require_numbers(logits, scores)
            self._has_run = True
            for box, values, score in zip(boxes[part], logits, scores, strict=True):
                yield self._drawing(np.array(box.box_xyxy), values, float(score))

    def _require_numbers(self, logits: Tensor, scores: Tensor) -> None:
        if not (logits.isfinite().all() and scores.isfinite().all()):
            hint = f" Try {self.config.key}.precision=fp32." if self._bf16 else ""
            message = f"weights in {self._folder} draw masks of NaN or infinite logits.{hint}"
            raise CheckpointError(message)

    def _prompted(
        self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]
    ) -> tuple[dict[str, Any], Tensor, Any]:
        """A photo for the decoder: its embedding, its boxes, shape (1, n, 4), and its sizes."""
        corners = [list(box.box_xyxy) for box in boxes]
        # The size tells channels apart from rows: a photo may be 3 px wide.
        inputs = self.processor(
            images=[image],
            input_boxes=[corners],
            input_data_format="channels_last",
            return_tensors="pt",
        )
        prompts = inputs["input_boxes"].to(self.device, torch.float32)
        return self._embedding(inputs["pixel_values"]), prompts, inputs

    def _embedding(self, pixels: Tensor) -> dict[str, Any]:
        """What the decoder wants to know of the photo, as arguments of the model."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            found = self.model.get_image_embeddings(pixels.to(self.device))
        if isinstance(found, tuple):  # HQ-SAM: also features of early layers
            return {
                "image_embeddings": found[0].float(),
                "intermediate_embeddings": [level.float() for level in found[1]],
            }
        if isinstance(found, list):
            return {"image_embeddings": [level.float() for level in found]}
        return {"image_embeddings": found.float()}

    def _decoded(
        self, embedding: dict[str, Any], prompts: Tensor, inputs: Any
    ) -> tuple[Tensor, Tensor]:
        """Logits at the size of the photo, shape (n, H, W), and the IoUs expected, shape (n,)."""
        found = self.model(
            **embedding, input_boxes=prompts, multimask_output=self.config.best_of_three
        )
        scores = found.iou_scores[0].float()  # (n, masks per box)
        best = scores.argmax(1)
        rows = torch.arange(len(best), device=best.device)
        chosen = found.pred_masks[0][rows, best].float()  # (n, h, w)
        frame = [inputs["original_sizes"]]
        if self._padded:
            frame.append(inputs["reshaped_input_sizes"])
        (logits,) = self.processor.image_processor.post_process_masks(
            [chosen[:, None]], *frame, binarize=False
        )
        return logits[:, 0].cpu(), scores[rows, best].cpu()

    def _drawing(self, box: NDArray[np.float64], logits: Tensor, score: float) -> Drawing:
        height, width = logits.shape
        values: Map = logits.numpy()
        window = pixel_box(box, height, width) if self.config.cut_to_box else _extent(values)
        x0, y0, x1, y1 = window
        return Drawing(
            window_xyxy=window, logits=values[y0:y1, x0:x1].copy(), confidence=min(max(score, 0), 1)
        )


def _extent(logits: Map) -> PixelBox:
    """The smallest box that holds a mask; one pixel where it is empty."""
    mask = logits > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _transformers() -> Any:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _class(name: str) -> Any:
    package = _transformers()
    if not hasattr(package, name):
        message = (
            f"transformers {package.__version__} has no {name}. Install the version that this "
            f"project was tested with: {EXTRA}."
        )
        raise ConfigError(message)
    return getattr(package, name)


def _model(family: _Family, folder: Path) -> Any:
    model, lacking = load_pretrained(_class(family.model), folder)
    if lacking:  # they would stay random
        shown = ", ".join(lacking[:SHOWN_TENSORS])
        message = (
            f"weights in {folder} lack {len(lacking)} tensors of {family.model}: "
            f"{shown}{' ...' if len(lacking) > SHOWN_TENSORS else ''}."
        )
        raise CheckpointError(message)
    return model


def _processor(family: _Family, folder: Path, model: Any) -> Any:
    """The preprocessing that the weights describe, or their model's usual one.

    Raises:
        CheckpointError: It scales boxes to another frame than the encoder's.
    """
    side = _side(model)
    described = any((folder / f"{part}_config.json").is_file() for part in PREPROCESSING)
    if described:
        processor = load_processor(_class(family.processor), folder)
    else:
        square = {"height": side, "width": side}
        size = {"size": {"longest_edge": side}, "pad_size": square}
        image_processor = _class(family.image_processor)(
            **(size if family.padded else {"size": square})
        )
        processor = _class(family.processor)(image_processor)
    if processor.target_size != side:
        message = (
            f"weights in {folder}: boxes are scaled to {processor.target_size} px, but the "
            f"encoder takes {side} px. Its preprocessor_config.json belongs to another model."
        )
        raise CheckpointError(message)
    return processor


PREPROCESSING = ("preprocessor", "processor")


def _side(model: Any) -> int:
    """Side of the encoder's input, px."""
    size = getattr(model.config.vision_config, "image_size", None)
    if size is None:
        size = model.config.vision_config.backbone_config.image_size
    return int(size[0] if isinstance(size, list | tuple) else size)
