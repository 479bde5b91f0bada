"""Places that parse annotation or result files on their own, found in the syntax trees.

A place is a function that calls a parser (json.load, json.loads, orjson.loads, yaml.safe_load,
yaml.load, ElementTree.parse, ElementTree.fromstring, pycocotools' COCO, lvis' LVIS) on such a
file. What is parsed counts as one where the argument of the call names it (annotations,
predictions, labels, human, ...), where the function around the call asks for keys of the COCO
format ("categories", "segmentation", ...), and in the rooms of the readers, data and formats.
Files of our own (manifests, jobs, reports, journals) are read by functions that do neither, or
by a name that stands in the call, and are not counted.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sources import Function, Source

PARSERS = {
    "json.load": "json",
    "json.loads": "json",
    "orjson.loads": "json",
    "yaml.load": "yaml",
    "yaml.safe_load": "yaml",
    "yaml.compose": "yaml",
    "ElementTree.parse": "xml",
    "ElementTree.fromstring": "xml",
    "COCO": "json",
    "LVIS": "json",
}
READERS = frozenset(["data", "formats"])
FORMAT_KEYS = frozenset(
    [
        "annotations",
        "categories",
        "segmentation",
        "bbox",
        "image_id",
        "category_id",
        "area",
        "iscrowd",
    ]
)
WORDS = ("annotation", "prediction", "detection", "result", "label", "human", "truth", "ann_file")


@dataclass(frozen=True, order=True)
class Read:
    """One function that parses annotations, by its file and line."""

    syntax: str
    place: str
    function: str


def annotation_reads(files: Sequence[Source]) -> list[Read]:
    """All such functions of the files."""
    return sorted({read for source in files for read in _of(source)})


def _of(source: Source) -> Iterator[Read]:
    for function in source.functions():
        for node in ast.walk(function):
            syntax = PARSERS.get(_called(node))
            if not syntax or not isinstance(node, ast.Call):
                continue
            if READERS & set(source.path.parts) or _is_annotation(node, function):
                yield Read(syntax, f"{source.place}:{function.lineno}", function.name)


def _called(node: ast.AST) -> str:
    return ".".join(ast.unparse(node.func).split(".")[-2:]) if isinstance(node, ast.Call) else ""


def _is_annotation(call: ast.Call, function: Function) -> bool:
    if _called(call) in ("COCO", "LVIS"):
        return bool(call.args or call.keywords)  # an empty one is filled from memory
    if any(".json" in text for argument in call.args for text in _texts(argument)):
        return False
    arguments = " ".join(ast.unparse(argument) for argument in call.args).lower()
    return any(word in arguments for word in WORDS) or bool(FORMAT_KEYS & _texts(function))


def _texts(node: ast.AST) -> set[str]:
    inner = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return {text for text in inner if isinstance(text, str)}
