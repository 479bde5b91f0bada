"""Lists of setting names that are kept by hand.

One is a tuple, list, set, frozenset or dict of text constants, each the full or last name of a
setting: two or more at a module's top level, three or more in a function's loop. Four of five
must be names of settings, so that one that is not (an older name, say) hides no list. The names
come from the annotated fields of the classes that derive from `Config`. Loops in the modules of
those classes are not counted: each is a rule about values, beside the field that it is about.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from sources import Source

FEWEST, FEWEST_IN_LOOP = 2, 3
SHARE = 0.8


@dataclass(frozen=True)
class KeyList:
    """One list, by its file and line."""

    place: str
    name: str
    length: int


def setting_names(files: Sequence[Source]) -> frozenset[str]:
    """Names of the fields of all settings records."""
    return frozenset(
        field.target.id
        for source in files
        for node in source.tree.body
        if isinstance(node, ast.ClassDef) and _is_settings(node)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if "ClassVar" not in ast.unparse(field.annotation)
    )


def key_lists(files: Sequence[Source]) -> list[KeyList]:
    """All lists of setting names in the packages that know settings."""
    names = setting_names(files)
    files = [source for source in files if source.package in ("flows", "mal_core")]
    found = []
    for source in files:
        for name, node, fewest in _literals(source):
            for texts in _texts(node):
                known = [text for text in texts if text.rpartition(".")[2] in names]
                if len(texts) >= fewest and len(known) >= SHARE * len(texts):
                    found.append(KeyList(f"{source.place}:{node.lineno}", name, len(texts)))
    return found


def _literals(source: Source) -> Iterator[tuple[str, ast.expr, int]]:
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node.value, FEWEST
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield ast.unparse(node.target), node.value, FEWEST
    if not _defines_settings(source):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.For | ast.comprehension):
                yield "a loop", node.iter, FEWEST_IN_LOOP


def _defines_settings(source: Source) -> bool:
    return any(isinstance(node, ast.ClassDef) and _is_settings(node) for node in source.tree.body)


def _is_settings(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base) == "Config" for base in node.bases)


def _texts(node: ast.expr) -> Iterator[list[str]]:
    """The texts of a literal; of a dict those of its keys, and those of its values."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) == "frozenset":
        node = node.args[0]
    if isinstance(node, ast.Dict):
        yield [key.value for key in node.keys if _is_text(key)]
        yield [value.value for value in node.values if _is_text(value)]
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        # A row such as ("store", config.store) is named by its first text.
        rows = [
            part.elts[0] if isinstance(part, ast.Tuple) and part.elts else part
            for part in node.elts
        ]
        yield [row.value for row in rows if _is_text(row)]


def _is_text(node: ast.expr | None) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
