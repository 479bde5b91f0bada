"""Notes which modules one box passes.

It passes those in which a function takes or returns a value made from it, those of the callers
through which it got there, and those of the callers that start a process for it. The box has
numbers that nothing else has. A value is made from it if it is its id or one of its
coordinates, a text or an array that holds one, or a container or frozen record of such values,
three levels deep. Objects with a state of their own (a run, a store, a network) are not looked
into: what they keep is not what is passed.
"""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ANNOTATION_ID = 700123
BOX_XYWH = (23.28125, 17.15625, 40.53125, 31.40625)
NUMBERS = {ANNOTATION_ID, *BOX_XYWH, BOX_XYWH[0] + BOX_XYWH[2], BOX_XYWH[1] + BOX_XYWH[3]}
TEXTS = tuple(map(str, NUMBERS))
DEPTH = 3
ITEMS = 200
CELLS = 100_000
TEXT_LENGTH = 100_000


def watch() -> None:
    """From now on, in this process and all its threads."""
    packages = os.environ["HOUSE_PACKAGES"].split(os.pathsep)
    _Watch(Path(os.environ["HOUSE_NOTES"]), os.environ["HOUSE_ROOT"], packages).start()


class _Watch:
    def __init__(self, notes: Path, root: str, packages: Sequence[str]) -> None:
        self.notes = notes / f"{os.getpid()}.held"
        self.root = root.rstrip("/") + "/"
        # Not all of the root: an environment in it has code of others, which is no room of ours.
        self.watched = tuple(f"{self.root}{package}/" for package in packages)
        self.seen: set[str] = set()

    def start(self) -> None:
        sys.addaudithook(self._started)
        threading.setprofile(self)
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, given: object) -> None:
        if event not in ("call", "return"):
            return
        file = frame.f_code.co_filename
        if not file.startswith(self.watched) or file in self.seen:
            return
        sys.setprofile(None)  # looking must not be looked at
        try:
            values = [given] if event == "return" else list(frame.f_locals.values())
            if any(holds(value, DEPTH) for value in values):
                self._note(frame)
        finally:
            sys.setprofile(self)

    def _started(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen":
            self._note(sys._getframe())

    def _note(self, frame: FrameType) -> None:
        files = [outer.f_code.co_filename for outer in reversed(_stack(frame))]
        passed = [file for file in files if file.startswith(self.watched) and file not in self.seen]
        self.seen.update(passed)
        with self.notes.open("a") as notes:
            for file in dict.fromkeys(passed):
                notes.write(f"{time.time_ns()} {file.removeprefix(self.root)}\n")


def _stack(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def holds(value: Any, depth: int) -> bool:
    """Whether a value is made from the box."""
    if isinstance(value, int | float):
        return value in NUMBERS
    if isinstance(value, str):
        return any(text in value[:TEXT_LENGTH] for text in TEXTS)
    if isinstance(value, bytes):
        return any(text.encode() in value[:TEXT_LENGTH] for text in TEXTS)
    if _is_array(value):
        return _array_holds(value)
    return depth > 0 and any(holds(part, depth - 1) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*list(value)[:ITEMS], *list(value.values())[:ITEMS]]
    if isinstance(value, tuple | list | set | frozenset):
        return list(value)[:ITEMS]
    # The type is asked: an object may answer itself, and fail while it is being built.
    parameters = getattr(type(value), "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        return []
    return [getattr(value, field.name, None) for field in dataclasses.fields(value)]


def _is_array(value: Any) -> bool:
    kind = type(value)
    return (kind.__module__, kind.__name__) in (("numpy", "ndarray"), ("torch", "Tensor"))


def _array_holds(value: Any) -> bool:
    try:
        cells = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        if cells.dtype.kind not in "iuf" or cells.itemsize < 4 or cells.size > CELLS:
            return False
        return bool(sum((cells == number).any() for number in NUMBERS))
    except (RuntimeError, TypeError):  # a tensor of a compiled graph, a tensor without storage
        return False
