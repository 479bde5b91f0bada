"""Problems by kind: every sentence of the checks has a name, and nothing is left uncounted."""

import ast
import re
from pathlib import Path

import pytest

from mal_core.data.inspection.findings import (
    KINDS,
    errors_by_kind,
    kind_of,
    report_json,
    report_text,
    warning,
)

FILE = Path("train.json")
ROOT = Path(__file__).resolve().parents[4]
SOURCES = ("validation", "box_table", "mask_census", "categories")


def sentences() -> list[str]:
    """What the checks of a COCO file say, with one value for each that they fill in."""
    found = []
    places = [ROOT / f"mal_core/data/{name}.py" for name in SOURCES]
    for path in [*places, ROOT / "mal_core/geometry/mask_forms.py"]:
        tree = ast.parse(path.read_text())
        whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        inner = {id(part) for node in whole for part in ast.walk(node) if part is not node}
        for node in ast.walk(tree):
            if id(node) in inner:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(one.value) if isinstance(one, ast.Constant) else "'7'"
                    for one in node.values
                ]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    wanted = re.compile(r"(Correct|Add|Give|Write|Merge|Flatten|Multiply)\b.*\.$")
    return [text for text in found if wanted.search(text) and "\n" not in text]


def test_every_sentence_of_the_checks_has_a_kind() -> None:
    found = sentences()
    assert len(found) > 20
    unnamed = [text for text in found if not kind_of(text)]
    assert unnamed == []


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("annotation 1 has category_id=9, but no category has that id. Add it.", "unknown-class"),
        ("annotation 1 has image_id=9, but no image has that id. Add it.", "unknown-image"),
        ("annotation 2 has bbox=[0, 0, -1, 2] with a negative size; COCO", "box-negative"),
        ("image 3: '/a/b.png' is missing. Add the file or drop the image.", "image-missing"),
        ("image 3: '/a/b.png' is 3 x 4 px, but the file says 5 x 6", "image-size"),
        ("category 3 is 'a' here but 'b' in x. Both files must list the same classes.",
         "classes-differ"),
    ],
)  # fmt: skip
def test_a_sentence_belongs_to_its_kind(sentence: str, kind: str) -> None:
    assert kind_of(sentence) == kind


def test_names_of_kinds_are_given_once() -> None:
    assert len({name for name, _ in KINDS}) == len(KINDS)


def test_all_problems_are_counted_and_three_of_a_kind_are_shown() -> None:
    problems = [f"annotation {n} has category_id=9, but no category has that id." for n in range(9)]
    problems.insert(4, "annotation 1 occurs more than once. Give every annotation its own id.")
    text = report_text(errors_by_kind(FILE, problems))
    assert text.splitlines()[0] == "train.json: 10 problems of 2 kinds"
    assert "unknown-class: 9" in text
    assert text.count("has category_id") == 3
    assert "... and 6 more" in text


def test_sentences_without_a_name_group_by_what_they_have_in_common() -> None:
    odd = ["plum 'a' is 3 too ripe", "plum 'b' is 14 too ripe", "pear 'c' is 1 too green"]
    assert [(one.kind, one.count) for one in errors_by_kind(FILE, odd)] == [
        ("other", 2),
        ("other", 1),
    ]


def test_a_problem_of_any_length_is_shortened_for_people_and_whole_for_programs() -> None:
    long = f"annotation 1 has file_name={'x' * 5000!r}"
    (finding,) = errors_by_kind(FILE, [long])
    assert len(report_text([finding])) < 1000
    assert report_json([finding])["findings"][0]["examples"] == (long,)


def test_warnings_keep_a_file_fine() -> None:
    note = warning(FILE, "crowd", "12 annotations are crowds")
    assert note.count == 12
    assert report_json([note])["fine"] is True
    assert report_json([*errors_by_kind(FILE, ["x"]), note])["fine"] is False
