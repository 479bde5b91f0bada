"""The house stays in order: figures of this tree, by the script that anyone can run."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import omegaconf
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "house"
AT_MOST = {
    "flows: entries at the root": 8,
    "mal_core: entries at the root": 16,
    "entries of the fullest folder": 20,
    "longest module, lines": 400,
    "flows: function lines, p90": 25,
    "mal_core: function lines, p90": 25,
    "mal_core: function lines, longest": 75,
    "import contract: rows": 19,
    "annotation JSON: modules that parse it": 1,
    "lists of setting names kept by hand": 0,
}


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    command = [sys.executable, str(SCRIPT), "--here", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)["here"]
    return found


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT))
    monkeypatch.syspath_prepend(str(SCRIPT / "spies"))
    for name in ("sources", "arrays", "reads", "key_lists", "figures", "held"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("figures")


def write(root: Path, place: str, text: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", AT_MOST)
def test_the_house_does_not_grow_back(figures: dict[str, float], name: str) -> None:
    assert figures[name] <= AT_MOST[name]


def test_every_public_function_with_arrays_gives_their_shapes(figures: dict[str, float]) -> None:
    assert figures["public functions with arrays"] > 50
    assert figures["of these, % whose docstring gives shapes"] == 100


def test_the_script_counts_what_a_reader_would_count(script: ModuleType, tmp_path: Path) -> None:
    write(
        tmp_path,
        "mal_core/masks.py",
        '''
import json
from numpy.typing import NDArray
Mask = NDArray[bool]

def grow(mask: Mask) -> Mask:
    """A larger one."""

def shrink(mask: Mask, by: int) -> Mask:
    """A smaller one.

    Args:
        mask: Bool, shape (H, W).

    Returns:
        Bool, shape (H - by, W - by).
    """

def first(path):
    return json.loads(path.read_text())["annotations"]

def manifest(path):
    return json.loads((path / "manifest.json").read_text())["annotations"]
''',
    )
    write(
        tmp_path,
        "flows/settings.py",
        """
class Store(Config):
    place: str
    size: int

PLACES = ("store.place", "size")
OTHERS = ("colour", "sound")
""",
    )
    found = {title: list(members) for title, members in script.details(tmp_path).items()}
    assert [array.name for array in found["arrays without shapes"]] == ["grow"]
    assert [read.function for read in found["annotation JSON"]] == ["first"]
    assert [names.name for names in found["lists of setting names"]] == ["PLACES"]


@pytest.mark.parametrize(
    ("value", "is_held"),
    [
        (700123, True),
        ({"boxes": [(23.28125, 17.15625)]}, True),
        (b'{"bbox": [23.28125, 17.15625]}', True),
        ({"boxes": [(23.25, 17.0)]}, False),
        ([[[[700123]]]], False),
    ],
)
def test_a_box_is_known_by_its_numbers(script: ModuleType, value: object, is_held: bool) -> None:
    held = importlib.import_module("held")
    assert held.holds(value, held.DEPTH) is is_held


def test_what_is_still_being_built_is_not_asked(script: ModuleType) -> None:
    held = importlib.import_module("held")
    unfinished = omegaconf.DictConfig.__new__(omegaconf.DictConfig)
    with pytest.raises(KeyError):
        _ = unfinished.anything
    assert held.holds({"settings": unfinished}, held.DEPTH) is False


def test_the_spy_notes_modules_of_ours_that_take_or_return_the_box(tmp_path: Path) -> None:
    write(tmp_path, "rooms/reader.py", "def read(text):\n    return float(text)\n")
    write(tmp_path, "rooms/config.py", "def size():\n    return 4\n")
    write(tmp_path, "rooms/unused.py", "def keep(box):\n    return box\n")
    write(tmp_path, ".venv/library.py", "def parse(text):\n    return text\n")
    write(
        tmp_path,
        "commands/label.py",
        """
import omegaconf
from library import parse
from rooms import config, reader, unused

def main():
    config.size()
    omegaconf.OmegaConf.create({"box": 23.28125})
    reader.read(parse("23.28125"))

main()
""",
    )
    notes = tmp_path / "notes"
    notes.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (SCRIPT / "spies", tmp_path, tmp_path / ".venv"))),
        "HOUSE_SPY": "box",
        "HOUSE_NOTES": str(notes),
        "HOUSE_ROOT": str(tmp_path),
        "HOUSE_PACKAGES": os.pathsep.join(("commands", "rooms")),
    }
    subprocess.run(
        [sys.executable, "-m", "commands.label"], cwd=tmp_path, env=environment, check=True
    )
    lines = [line for note in notes.glob("*.held") for line in note.read_text().splitlines()]
    assert [line.split()[1] for line in lines] == ["commands/label.py", "rooms/reader.py"]


@pytest.mark.slow
def test_the_life_of_a_box_names_the_modules_that_a_box_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT))
    runs = importlib.import_module("watched_runs")
    text = (ROOT / "docs" / "architecture.md").read_text()
    life = text.split("## The life of a box")[1].split("\n## ")[0]
    rows = [line.split(" | ")[-1] for line in life.splitlines() if line.startswith("| **")]
    told = re.findall(r"`([\w.]+)`", " ".join(rows))
    assert told == runs.way_of_a_box(ROOT, sys.executable, tmp_path / "box")


def test_the_script_needs_the_standard_library_only() -> None:
    own = {path.stem for path in SCRIPT.rglob("*.py")} | {"spies"}
    imported = set()
    for path in SCRIPT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported <= set(sys.stdlib_module_names) | own
