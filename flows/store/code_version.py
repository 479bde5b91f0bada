"""Version of the code that a stage runs: its sources, what they import of ours, key packages."""

import ast
import functools
import hashlib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from flows.store import sources
from flows.store.sources import KnownSources, parse, tree_digest

ROOT = Path(__file__).resolve().parents[2]
"""Folder of all our packages, in a checkout as in an installed wheel."""


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
        digest.update(f"{name}\0{_look(name).tree}\0".encode())
    _known().keep()
    for name in sorted(packages):
        digest.update(f"{name}=={installed_version(name) or 'absent'}\0".encode())
    return digest.hexdigest()


def recipe_version(config: Path) -> str:
    """Digest of an mmdet config with all files of its own that it inherits from.

    Configs bundled with mmdet ("mmdet::...") count by mmdet's version, elsewhere.
    """
    digest = hashlib.sha256()
    for path in sorted(_inherited(config), key=str):
        digest.update(_recipe_digest(path).encode())
    return digest.hexdigest()


def closure(modules: Iterable[str]) -> set[str]:
    """The modules and every module of ours that they import, directly or not."""
    return set(_closure(frozenset(modules)))


@functools.cache
def _closure(modules: frozenset[str]) -> frozenset[str]:
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += imports_of(name)
    return frozenset(seen)


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, and the packages it lies in."""
    found = {*_look(module).imports, *_parents(module)}
    # `from package import name` names a module or something inside the package.
    return frozenset(name for name in found if _find(name) is not None)


@functools.cache
def _known() -> KnownSources:
    return KnownSources(sources.KEPT)


@functools.cache
def _look(module: str) -> sources.Source:
    return _known().look(module, _source_path(module))


@functools.cache
def _recipe_digest(path: Path) -> str:
    return tree_digest(parse(path.read_bytes()))


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


@functools.cache
def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None where it is absent.

    Asked once per process: a stage's key is made many times, and reading what a wheel says of
    itself takes milliseconds.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


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
    for node in parse(config.read_bytes()).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "_base_" for target in node.targets
        ):
            value = ast.literal_eval(node.value)
            names = [value] if isinstance(value, str) else list(value)
            return [name for name in names if "::" not in name]
    return []
