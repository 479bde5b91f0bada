"""Version of the code that a stage runs: its sources, what they import of ours, key packages."""

import ast
import contextlib
import functools
import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

OUR_PACKAGES = ("mal_core", "phase2_configs", "scenes")
ROOT = Path(__file__).resolve().parents[2]
"""Folder of all our packages, in a checkout as in an installed wheel."""
ATTEMPTS = 20
_parsing = threading.Lock()


def code_version(
    modules: Sequence[str], *, alone: Sequence[str] = (), packages: Sequence[str] = ()
) -> str:
    """Digest over sources and versions of installed packages.

    Comments and layout do not count; everything that Python executes does.

    Args:
        modules: Modules of ours whose imports are followed.
        alone: Modules of ours that count without what they import.
        packages: Names of distributions whose versions count; absent ones are left out.
    """
    digest = hashlib.sha256()
    for name in sorted(closure(modules) | set(alone)):
        digest.update(f"{name}\0{source_digest(_source_path(name))}\0".encode())
    for name in sorted(packages):
        digest.update(f"{name}=={_installed_version(name)}\0".encode())
    return digest.hexdigest()


def recipe_version(config: Path) -> str:
    """Digest of an mmdet config with all files of its own that it inherits from.

    Configs bundled with mmdet ("mmdet::...") count by mmdet's version, elsewhere.
    """
    digest = hashlib.sha256()
    for path in sorted(_inherited(config), key=str):
        digest.update(source_digest(path).encode())
    return digest.hexdigest()


def closure(modules: Iterable[str]) -> set[str]:
    """The modules and every module of ours that they import, directly or not."""
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += imports_of(name)
    return seen


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, and the packages it lies in."""
    path = _source_path(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set(_parents(module))
    for node in _that_run(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    ours = {name for name in found if name.split(".")[0] in OUR_PACKAGES}
    # `from package import name` names a module or something inside the package.
    return frozenset(name for name in ours if _find(name) is not None)


@functools.cache
def source_digest(path: Path) -> str:
    """Digest of a source file's syntax tree."""
    return hashlib.sha256(ast.dump(parse(path)).encode()).hexdigest()


def parse(path: Path) -> ast.Module:
    """Syntax tree of a source file, whatever other threads do.

    CPython 3.11 counts the depth of trees for all threads together, and two that parse at
    the same time may both end in a SystemError (python/cpython#106905). Ours take turns;
    a thread of a library may still come between.
    """
    content = path.read_bytes()
    for _ in range(ATTEMPTS - 1):
        with _parsing, contextlib.suppress(SystemError):
            return ast.parse(content)
    with _parsing:
        return ast.parse(content)


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


def _parents(module: str) -> Iterable[str]:
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


@functools.cache
def _find(module: str) -> Path | None:
    # Not importlib.util.find_spec, which imports parent packages, and torch with them.
    base = ROOT.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _source_path(module: str) -> Path:
    path = _find(module)
    if path is None:
        message = f"{module}: no source file below {ROOT}, so its version is unknown"
        raise ModuleNotFoundError(message)
    return path


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _inherited(config: Path) -> set[Path]:
    waiting, seen = [config], set[Path]()
    while waiting:
        path = waiting.pop().resolve()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        waiting += [path.parent / base for base in _bases(path)]
    return seen


def _bases(config: Path) -> list[str]:
    for node in parse(config).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "_base_" for target in node.targets
        ):
            value = ast.literal_eval(node.value)
            names = [value] if isinstance(value, str) else list(value)
            return [name for name in names if "::" not in name]
    return []
