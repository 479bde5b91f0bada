"""Figures that take a real run: how often settings are composed, and the way of a box."""

import ast
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from figures import Figures
from sources import PACKAGES, sources
from spies.held import ANNOTATION_ID, BOX_XYWH

SPIES = Path(__file__).parent / "spies"
SIDE = 96
COMMAND = "import sys; from flows.cli import main; sys.exit(main())"
MOVED = "import sys; from flows.commands.cli import main; sys.exit(main())"
LABELER = ["encoder=random_tiny", "mal=tiny_scenes", "mal.max_steps=2", "mal.num_workers=0"]


def run_figures(root: Path, python: str) -> tuple[Figures, list[str]]:
    """The figures, and the modules that the box visits, in order and with the climbs marked.

    Args:
        root: The tree.
        python: The interpreter that has its packages.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        composed = _composed(root, python, place / "settings")
        visited = way_of_a_box(root, python, place / "box")
    climbs = climbs_in(root, visited)
    figures: Figures = {
        "settings composed in `mal run experiment=smoke`": composed,
        "modules that a box passes in `mal label`": len(visited),
        "of these, climbs back up": len(climbs),
    }
    marked = [f"{'climbs to ' if name in climbs else ''}{name}" for name in visited]
    return figures, marked


def climbs_in(root: Path, visited: Sequence[str]) -> list[str]:
    """Modules that import the one visited before them, directly or through others."""
    imports = _imports(root)
    pairs = itertools.pairwise(visited)
    return [after for before, after in pairs if before in _reached(after, imports)]


def _composed(root: Path, python: str, place: Path) -> int:
    words = ["run", "experiment=smoke", "segmenters=[solov2_r18]", f"workdir={place / 'work'}"]
    _mal(root, python, place, "settings", words)
    notes = (place / "notes").glob("*.opened")
    return sum(len(path.read_text().splitlines()) for path in notes)


def way_of_a_box(root: Path, python: str, place: Path) -> list[str]:
    """The modules that a box passes in `mal label`, in order.

    Args:
        root: The tree.
        python: The interpreter that has its packages.
        place: A new folder.
    """
    data = _one_box(place)
    trained, labeled = place / "trained", place / "labeled"
    _mal(root, python, trained, "", ["train", *data, *LABELER, f"workdir={trained}"])
    checkpoint = f"checkpoint={trained / 'mal' / 'checkpoint.pth'}"
    words = ["label", *data, *LABELER, checkpoint, f"output={place / 'labels.json'}"]
    _mal(root, python, labeled, "box", [*words, f"workdir={labeled}"])
    notes = (labeled / "notes").glob("*.held")
    rows = sorted(line.split() for path in notes for line in path.read_text().splitlines())
    files = dict.fromkeys(file for _, file in rows)
    return [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files]


def _one_box(place: Path) -> list[str]:
    images = place / "images"
    images.mkdir(parents=True)
    rows = bytes((x * 7 + y * 3) % 256 for y in range(SIDE) for x in range(SIDE))
    (images / "one.pgm").write_bytes(b"P5 %d %d 255\n" % (SIDE, SIDE) + rows)
    image = {"id": 1, "file_name": "one.pgm", "height": SIDE, "width": SIDE}
    box = {"id": ANNOTATION_ID, "image_id": 1, "category_id": 1, "bbox": BOX_XYWH, "iscrowd": 0}
    box["area"] = BOX_XYWH[2] * BOX_XYWH[3]
    category = {"id": 1, "name": "thing"}
    content = {"images": [image], "annotations": [box], "categories": [category]}
    (place / "boxes.json").write_text(json.dumps(content))
    return [f"data.train.images={images}", f"data.train.annotations={place / 'boxes.json'}"]


def _mal(root: Path, python: str, place: Path, spy: str, words: Sequence[str]) -> None:
    (place / "notes").mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SPIES}{os.pathsep}{root}",
        "MAL_STORE": str(place / "store"),
        "OMP_NUM_THREADS": "1",
        "HOUSE_SPY": spy,
        "HOUSE_NOTES": str(place / "notes"),
        "HOUSE_ROOT": str(root),
        "HOUSE_PACKAGES": os.pathsep.join(PACKAGES),
    }
    command = MOVED if (root / "flows" / "commands").is_dir() else COMMAND
    done = subprocess.run(
        [python, "-c", command, *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"mal {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def _imports(root: Path) -> dict[str, set[str]]:
    files = sources(root)
    known = {source.module for source in files}
    return {source.module: set(_imported(source.tree)) & known for source in files}


def _imported(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for name in imports.get(ahead.pop(), set()) - reached:
            reached.add(name)
            ahead.append(name)
    return reached
