"""What is wrong with a dataset, or unusual in it, by kind: counted, with examples.

Problems are sentences, since whoever finds one knows best what to say of it. Here they are
sorted by what they say: `KINDS` has a name for each; a sentence that none fits forms a kind
with those that differ from it in numbers and quotations only.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mal_core.errors import shortened

Severity = Literal["error", "warning"]
EXAMPLES = 3

KINDS: tuple[tuple[str, str], ...] = (
    ("permission", r"[Pp]ermission denied"),
    ("row-form", r"a box is five numbers|a rotated box is nine numbers|a row is x1 y1|a pose,"),
    ("not-normalised", r"is no share of the image's size"),
    ("not-coco", r"\bnot a COCO file\b|^is empty,|is no JSON|not a VOC file|no VOC file"),
    (
        "unreadable-file",
        r"annotation file does not exist|\bcannot be read: |folder .* does not exist",
    ),
    ("key-twice", r"\boccurs twice\b|key .* twice"),
    ("empty-dataset", r"^empty dataset"),
    ("duplicate-id", r"occurs more than once\. Give every"),
    ("empty-class-name", r"has an empty name"),
    ("duplicate-class-name", r"has the name .* of category"),
    ("unknown-image", r"has image_id=.*no image has that id"),
    ("unknown-class", r"has category_id=.*no category has that id|class \S+, but there are"),
    ("classes-differ", r"Both files must list the same classes"),
    ("box-outside-image", r"lies wholly outside|over the border of the image|px over the border"),
    ("box-not-finite", r"bbox=.*with a NaN or infinite number"),
    ("box-negative", r"bbox=.*with a negative size"),
    ("box-form", r"has bbox=|boxes look like \[|would all fit|has [xy]min="),
    ("boxes-normalised", r"boxes have all numbers from 0 to 1 and look"),
    ("number-not-finite", r"NaN or infinite number"),
    ("crowd-flag", r"has iscrowd=|is a crowd, which"),
    ("mask-of-another-place", r"beside its bbox|masks are not where its boxes are"),
    ("mask-missing", r"have no usable mask|no annotation has a mask|have no mask,"),
    ("mask-wrong", r"\bmask\b|segmentation|polygon|\bRLE\b|\bcounts\b"),
    ("area", r"has area="),
    ("image-missing", r"' is missing|of the \d+ images is in"),
    ("image-size", r"px, but the file says|data\.max_image_pixels allows|has the size \d+"),
    (
        "image-unreadable",
        r"cannot be read as an image|is no image:|cannot be decoded|which OpenCV cannot read",
    ),
    ("image-name", r"file_name=|empty file_name"),
    ("field-missing", r"has no ['<]"),
    ("field-form", r"but it must be|but must be"),
    ("text-encoding", r"encod|UTF-8|NUL character|surrogate"),
)
BEYOND_REPAIR = frozenset(
    (
        "permission",
        "not-coco",
        "unreadable-file",
        "key-twice",
        "empty-dataset",
        "text-encoding",
        "other",
    )
)
"""Kinds of which a repaired copy cannot be made, or would be empty."""
_KINDS = tuple((name, re.compile(pattern)) for name, pattern in KINDS)
_VARIABLE = re.compile(
    r"\S+\.(?:xml|txt|png)\b|'[^']*'|\"[^\"]*\"|\[[^\]]*\]|-?\d[\d.,e+-]*|\S*/\S*"
)
_COUNT = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All problems, or notes, of one kind in one file.

    Attributes:
        file: The user's file.
        kind: A short name, the same for the same kind of problem in any file.
        severity: An error keeps the file from being used.
        count: How many there are.
        examples: Some of them, as sentences: what is wrong, or what will be done.
    """

    file: Path
    kind: str
    severity: Severity
    count: int
    examples: tuple[str, ...]


def kind_of(sentence: str) -> str:
    """The kind of a problem by what its sentence says; "" where no kind has a name for it."""
    return next((name for name, pattern in _KINDS if pattern.search(sentence)), "")


def errors_by_kind(
    file: Path, problems: Iterable[str], *, examples: int = EXAMPLES
) -> list[Finding]:
    """The problems of a file by kind, in the order in which kinds first occur."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for problem in problems:
        kind = kind_of(problem)
        groups[kind, "" if kind else _VARIABLE.sub("*", problem)].append(problem)
    return [
        Finding(
            file=file,
            kind=kind or "other",
            severity="error",
            count=len(found),
            examples=tuple(found[:examples]),
        )
        for (kind, _), found in groups.items()
    ]


def shortened_finding(finding: Finding) -> Finding:
    """The same with as many examples as people read."""
    return replace(finding, examples=finding.examples[:EXAMPLES])


def warning(file: Path, kind: str, sentence: str, count: int | None = None) -> Finding:
    """A note as a finding; its count is the first number in it unless given."""
    if count is None:
        number = _COUNT.search(sentence)
        count = 1 if number is None else int(number[0])
    return Finding(file=file, kind=kind, severity="warning", count=count, examples=(sentence,))


def report_text(findings: Sequence[Finding]) -> str:
    """Findings for people: files, then kinds with counts, each with its first sentences."""
    lines: list[str] = []
    by_file: dict[tuple[Path, Severity], list[Finding]] = defaultdict(list)
    for finding in findings:
        by_file[finding.file, finding.severity].append(finding)
    for (file, severity), found in by_file.items():
        lines.append(_heading(file, severity, found))
        for finding in found:
            lines += _shown(finding, named=len(found) > 1 or finding.count > len(finding.examples))
    return "\n".join(lines)


def _heading(file: Path, severity: Severity, found: Sequence[Finding]) -> str:
    if severity == "warning":
        return f"{file}: {len(found)} {_plural('thing', len(found))} to know"
    total = sum(finding.count for finding in found)
    kinds = f" of {len(found)} kinds" if len(found) > 1 else ""
    return f"{file}: {total} {_plural('problem', total)}{kinds}"


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _shown(finding: Finding, *, named: bool) -> list[str]:
    if finding.severity == "warning":
        return [f"  - {shortened(example)} [{finding.kind}]" for example in finding.examples]
    lines = [f"  {finding.kind}: {finding.count}"] if named else []
    lines += [f"  - {shortened(example)}" for example in finding.examples]
    hidden = finding.count - len(finding.examples)
    return [*lines, f"    ... and {hidden} more"] if hidden > 0 else lines


def report_json(findings: Sequence[Finding]) -> Mapping[str, Any]:
    """Findings for programs."""
    counts = {
        severity: sum(finding.count for finding in findings if finding.severity == severity)
        for severity in ("error", "warning")
    }
    return {
        "fine": counts["error"] == 0,
        "num_errors": counts["error"],
        "num_warnings": sum(finding.severity == "warning" for finding in findings),
        "findings": [{**asdict(finding), "file": str(finding.file)} for finding in findings],
    }
