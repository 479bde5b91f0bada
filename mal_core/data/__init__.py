"""Readers of annotation formats: name -> function that gives a BoxDataset."""

from collections.abc import Callable

from mal_core.data.coco import read_boxes
from mal_core.types import BoxDataset

READERS: dict[str, Callable[..., BoxDataset]] = {"coco": read_boxes}
