"""Files of weights whose opening, by a careless reader, leaves a file on the disk."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Payload:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def touching(mark: Path) -> Payload:
    return Payload(os.mkdir, str(mark))


def write_checkpoint(path: Path, mark: Path, content: dict[str, Any] | None = None) -> Path:
    """An honest checkpoint with one entry more, which makes the folder `mark`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**(content or {}), "extra": touching(mark)}, path)
    return path


def really_malicious(path: Path, mark: Path) -> bool:
    """Whether plain unpickling runs the payload; undone at once."""
    torch.load(path, weights_only=False)
    ran = mark.is_dir()
    if ran:
        mark.rmdir()
    return ran


def bare_pickle(mark: Path, protocol: int) -> bytes:
    return pickle.dumps(touching(mark), protocol=protocol)
