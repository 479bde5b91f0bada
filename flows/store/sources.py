"""What a code version asks of one source file of ours, kept from process to process.

Parsing all of our sources takes half a CPU second, more than all else that a small command does.
What was found is kept beside this module's bytecode, where Python keeps what it derives from
sources itself: `make clean` removes it, PYTHONDONTWRITEBYTECODE=1 and PYTHONPYCACHEPREFIX hold
for it too. It is believed for the very same bytes, read by the very same code, only.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mal_core.errors import RecordError
from mal_core.processes.records import read_record, write_record

OUR_PACKAGES = ("mal_core", "phase2_configs", "scenes")
KEPT = Path(importlib.util.cache_from_source(__file__)).with_suffix(".json")
ATTEMPTS = 20
_parsing = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source file of ours.

    Attributes:
        content: SHA-256 of its name and bytes.
        tree: SHA-256 of its syntax tree: comments and layout do not count.
        imports: Names in our packages that it imports; modules, or something inside of them.
    """

    content: str
    tree: str
    imports: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KeptSources:
    """The file of what is known.

    Attributes:
        reader: Python and the code that found it.
        sources: What was found, by module.
    """

    reader: str
    sources: Mapping[str, Source]


class KnownSources:
    """Looks into each file once, or not at all where another process has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = dict(_kept(path))
        self._news = False

    def look(self, module: str, path: Path) -> Source:
        """What is in the source file of a module."""
        content = path.read_bytes()
        # The file's name too: a package counts its relative imports from another place.
        digest = hashlib.sha256(path.name.encode() + b"\0" + content).hexdigest()
        found = self._known.get(module)
        if found is None or found.content != digest:
            tree = parse(content)
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            imports = tuple(sorted(_imports(tree, package)))
            found = Source(content=digest, tree=tree_digest(tree), imports=imports)
            self._known[module], self._news = found, True
        return found

    def keep(self) -> None:
        """Write down what is new; where that is impossible the next process looks again."""
        if self._news and not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):  # an installation that its user may only read
                write_record(self.path, KeptSources(reader=_reader(), sources=dict(self._known)))
        self._news = False


def tree_digest(tree: ast.Module) -> str:
    """Digest of a syntax tree."""
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def parse(content: bytes) -> ast.Module:
    """Syntax tree of a source file, whatever other threads do.

    CPython 3.11 counts the depth of trees for all threads together, and two that parse at
    the same time may both end in a SystemError (python/cpython#106905). Ours take turns;
    a thread of a library may still come between.
    """
    for _ in range(ATTEMPTS - 1):
        with _parsing, contextlib.suppress(SystemError):
            return ast.parse(content)
    with _parsing:
        return ast.parse(content)


def _kept(path: Path) -> Mapping[str, Source]:
    try:
        kept = read_record(KeptSources, path)
    except (OSError, RecordError):  # absent, or of another version of ours
        return {}
    return kept.sources if kept.reader == _reader() else {}


@functools.cache
def _reader() -> str:
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return f"{sys.version} {code}"


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for name in {name for node in _that_run(tree) for name in _imported(node, package)}:
        if name.split(".")[0] in OUR_PACKAGES:
            yield name


def _imported(node: ast.AST, package: str) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(node, package)
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return []


def _that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING:`, which only tools read."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _names(node.test, "TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _names(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])
