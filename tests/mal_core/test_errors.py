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
