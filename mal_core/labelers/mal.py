"""A trained labeler to call from Python: masks for the boxes of an array, or of a file.

It runs what the command `mal label` runs, so both give the same masks. Scores are the same up to
320 boxes; of more the command fits its scores to them first, and `label` knows only its own image.
Letters of shapes: N boxes, H W pixels of the image.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mal_core.config import AnnotationFormat, MalConfig
from mal_core.config.labelers import LabelerConfig
from mal_core.data.images.frames import Orientation
from mal_core.errors import ConfigError, RecordError
from mal_core.geometry.arrays import checked_boxes, checked_image
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.labelers.files import Labeling, label_into, output_of
from mal_core.labelers.recipes import drawer_recipe, labeler_recipe
from mal_core.labelers.registry import labeling_config, photo_labeler
from mal_core.labelers.weights import with_local_weights
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo, PhotoLabeler
from mal_core.models import checkpoints
from mal_core.processes.files import Place, path_of, sha256_file
from mal_core.processes.records import from_json, to_json
from mal_core.types import BoxAnnotation, ImageRecord, PseudoLabel, PseudoLabelSet


class LabeledBoxes(NamedTuple):
    """What became of the boxes of one image, in their order.

    Attributes:
        masks: bool, shape (N, H, W); inside their boxes.
        scores: Expected IoU of each mask with a careful human's, float64 in [0, 1], shape (N,);
            0 where the mask is empty. How it is made: docs/method.md.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64]


