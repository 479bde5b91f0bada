"""Files in pieces: the same value as at once, and the same place of an error."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mal_core.data import json_lists
from mal_core.data.json_lists import Piece, read_lists, read_whole
from mal_core.errors import DatasetError

KEYS = ("images", "annotations")
VALUES: list[Any] = [
    {},
    {"images": []},
    {"images": [], "annotations": [{"a": [1, {"b": "]}"}]}, {}], "x": [1, [2]]},
    {"annotations": [1, "a", None, [2, [3]], {"images": [4]}], "images": [{"id": 1}]},
    {"x": {"images": [1, 2]}, "images": ['a"[', "\\", 'b\\"{', "é😀"]},
    {'y"images': [1], "images": [2], "z": "\\"},
    {"images": 5, "annotations": {"a": 1}},
    [1, {"images": [2]}],
    "images",
    None,
]


def in_pieces(path: Path) -> Any:
    found: dict[str, list[Any]] = {}

    def visit(key: str, piece: Piece) -> None:
        found.setdefault(key, []).extend(piece.exact())

    value = read_lists(path, KEYS, visit)
    return {**value, **found} if isinstance(value, dict) else value


@pytest.mark.parametrize("window", [1, 7, 1 << 20])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 1])
def test_windows_of_any_size_give_the_same_value(
    value: Any, indent: int | None, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "WINDOW_BYTES", window)
    path = tmp_path / "a.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
        assert in_pieces(path) == value


def test_a_long_list_comes_in_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "WINDOW_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{"id": number} for number in range(100)]}))
    pieces: list[Piece] = []
    read_lists(path, KEYS, lambda _, piece: pieces.append(piece))
    assert len(pieces) > 5
    assert max(len(piece.text) for piece in pieces) < 250


def test_a_name_written_with_escapes_is_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"im\\u0061ges": [1, 2], "images\\"": [3]}')
    assert in_pieces(path) == {"images": [1, 2], 'images"': [3]}


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b""])
def test_utf_16_and_byte_order_marks_are_read(start: bytes, tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", {"images": ["é"], "x": 1}
    path.write_bytes(start + json.dumps(value, ensure_ascii=False).encode())
    assert in_pieces(path) == value
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-16")
    assert in_pieces(path) == value


@pytest.mark.parametrize("window", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is empty, which is no JSON text. Is it the right file?"),
        (b" [1,\n2,] ", "broken JSON at line 2, column 3: a comma before ']'. Take it out."),
        (b'{"a": 1, }', "broken JSON at line 1, column 10: a comma before '}'. Take it out."),
        (
            b'{"a": None}',
            "broken JSON at line 1, column 7: None is Python's, JSON has null. Write "
            "with json.dump.",
        ),
        (
            b'{"a": 1 // x\n}',
            "broken JSON at line 1, column 9: a comment, which JSON does not have. Take it out.",
        ),
        (
            b'{"images": [],\n "annotations": [}',
            "broken JSON at line 2, column 18: Expecting value. Is the file complete?",
        ),
        (
            '{"é": 1,\n "images": [{"a": é}]}'.encode(),
            "broken JSON at line 2, column 19: Expecting value. Is the file complete?",
        ),
        (b'{"images": [{}, {},]}', None),
        (b'{"images": [{} {}]}', None),
        (b'{"images": [,{}]}', None),
        (b'{"images": [{}, {"a"', None),
        (
            b'{"images": [] } x',
            "broken JSON at line 1, column 17: Extra data. Is the file complete?",
        ),
        (
            b'{"images": [1,\n"\xe9"]}',
            "is no JSON text: byte 0xe9 at line 2, column 2 is not UTF-8. Save the file as UTF-8.",
        ),
        (
            b'{"images": [1], "images": [2]}',
            "has the list 'images' twice, again at line 1, column 27. Merge the two.",
        ),
        (
            b'{"x":\n' + b"[" * 200 + b"]" * 200 + b"}",
            "is no JSON text that can be read: nested deeper than 100 at line 2, column 100.",
        ),
    ],
)
def test_what_is_no_json_is_located(
    text: bytes,
    problem: str | None,
    window: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_lists, "WINDOW_BYTES", window)
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DatasetError) as caught:
        in_pieces(path)
    assert caught.value.path == path
    (found,) = caught.value.problems
    assert found.startswith("broken JSON at line 1") if problem is None else found == problem


@pytest.mark.parametrize(
    ("entries", "only"),
    [
        ('[{"a": 1, "b": [2.5, [-3e9]], "c": {"d": 4}}, {"u": [0]}]', True),
        ('[{"a": 1, "b": [2.5, "3"]}]', False),
        ('[{"a": "true"}]', False),
        ('[{"a": true}, {"b": 1}]', False),
        ('[{"a": [false]}, {"b": 1}]', False),
        ('[{"a": {"b": null}}]', False),
        ('[{"a": {"b": {"c": 1}}}]', False),
        ('[{"a\\"": 1, "b": [2]}]', False),
        ('[{"null": 1}]', False),
        ("[]", True),
    ],
)
def test_a_text_of_numbers_alone_is_known_as_such(entries: str, only: bool) -> None:
    piece = json_lists.Piece(Path("a.json"), entries.encode(), 0)
    assert not piece.has_only_numbers()
    assert piece.quick() == json.loads(entries)
    assert piece.has_only_numbers() == only


def test_whole_numbers_of_any_size_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [2**70], "x": -(2**64)}))
    assert in_pieces(path) == {"images": [2**70], "x": -(2**64)}
    path.write_text(f'{{"images": [{"1" * 5000}]}}')
    with pytest.raises(DatasetError, match="is no JSON text"):
        in_pieces(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DatasetError, match=r"cannot be read: it is no regular file\. Give a file"):
        read_whole(path)


def test_a_number_of_too_many_digits_is_told_with_its_place(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"images": [],\n "annotations": [{"id": 1' + "0" * 5000 + "}]}")
    with pytest.raises(DatasetError) as caught:
        read_whole(path)
    assert caught.value.problems == (
        "is no JSON text that can be read: a number of too many digits at line 2, column 25.",
    )
