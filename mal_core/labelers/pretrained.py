"""Models of transformers from a folder: loaded whole and sound, or refused in one sentence."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mal_core.errors import CheckpointError, lacks_memory
from mal_core.labelers.weights import CONFIG, weight_files
from mal_core.models.safe_weights import not_finite
from mal_core.processes.files import READ_EVENT


def load_pretrained(kind: Any, folder: Path) -> tuple[Any, list[str]]:
    """A model with the weights of a folder, fp32, and the tensors that the folder lacks.

    Args:
        kind: A class of transformers with `from_pretrained`.
        folder: With config.json and safetensors; nothing else is read.

    Raises:
        CheckpointError: config.json describes no such model, tensors have other shapes than it
            says, or one holds a NaN or an infinity.
    """
    try:
        model, loaded = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below
            dtype=torch.float32,
        )
    except Exception as error:  # config.json can say anything, and each class fails in its way
        if lacks_memory(error):
            raise
        message = f"weights in {folder} do not fit {kind.__name__}: {_reason(error)}"
        raise CheckpointError(message) from error
    name = type(model).__name__
    misshaped = sorted((str(one), *map(list, sizes)) for one, *sizes in loaded["mismatched_keys"])
    if misshaped:
        tensor, here, wanted = misshaped[0]
        more = f", and {len(misshaped) - 1} more differ" if len(misshaped) > 1 else ""
        message = (
            f"weights in {folder} do not fit {name}: {tensor} has shape {here}, but by "
            f"{CONFIG} it is {wanted}{more}. Both files must be of one model."
        )
        raise CheckpointError(message)
    broken = not_finite(model.state_dict())
    if broken is not None:
        message = f"weights in {folder} hold a NaN or an infinity in {broken}. Download them again."
        raise CheckpointError(message)
    for path in weight_files(folder):
        if path.suffix == ".safetensors":  # opened without Python
            sys.audit(READ_EVENT, str(path))
    return model, sorted(loaded["missing_keys"])


def load_processor(kind: Any, folder: Path) -> Any:
    """The preprocessing that a folder describes.

    Raises:
        CheckpointError: It describes none that transformers can read.
    """
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the files can say anything
        message = f"weights in {folder}: their preprocessing cannot be read: {_reason(error)}."
        raise CheckpointError(message) from error


@contextlib.contextmanager
def telling_of(folder: Path, model: Any, *, ran: bool) -> Iterator[None]:
    """Tell of a model that cannot run; what fails after it `ran` once is another matter.

    Raises:
        CheckpointError: It cannot, as its folder describes it.
    """
    try:
        yield
    except Exception as error:  # whatever transformers and torch raise for sizes that differ
        if ran or isinstance(error, CheckpointError) or lacks_memory(error):
            raise
        message = (
            f"weights in {folder} make a {type(model).__name__} that does not run: "
            f"{_reason(error)}. {CONFIG} describes another model than theirs, or an impossible one."
        )
        raise CheckpointError(message) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
