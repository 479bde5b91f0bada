"""The one reader of weights: tensors and plain values come in, nothing in a file is run.

A PyTorch file is a pickle, a small program that may call anything. Torch's restricted reader
calls an allow-list only; this one is the same list and, by name, inert stand-ins for what
honest trainings leave beside their tensors (numpy's numbers, argparse's settings, mmengine's
logs). Nobody's additions to torch's list count while a file is read, and nothing falls back.
"""

import argparse
import errno
import re
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load_file

from mal_core.errors import CheckpointError
from mal_core.processes.files import READ_EVENT

Source = Path | str | IO[bytes]

WANTED = "Wanted: .safetensors, or a PyTorch file that holds tensors and plain values only."
NUMBERS_AND_TEXTS = re.compile(r"[?biufcSU]\d{0,6}")
"""Types of numpy whose bytes are just that; others hold Python objects or are built of parts."""
DAMAGED = "it is damaged, or of another kind"
SHOWN_BYTES, SHOWN_CHARACTERS = 200, 30
NO_WEIGHTS = (
    (b"version https://git-lfs", "a pointer of git LFS; run `git lfs pull` where it lies"),
    (b"<", "a web page or XML; download the file itself"),
    (b"\x1f\x8b", "packed by gzip; unpack it"),
)
"""How files begin that are given as weights and hold none, in lower case."""
UNKNOWN_NAME = re.compile(r"GLOBAL (\S+)")
_torch_load = torch.load
"""Torch's own, although a child puts this reader in its place."""
_one_reader = threading.Lock()
"""Torch's list is one per process."""


class _DType:
    """Stands for numpy.dtype."""

    def __init__(self, code: object, *_flags: object) -> None:
        if not NUMBERS_AND_TEXTS.fullmatch(str(code)):
            message = f"numpy.dtype({code!r}) is neither a number nor a text"
            raise UnpicklingError(message)
        self.value = np.dtype(str(code))

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """Stands for numpy.ndarray; pickles as one again."""

    def __setstate__(self, state: Sequence[Any]) -> None:
        _version, shape, kind, fortran, content = state
        if not isinstance(kind, _DType) or not isinstance(content, bytes):
            message = "an array of Python objects"
            raise UnpicklingError(message)
        super().__setstate__((1, shape, kind.value, np.bool_(fortran), content))

    def __reduce__(self) -> Any:
        return np.array(self, subok=False).__reduce__()


def _empty_array(*_kind_shape_code: object) -> _Array:
    return np.ndarray.__new__(_Array, (0,))


def _scalar(kind: _DType, content: bytes) -> Any:
    return np.frombuffer(content, kind.value, count=1)[0]


def _nothing(*_arguments: object) -> None:
    """Stands for getattr, by which a pickle of protocol 2 names methods: none is fetched."""


class _Ignored:
    """Stands for a log of mmengine: whoever wants its numbers brings a stand-in of their own."""

    def __setstate__(self, _state: object) -> None:
        """What the log held stays in the file."""


STAND_INS: Mapping[str, Any] = {
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in (("scalar", _scalar), ("_reconstruct", _empty_array))
    },
    "numpy.dtype": _DType,
    "numpy.ndarray": _Array,
    "builtins.getattr": _nothing,
    "argparse.Namespace": argparse.Namespace,
    "mmengine.logging.history_buffer.HistoryBuffer": _Ignored,
    "mmengine.config.config.ConfigDict": dict,
    "addict.addict.Dict": dict,
}
"""What a name in a file is taken for."""


def read_weights(
    source: Source,
    what: str,
    *,
    map_location: Any = "cpu",
    stand_ins: Mapping[str, Any] | None = None,
) -> Any:
    """Read a file of weights: .safetensors, or PyTorch's, without running anything in it.

    Args:
        source: The file, or an open one.
        what: How messages call it, such as `checkpoint=FILE`.
        map_location: See torch.load.
        stand_ins: More of STAND_INS.

    Returns:
        What the file holds; a mapping of names to tensors for .safetensors.

    Raises:
        CheckpointError: It names code, or is no readable file of weights.
    """
    try:
        if isinstance(source, str | Path) and str(source).endswith(".safetensors"):
            sys.audit(READ_EVENT, str(source))
            return load_file(source)
        return _read_plain(source, map_location, {**STAND_INS, **(stand_ins or {})})
    except UnpicklingError as error:
        raise CheckpointError(refusal(error, what, _seen(source))) from error
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno == errno.EINVAL:  # torch, of half a zip
            message = f"{what} is no readable file of weights: {_seen(source)}. {WANTED}"
        else:
            message = f"{what} cannot be read ({error or 'memory ran out'})."
        raise CheckpointError(message) from error
    except Exception as error:  # torch raises half a dozen unrelated types here
        message = f"{what} is no readable file of weights: {_seen(source)}. {WANTED}"
        raise CheckpointError(message) from error


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The first of named tensors that holds a NaN or an infinity; None where none does."""
    floats = (
        (name, value)
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )
    return next((name for name, value in floats if not torch.isfinite(value).all()), None)


def _seen(source: Source) -> str:
    """What a file that cannot be read as weights looks like, in words."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as stream:
            start = stream.read(SHOWN_BYTES)
    else:
        source.seek(0)
        start = source.read(SHOWN_BYTES)
    if not start:
        return "it is empty"
    kind = next((kind for sign, kind in NO_WEIGHTS if start.lstrip().lower().startswith(sign)), "")
    if kind:
        return f"it is {kind}"
    if start[8:10] == b'{"' and not str(source).endswith(".safetensors"):
        return "it looks like safetensors; end its name with .safetensors"
    if start.startswith(b"PK\x03\x04") and str(source).endswith(".safetensors"):
        return "it looks like a PyTorch file; end its name with .pth"
    text = start.decode("utf-8", errors="ignore")
    if text.replace("\n", " ").replace("\t", " ").replace("\r", " ").isprintable():
        return f"it is text, which begins with {text[:SHOWN_CHARACTERS]!r}"
    return DAMAGED


def refusal(error: BaseException, what: str, seen: str = DAMAGED) -> str:
    """What a restricted reader found in a file, in one sentence.

    Args:
        error: What it raised.
        what: How messages call the file.
        seen: What the file looks like, where the error names no code.
    """
    found = UNKNOWN_NAME.search(str(error))
    if found is None:
        return f"{what} is no readable file of weights: {seen}. {WANTED}"
    return (
        f"{what} is refused: to open it is to call {found[1]}, which is code and no weights. "
        f"Nothing of it was run. {WANTED}"
    )


def _read_plain(source: Source, map_location: Any, stand_ins: Mapping[str, Any]) -> Any:
    allowed: list[Any] = [(value, name) for name, value in stand_ins.items()]
    with _one_reader, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about files of other kinds
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)
        try:
            return _torch_load(source, map_location=map_location, weights_only=True)
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)
