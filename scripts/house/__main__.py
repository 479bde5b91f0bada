"""Figures of the house, before and after: sizes, functions, contract, places that repeat.

`python scripts/house` puts this tree beside the one before the rooms were planned; --at COMMIT
takes others, --list prints the places behind the figures, --runs adds what real runs show
(minutes): how often settings are composed, and which modules a box passes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from figures import Figures, details, figures
from watched_runs import run_figures

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "4445ce3"
"""The last commit before the rooms were planned."""
HERE = "here"


def main() -> int:
    """Print the table, or JSON."""
    options = _parser().parse_args()
    commits = [] if options.here else options.at or [BEFORE]
    columns = {commit: _measured(commit, options) for commit in [*commits, HERE]}
    if options.json:
        print(json.dumps(columns, indent=2))
    else:
        _print_table(columns)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--at", action="append", metavar="COMMIT", help=f"else {BEFORE}")
    parser.add_argument("--here", action="store_true", help="this tree only; needs no git")
    parser.add_argument("--runs", action="store_true", help="also run `mal`, for minutes")
    parser.add_argument("--python", default=sys.executable, help="with which `mal` is run")
    parser.add_argument("--list", action="store_true", help="the places behind the figures")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    return parser


def _measured(commit: str, options: argparse.Namespace) -> Figures:
    with _tree(commit) as root:
        found = figures(root)
        lists = dict(details(root)) if options.list else {}
        if options.runs:
            by_running, lists["way of a box"] = run_figures(root, options.python)
            found |= by_running
    for title, members in lists.items():
        print(f"\n{commit}: {title}", *members, sep="\n  ", file=sys.stderr)
    return found


@contextmanager
def _tree(commit: str) -> Iterator[Path]:
    if commit == HERE:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=False
        )
        if archive.returncode:
            sys.exit(f"{commit}: no such commit here. In a shallow clone: git fetch --unshallow.")
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def _print_table(columns: Mapping[str, Figures]) -> None:
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    width = max(map(len, names))
    print(" " * width, *(f"{commit:>10}" for commit in columns))
    for name in names:
        cells = [figures.get(name, "") for figures in columns.values()]
        print(f"{name:{width}}", *(f"{cell:>10}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
