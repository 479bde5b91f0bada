"""Folders of reviews that the store remembers, so that `mal serve` shows their pages."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mal_core.processes.files import append_jsonl

HOST = "127.0.0.1"
PAGE = "review.html"


def remember(path: Path, folder: Path) -> None:
    """Append a folder to a list of reviews, unless it is there.

    Args:
        path: JSON lines, each with the key `folder`.
        folder: Absolute.
    """
    if str(folder) not in remembered(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(path, {"folder": str(folder)})


def remembered(path: Path) -> Sequence[str]:
    """The folders, oldest first; a line that was cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            folder = json.loads(line)["folder"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(folder, str):
            found.append(folder)
    return found


def review_url(port: int, folder: Path) -> str:
    """Where a review is while `mal serve` runs."""
    return f"http://{HOST}:{port}{quote(str(folder / PAGE))}"
