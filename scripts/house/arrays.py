"""Public functions that take or return arrays, and whether their docstrings give shapes.

An array is a parameter or a return value whose annotation names a tensor or an array of numpy,
directly or through an alias that a module defines (`Mask = NDArray[np.bool_]`). Its shape is
given where its entry under Args or Returns holds one, such as (N, 4), (H, W) or (), or words for
it ("any shape", "shaped like"). Arrays without an entry of their own need one shape each in the
docstring's other sentences. A method without words of its own has those of its class.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sources import Function, Source

ARRAYS = frozenset(["Tensor", "ndarray", "NDArray"])
SIDE = r"(?:\.\.\.|[\w*+/-]+(?: [-+*/] [\w*]+)*)"
SHAPE = re.compile(
    rf"\((?:{SIDE},|{SIDE}(?:, {SIDE})+)\)|shape \(\)|\b(?:any|same) shapes?\b|shaped like"
)
ENTRY = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*): ", re.MULTILINE)
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes|Source):", re.MULTILINE)


@dataclass(frozen=True)
class ArrayFunction:
    """A public function with arrays in its signature.

    Attributes:
        arrays: Its parameters that are arrays, and "return".
        told: Whether the docstring says the shape of each.
    """

    place: str
    name: str
    arrays: tuple[str, ...]
    told: bool


def array_functions(files: Sequence[Source]) -> list[ArrayFunction]:
    """All public functions and methods of public classes with an array in their signature."""
    aliases = {(source.module, name) for source in files for name in _aliases(source)}
    found = []
    for source in files:
        kinds = ARRAYS | _kinds(source, aliases)
        for name, function, owner in _public(source):
            arrays = tuple(_arrays(function, kinds))
            if arrays:
                words = ast.get_docstring(function) or ast.get_docstring(owner or function) or ""
                place = f"{source.place}:{function.lineno}"
                found.append(ArrayFunction(place, name, arrays, tells(words, arrays)))
    return found


def tells(words: str, arrays: Sequence[str]) -> bool:
    """Whether a docstring says the shape of each of these arrays."""
    sections = _sections(words)
    entries = _entries(sections.pop("Args", ""))
    returned = sections.pop("Returns", "")
    given = {name for name, text in entries.items() if SHAPE.search(text)}
    if SHAPE.search(returned):
        given.add("return")
    elsewhere = SHAPE.findall(sections[""] + sections.get("Yields", ""))
    return len(set(arrays) - given) <= len(elsewhere)


def _sections(words: str) -> dict[str, str]:
    first, *rest = SECTION.split(words)
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def _entries(text: str) -> dict[str, str]:
    _, *rest = ENTRY.split(text)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return {name.strip("* "): told for names, told in pairs for name in names.split(",")}


def _aliases(source: Source) -> Iterator[str]:
    for node in source.tree.body:
        named = isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
        if named and _names(node.value) & ARRAYS:
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _kinds(source: Source, aliases: set[tuple[str, str]]) -> set[str]:
    imported = {
        name.asname or name.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if (node.module, name.name) in aliases
    }
    return imported | set(_aliases(source))


def _public(source: Source) -> Iterator[tuple[str, Function, ast.ClassDef | None]]:
    for node in source.tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, None
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and _is_public_method(inner.name):
                    yield f"{node.name}.{inner.name}", inner, node


def _is_public_method(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__", "__getitem__")


def _arrays(function: Function, kinds: set[str]) -> Iterator[str]:
    given = function.args
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        if argument.annotation is not None and _names(argument.annotation) & kinds:
            yield argument.arg
    if function.returns is not None and _names(function.returns) & kinds:
        yield "return"


def _names(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Callable":
        return set()  # a function of arrays is no array
    inner = list(ast.walk(node))
    attributes = {part.attr for part in inner if isinstance(part, ast.Attribute)}
    names = {part.id for part in inner if isinstance(part, ast.Name)}
    texts = [part.value for part in inner if isinstance(part, ast.Constant)]
    quoted = {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}
    return attributes | names | quoted
