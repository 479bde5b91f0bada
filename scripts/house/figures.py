"""Figures that a tree's files alone give."""

import ast
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from arrays import array_functions
from key_lists import key_lists
from reads import annotation_reads
from sources import PACKAGES, Source, entries, sources

Figures = dict[str, int | float]


def figures(root: Path) -> Figures:
    """All figures of a tree, by name, in the order in which they are shown."""
    files = sources(root)
    arrays = array_functions(files)
    reads = [read for read in annotation_reads(files) if read.syntax == "json"]
    return {
        **_sizes(root, files),
        **_function_lines(files),
        "import contract: rows": contract_rows(root),
        "annotation JSON: modules that parse it": len({read.place.split(":")[0] for read in reads}),
        "annotation JSON: functions that parse it": len(reads),
        "lists of setting names kept by hand": len(key_lists(files)),
        "public functions with arrays": len(arrays),
        "of these, % whose docstring gives shapes": _percent([each.told for each in arrays]),
        "lines of settings in conf/mal": _yaml_lines(root / "conf" / "mal"),
        "variables called `one`, uses": sum(map(_uses_of_one, files)),
    }


def details(root: Path) -> Mapping[str, Sequence[object]]:
    """What stands behind the figures whose members one wants to see."""
    files = sources(root)
    return {
        "annotation JSON": annotation_reads(files),
        "lists of setting names": key_lists(files),
        "arrays without shapes": [each for each in array_functions(files) if not each.told],
    }


def contract_rows(root: Path) -> int:
    """Rows of the layers that the import contract states."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return sum(len(contract.get("layers", ())) for contract in contracts)


def _sizes(root: Path, files: Sequence[Source]) -> Figures:
    tests = sources(root, "tests")
    return {
        **{f"{package}: entries at the root": len(entries(root / package)) for package in PACKAGES},
        "entries of the fullest folder": max(map(len, map(entries, _folders(files)))),
        "modules": len([source for source in files if source.path.name != "__init__.py"]),
        **{
            f"{package}: lines of code": sum(s.lines for s in files if s.package == package)
            for package in PACKAGES
        },
        "lines of code": sum(source.lines for source in files),
        "lines of tests": sum(source.lines for source in tests),
        "longest module, lines": max(source.lines for source in files),
    }


def _folders(files: Sequence[Source]) -> set[Path]:
    # Recipes are a catalogue: users name them, nobody reads them as rooms.
    return {source.path.parent for source in files if source.package != "phase2_configs"}


def _function_lines(files: Sequence[Source]) -> Figures:
    found: Figures = {}
    for package in PACKAGES:
        lines = sorted(
            (function.end_lineno or function.lineno) - function.lineno + 1
            for source in files
            if source.package == package
            for function in source.functions()
        )
        found[f"{package}: function lines, median"] = round(statistics.median(lines))
        found[f"{package}: function lines, p90"] = lines[int(0.9 * len(lines))]
        found[f"{package}: function lines, longest"] = lines[-1]
    return found


def _percent(told: Sequence[bool]) -> float:
    return round(100 * sum(told) / len(told), 1)


def _yaml_lines(folder: Path) -> int:
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]
    lines = [line for text in texts for line in text.splitlines()]
    return len([line for line in lines if line.strip() and not line.lstrip().startswith("#")])


def _uses_of_one(source: Source) -> int:
    nodes = list(ast.walk(source.tree))
    named = [node.id for node in nodes if isinstance(node, ast.Name)]
    given = [node.arg for node in nodes if isinstance(node, ast.arg)]
    return [*named, *given].count("one")