class Labeler:
    """Whoever draws masks; `load_labeler` and `train_labeler` make one.

    Attributes:
        config: How it draws; of our own network MalConfig, else LabelerConfig.
        checkpoint: The file that our own network was read from; None for other labelers.
    """

    def __init__(
        self,
        writer: PhotoLabeler,
        config: MalConfig | LabelerConfig,
        *,
        checkpoint: Path | None = None,
        weights: str | None = None,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self._weights = weights
        self._writer = writer

    def label(self, image: NDArray[np.uint8], boxes_xyxy: NDArray[Any]) -> LabeledBoxes:
        """Masks for the boxes of one image.

        Pixels are those of `load_image` where a file's masks shall be those of the command.
        All boxes share forward passes, as those of a file's photo do when it is labeled alone;
        in other company the last bits of a probability may differ.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes_xyxy: x0, y0, x1, y1 in px of the image, half-open, numbers of any type, shape
                (N, 4). Up to 2 px beyond the border are clipped. N may be 0.

        Returns:
            Masks and scores, to be unpacked: `masks, scores = labeler.label(image, boxes)`. A box
            without size, or in which the labeler finds nothing, has an empty mask and score 0.

        Raises:
            ArgumentError: A shape or a type is another, or a box is outside of the image.
        """
        pixels = checked_image(image)
        height, width = pixels.shape[:2]
        corners = checked_boxes(boxes_xyxy, width, height)
        record = ImageRecord(image_id=0, file_name="", height=height, width=width)
        usable = [
            BoxAnnotation(annotation_id=index, image_id=0, category_id=0, box_xyxy=(x0, y0, x1, y1))
            for index, (x0, y0, x1, y1) in enumerate(corners.tolist())
            if x1 > x0 and y1 > y0
        ]
        masks = np.zeros((len(corners), height, width), dtype=np.bool_)
        scores = np.zeros(len(corners), dtype=np.float64)
        photo = Photo(record=record, boxes=tuple(usable), source=pixels)
        for outcome in self._writer.outcomes([photo]):
            if isinstance(outcome, PseudoLabel):
                masks[outcome.annotation_id] = segmentation_to_mask(outcome.rle, height, width)
                scores[outcome.annotation_id] = outcome.score
        return LabeledBoxes(masks, scores)

    def label_file(
        self,
        images: Place,
        annotations: Place,
        output: Place,
        *,
        format: AnnotationFormat = "coco",  # noqa: A002 -- the setting's name
        strict: bool = False,
        orientation: Orientation = "auto",
    ) -> PseudoLabelSet:
        """Write a mask for every box of a file, as `mal label` does.

        Boxes without a mask are listed with their reasons in `NAME.skipped.json` beside the output.
        What was interrupted continues when it is called again.

        Args:
            images: Folder of the photos.
            annotations: COCO file with boxes, or what `format` says: a folder for voc and yolo.
            output: Receives the boxes with their masks, in the format they came in; a text that
                ends with a slash is a folder, for `train.json` in it.
            format: How the annotations are written.
            strict: Also refuse overhang of up to 2 px, zero-size boxes and crowds.
            orientation: Pixels that boxes refer to where EXIF and sizes leave it open.

        Returns:
            How many boxes there were, and what became of them.

        Raises:
            DatasetError: Carries every problem of the annotations and of their images.
            ConfigError: The output would replace the input, or there is no such format or
                orientation.
            ArgumentError: A place is no path.
        """
        work = Labeling(
            images=path_of(images, "images"),
            annotations=path_of(annotations, "annotations"),
            output=output_of(output, format),
            format=format,
            strict=strict,
            orientation=orientation,
        )
        settings = [self._weights, dataclasses.asdict(self.config)]
        return label_into(work, self._writer, settings)


def load_labeler(
    checkpoint: Place | None = None, *, labeler: str = "mal", **settings: Any
) -> Labeler:
    """Make a labeler: our own network from its file, or one that needs no training here.

    Args:
        checkpoint: Of our own network, alone or in an ensemble: the file that `mal train`,
            `train_labeler` or the paper's own code has written, such as
            `runs/mine/mal/checkpoint.pth`.
        labeler: Who draws; a name in `conf/labeler`.
        settings: How to draw: of our own network all settings that decide labels, where they
            shall differ from those it was trained with (`mask_threshold=0.4`); of other
            labelers the fields of `LabelerConfig`, such as `weights="facebook/sam-vit-base"`.

    Raises:
        CheckpointError: The file is absent or none of a labeler; the weights do not fit.
        ConfigError: A setting does not exist, is impossible, or decides the network instead; a
            package or weights are absent.
        ArgumentError: The checkpoint is no path.
    """
    if labeler == "mal":
        if checkpoint is None:
            message = "load_labeler: labeler='mal' needs a checkpoint, such as 'checkpoint.pth'."
            raise ConfigError(message)
        path = path_of(checkpoint, "checkpoint")
        network, trained = checkpoints.load_labeler(path)
        config = _with_choices(trained, settings)
        writer = MaskWriter(network, config)
        return Labeler(writer, config, checkpoint=path, weights=sha256_file(path))
    return _other_labeler(
        labeler, None if checkpoint is None else path_of(checkpoint, "checkpoint"), settings
    )


def _other_labeler(labeler: str, path: Path | None, settings: dict[str, Any]) -> Labeler:
    chosen = drawer_recipe(labeler, **settings)
    if (path is not None) != chosen.is_trained:
        message = f"load_labeler: labeler={labeler!r} takes no checkpoint."
        if chosen.is_trained:
            message = f"load_labeler: {labeler!r} has mal for a member, which needs a checkpoint."
        raise ConfigError(message)
    found, weights = with_local_weights(chosen)
    mal, own = labeler_recipe(), None
    if path is not None:
        own, mal = sha256_file(path), checkpoints.load_labeler(path)[1]
    writer = photo_labeler(found, path, mal)
    digest = weights if own is None else f"{own} {weights}"
    return Labeler(writer, chosen, checkpoint=path, weights=digest)


def _with_choices(trained: MalConfig, settings: dict[str, Any]) -> MalConfig:
    try:
        wanted = from_json(MalConfig, to_json({**to_json(trained), **settings}), "mal")
    except RecordError as error:
        message = f"load_labeler: {error}"
        raise ConfigError(message) from error
    chosen = labeling_config(trained, wanted)
    fixed = [key for key in settings if getattr(chosen, key) != getattr(wanted, key)]
    if fixed:
        message = (
            f"load_labeler: {', '.join(fixed)} was decided when the labeler was trained and cannot "
            "change now. Leave it out, or train another labeler."
        )
        raise ConfigError(message)
    return chosen
