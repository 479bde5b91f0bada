"""What errors say, which of them mean that memory ran out, and their way between processes."""

import pickle
from pathlib import Path

import pytest

from mal_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    MalCoreError,
    SegmenterError,
    lacks_memory,
    printable,
)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, memory):
    assert lacks_memory(error) is memory


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("seed=x"),
        CheckpointError("absent"),
        DatasetError(Path("train.json"), ["one", "two"]),
        SegmenterError("mmdet", return_code=-9, log_path=Path("log.txt"), last_lines=["killed"]),
    ],
)
def test_errors_reach_another_process_as_they_are(error: MalCoreError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x07\x9b\r", "a\\x07\\x9b\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("\udcff", "\\udcff"),
        ("one\n\ttwo é 猫", "one\n\ttwo é 猫"),
    ],
)
def test_nothing_that_is_printed_steers_a_terminal(text: str, said: str) -> None:
    assert printable(text) == said


def test_a_problem_that_quotes_a_long_name_keeps_its_beginning_and_its_advice() -> None:
    problem = f"image 1 has file_name={'x' * 5000!r}. Rename it."
    shown = str(DatasetError(Path("a.json"), [problem])).splitlines()[1]
    assert shown.startswith("  - image 1 has file_name='xxx")
    assert shown.endswith("xxx'. Rename it.")
    assert " [... 4436 characters ...] " in shown
