"""The check of the wheel on other Pythons, as far as it needs no installation."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "wheel_check.py"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_is_not_here_is_named_and_left_out(tmp_path: Path) -> None:
    done = run("3.99", PYENV_ROOT=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Python 3.99: not on this machine, left out\n"


def test_a_python_that_makes_no_environment_fails_the_check(tmp_path: Path) -> None:
    """One that is there and whose `venv` does not work."""
    python = tmp_path / "versions" / "3.99.0" / "bin" / "python3.99"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.99 && exit 0\necho broken >&2; exit 3\n')
    python.chmod(0o755)
    done = run("3.99", PYENV_ROOT=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith("Python 3.99: FAILED: ")
    assert "ended with 3:\nbroken" in done.stdout


def test_what_takes_too_long_is_left_out(tmp_path: Path) -> None:
    python = tmp_path / "versions" / "3.99.0" / "bin" / "python3.99"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.99 && exit 0\nexec sleep 60\n')
    python.chmod(0o755)
    done = run("--minutes", "0.01", "3.99", PYENV_ROOT=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Python 3.99: left out: the time is over, in ")
