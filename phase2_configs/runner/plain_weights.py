"""Every file of weights that mmengine, mmdet, mmpretrain or timm open here goes through one reader.

mmengine's own loader unpickles anything that torch's restricted one refuses. It has half a
dozen ways to a file (paths, http, the zoos, object storage); all end in `torch.load`, so that
is what `install` replaces, in the whole process and before any of them can open a file.
"""

from typing import Any

import mmengine.runner.checkpoint
import numpy as np
import torch
import yaml
from mmengine.fileio.handlers import PickleHandler, yaml_handler
from mmengine.logging.history_buffer import HistoryBuffer

from mal_core.errors import ConfigError
from mal_core.models import safe_weights

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is: mmengine parses a hundred of mmdet's files to find one config by name."""
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
HISTORY_KEYS = ("_log_history", "_count_history", "max_length")


class _History(HistoryBuffer):
    """Stands for mmengine's log of a number: its numbers, and none of the methods beside them."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        log, counts, length = (state[key] for key in HISTORY_KEYS)
        self.__class__ = HistoryBuffer  # so it is pickled under its own name again
        self.__init__(np.array(log, subok=False), np.array(counts, subok=False), int(length))


def install() -> None:
    """Replace torch's and mmengine's loaders in this process. Twice is once."""
    torch.load = torch.serialization.load = _load
    mmengine.runner.checkpoint._safe_torch_load = _load
    PickleHandler.load_from_fileobj = PickleHandler.load_from_path = _refuse_pickle
    yaml_handler.Loader = SAFE_LOADER  # the one it takes builds any Python object


def _load(f: Any, map_location: Any = None, *_arguments: Any, **_options: Any) -> Any:
    """In place of torch.load; whatever else a caller asks for, nothing is unpickled."""
    name = getattr(f, "name", f)
    what = f"weights file {name}" if isinstance(name, str) or hasattr(name, "parts") else "weights"
    return safe_weights.read_weights(
        f, what, map_location=map_location, stand_ins={HISTORY: _History}
    )


def _refuse_pickle(_handler: Any, file: Any, **_options: Any) -> Any:
    name = f"{file}: " if isinstance(file, str) else ""
    message = f"{name}pickle files are not opened, they can run code. Give JSON instead."
    raise ConfigError(message)
