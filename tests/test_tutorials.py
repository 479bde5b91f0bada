"""Every shell and Python block of the tutorials, run as a reader does: in one folder, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("label_my_folder", "masks_from_another_tool", "read_a_report")
"""Each goes on where the one before has ended."""
BLOCK = re.compile(r"^```(?P<kind>sh|python)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```(\w+)$", re.MULTILINE)


def tutorial(name: str) -> str:
    return (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()


def run_block(kind: str, code: str, folder: Path, mal: Path) -> str:
    """What a block prints; it must end well and say nothing of an error."""
    shell = ["bash", "-euo", "pipefail", "-c", code]
    command = shell if kind == "sh" else [sys.executable, "-c", code]
    folders = (mal.parent, Path(sys.executable).parent, os.environ["PATH"])
    path = os.pathsep.join(map(str, folders))
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "MAL_STORE": str(folder / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_every_tutorial_is_run():
    assert sorted(ORDER) == sorted(path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md"))
    for name in ORDER:
        kinds = set(FENCE.findall(tutorial(name)))
        assert kinds <= {"sh", "python", "text"}  # another word would be a block that nobody runs


@pytest.mark.slow
def test_the_blocks_of_the_tutorials_do_what_they_say(tmp_path: Path) -> None:
    mal = tmp_path / "bin" / "mal"
    mal.parent.mkdir()
    mal.write_text(f'#!/bin/sh\nexec {sys.executable} -m flows.commands.cli "$@"\n')
    mal.chmod(0o755)
    folder = tmp_path / "reader"
    folder.mkdir()
    said = [
        run_block(match["kind"], match["code"], folder, mal)
        for name in ORDER
        for match in BLOCK.finditer(tutorial(name))
    ]
    assert (folder / "python_masks.json").read_bytes() == (folder / "val_masks.json").read_bytes()
    assert (folder / "runs" / "other" / "report.html").stat().st_size > 10_000
    printed = "".join(said)
    for words in ("the input is fine", "runs/mine/labels/train.json", "boxes in ", "96, 96) bool"):
        assert words in printed
