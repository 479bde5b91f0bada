"""Everything this project raises on purpose.

MalCoreError
  ConfigError(ValueError)    a setting is impossible
  ArgumentError(ValueError)  an array that Python code gives is wrong
  DatasetError(ValueError)   an input file is wrong; carries the list of all problems
  MaskError(ValueError)      a mask cannot be read; whoever knows its file says where it is
  CheckpointError            weights do not fit what they are loaded into
  ArtifactError              a stored file is absent or its content changed
    RecordError(ValueError)  ... or has other fields than this version writes
  LabelingError              the accounting of boxes does not add up
  TrainingError              phase 1 cannot go on (NaN, divergence)
  LeakError                  phase 1 was given masks, or read some
  TimeIsUpError              the run has used up the time that its user gave it
  NodeError                  another machine of a run has ended, failed or never came
  WorkerError                a child process failed; carries return code, log path and last lines
    SegmenterError           ... while training a segmenter
"""

import contextlib
import errno
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

SHOWN_PROBLEMS = 20
SHOWN_CHARACTERS = 600
"""Of one problem, whose sentence may quote a name of any length."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but line ends and tabs; what turns the direction of text; half characters."""


def printable(text: str) -> str:
    """Text that can do nothing to a terminal: names from files may hold escape codes."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def shortened(problem: str) -> str:
    """A sentence with its middle left out where it quotes something very long."""
    if len(problem) <= SHOWN_CHARACTERS:
        return problem
    half = SHOWN_CHARACTERS // 2
    left = len(problem) - 2 * half
    return f"{problem[:half]} [... {left} characters ...] {problem[-half:]}"


class MalCoreError(Exception):
    """Base of every error that a user or a file can cause."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message alone, which many of these refuse:
        # an error on its way back from a worker of Dask or Ray would become another one.
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(
    kind: type[MalCoreError], arguments: tuple[Any, ...], attributes: dict[str, Any]
) -> MalCoreError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class ConfigError(MalCoreError, ValueError):
    """A setting is impossible; the message names its key."""


class ArgumentError(MalCoreError, ValueError):
    """What Python code gives is wrong; the message names the argument, what it is and should be."""


class DatasetError(MalCoreError, ValueError):
    """An input file is wrong.

    All problems of one file are reported together; the message shows the first
    20 and counts the rest.

    Attributes:
        path: The file, the first one where there are several.
        problems: One sentence each.
        parts: Each wrong file with its own problems.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        self.parts: tuple[tuple[Path, tuple[str, ...]], ...] = ((path, self.problems),)
        shown = [f"  - {shortened(problem)}" for problem in self.problems[:SHOWN_PROBLEMS]]
        hidden = len(self.problems) - len(shown)
        if hidden > 0:
            shown.append(f"  ... and {hidden} more")
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        super().__init__("\n".join([f"{path}: {count} {noun}", *shown]))

    @classmethod
    def together(cls, errors: Sequence[Self]) -> Self:
        """One error for several wrong files; each keeps its own heading and list."""
        problems = [f"{error.path}: {problem}" for error in errors for problem in error.problems]
        combined = cls(errors[0].path, problems)
        combined.args = ("\n".join(str(error) for error in errors),)
        combined.parts = tuple(part for error in errors for part in error.parts)
        return combined


def raise_together(errors: Sequence[DatasetError]) -> None:
    """Raise what is wrong with several files as one error; nothing where nothing is.

    Raises:
        DatasetError: There is an error.
    """
    if errors:
        raise errors[0] if len(errors) == 1 else DatasetError.together(errors)


@contextlib.contextmanager
def told_of(own: Mapping[Path, Path]) -> Iterator[None]:
    """Errors about copies (the keys) as errors about the user's own files (the values)."""
    try:
        yield
    except DatasetError as error:
        raise renamed(error, own) from error


def renamed(error: DatasetError, own: Mapping[Path, Path]) -> DatasetError:
    """The same error about the user's own files (the values) instead of copies (the keys)."""

    def told(text: str) -> str:
        for copy, file in own.items():
            text = text.replace(str(copy), str(file))
        return text

    again = DatasetError(error.path, error.problems)
    again.args = (told(str(error)),)
    again.parts = tuple(
        (own.get(path, path), tuple(map(told, problems))) for path, problems in error.parts
    )
    return again


class MaskError(MalCoreError, ValueError):
    """A mask cannot be read; the message goes on after the name of its annotation."""


class CheckpointError(MalCoreError):
    """Weights do not fit what they are loaded into; the message names the keys."""


class ArtifactError(MalCoreError):
    """A stored file is absent or its content is not what was stored."""


class RecordError(ArtifactError, ValueError):
    """A record in a file has fields that are unknown, missing or of another type."""


class LabelingError(MalCoreError):
    """The boxes that went in are not the masks, crowds and skips that came out."""


class TrainingError(MalCoreError):
    """Training of the labeler cannot go on; the message says at which step and what to change."""


class LeakError(MalCoreError):
    """Phase 1 was given masks, or has read some: it would not be trained from boxes alone."""


class TimeIsUpError(MalCoreError):
    """A run has used up its time; what it has made is saved."""


class NodeError(MalCoreError):
    """Another machine that takes part in a run has ended, failed or did not come in time."""


KILLED_ADVICE = (
    "Something killed it from outside (SIGKILL): the kernel does that when memory is used up. "
    "The same command continues from the last checkpoint."
)


class WorkerError(MalCoreError):
    """A child process failed.

    Attributes:
        return_code: Exit status; negative is the number of the signal that ended it.
        log_path: File with everything the process printed.
        last_lines: The end of that output.
    """

    def __init__(
        self, what: str, *, return_code: int, log_path: Path, last_lines: Sequence[str]
    ) -> None:
        self.return_code = return_code
        self.log_path = log_path
        self.last_lines = tuple(last_lines)
        tail = "\n".join(f"  | {line}" for line in self.last_lines)
        killed = f"{KILLED_ADVICE}\n" if return_code == -signal.SIGKILL else ""
        super().__init__(
            f"{what} failed with exit status {return_code}; its whole output: {log_path}\n"
            f"{killed}{tail}"
        )


class SegmenterError(WorkerError):
    """Training or evaluating a segmenter failed."""


class ArmsError(MalCoreError):
    """Some trainings of phase 2 failed; all others are finished and stored.

    Attributes:
        errors: Why, one per failed training.
    """

    def __init__(self, errors: Sequence[SegmenterError], total: int) -> None:
        self.errors = tuple(errors)
        head = (
            f"{len(errors)} of {total} trainings failed; what the others made is stored, and "
            f"the same command will train only these again:"
        )
        super().__init__("\n".join([head, *map(str, errors)]))


def lacks_memory(error: BaseException) -> bool:
    """Whether this is how Python, torch or CUDA say that memory is used up."""
    if isinstance(error, MemoryError):
        return True
    return any(words in str(error).lower() for words in ("out of memory", "can't allocate memory"))


SPACE_ADVICE = (
    "no space is left on this disk. Free some, or move to another with store=DIR or workdir=DIR; "
    "in the same store the same command continues from the last checkpoint."
)


NO_SPACE = "no space is left on this disk. Free some, or choose another place."
"""Of what a command leaves once, and does not continue."""


def full_disk(place: object) -> ArtifactError:
    """What to raise of a place whose disk is full, named as the user knows it."""
    return ArtifactError(f"{place}: {NO_SPACE}")


def lacks_space(error: BaseException) -> bool:
    """Whether this, or what caused it, is how the system says that a disk or a quota is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    return "disk is full" in str(error)  # SQLite
