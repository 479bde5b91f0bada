"""The Python files of one tree, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("flows", "mal_core", "phase2_configs", "scenes")
"""What a user runs; tests and scripts are counted apart."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file, by its place below the root of the tree."""

    root: Path
    path: Path

    @cached_property
    def text(self) -> str:
        """What the file holds."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The file as a syntax tree."""
        return ast.parse(self.text)

    @property
    def place(self) -> str:
        """The path below the root."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def package(self) -> str:
        """The first folder of the path."""
        return self.path.relative_to(self.root).parts[0]

    @property
    def module(self) -> str:
        """The dotted name by which it is imported."""
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def lines(self) -> int:
        """Lines of the file, blank ones and comments too."""
        return self.text.count("\n")

    def functions(self) -> Iterator[Function]:
        """Functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def sources(root: Path, *packages: str) -> list[Source]:
    """Files of the packages, or of all that a user runs, in the order of their paths."""
    found = [path for name in packages or PACKAGES for path in sorted((root / name).rglob("*.py"))]
    return [Source(root, path) for path in found]


def entries(folder: Path) -> list[str]:
    """Folders and modules of a folder, without __init__.py and what Python leaves behind."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if (path.is_dir() and path.name != "__pycache__" and any(path.rglob("*.py")))
        or (path.suffix == ".py" and path.name != "__init__.py")
    )
