"""Places that nothing can be written to, or where something else lies, are told of first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mal_core.errors import ConfigError
from mal_core.processes.places import FOLDER, JSON, ONNX, PAGE, Kind, check_place, leaving_nothing


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def link_to_pipe(folder: Path) -> Path:
    (folder / "link").symlink_to(pipe(folder))
    return folder / "link"


def link_to_stdout(folder: Path) -> Path:
    """As /dev/stdout is one; behind this lies an ordinary file."""
    (folder / "link").symlink_to("/proc/self/fd/1")
    return folder / "link"


def link_to_nothing(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nothing.json")
    return folder / "link"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "deep" / "a.json"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "is a device, a pipe or another stream"),
        (link_to_pipe, "is a device, a pipe or another stream"),
        (link_to_stdout, "is a device, a pipe or another stream"),
        (link_to_nothing, r"is a link to .*nothing\.json, which is not there"),
        (below_a_file, "lies below .*file, which is a file"),
        (lambda _: Path("/proc/new/a"), "cannot be written"),
        (lambda _: Path("/proc/a"), "cannot be written"),
        (lambda folder: folder / ("x" * 300), "cannot be written .*name too long"),
    ],
)
@pytest.mark.parametrize("kind", [JSON, FOLDER])
def test_a_place_that_cannot_be_written_is_refused_and_stays(
    make: Callable[[Path], Path], said: str, kind: Kind, tmp_path: Path
) -> None:
    place = make(tmp_path)
    before = sorted((path, path.lstat().st_mode) for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=f"^output={place} (?i:{said})"):
        check_place(place, kind=kind)
    assert sorted((path, path.lstat().st_mode) for path in tmp_path.rglob("*")) == before


def test_a_device_is_refused_and_stays(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(ConfigError, match="is a device"):
        check_place(tmp_path / "null")
    assert (tmp_path / "null").is_char_device()


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("a.json", b"\xff\xd8 a photo", JSON, "is there already and is no JSON file"),
        ("a.onnx", b"PK a checkpoint", ONNX, "is there already and is no ONNX file"),
        ("a.json", b'{"a": 1}', PAGE, "is there already and is no HTML file"),
        ("a.json", b'{"a": 1}', FOLDER, "is a file, and a folder is written there"),
        ("a.xml", None, JSON, r"ends with \.xml, but what is written there is JSON. Name it a\.js"),
        ("a.json.gz", None, JSON, r"ends with \.gz"),
        ("a.json", None, FOLDER, "looks like a file"),
    ],
)
def test_what_is_of_another_kind_is_neither_replaced_nor_written(
    name: str, content: bytes | None, kind: Kind, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        check_place(tmp_path / name, kind=kind)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([content] if content else [])


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("new/deep/a.json", None, JSON),
        ("a", None, JSON),
        ("A.JSON", b"[1]", JSON),
        ("a.json", b"", JSON),
        ("a.onnx", b"\x08\x07", ONNX),
        ("new/folder", None, FOLDER),
        (".", None, FOLDER),
    ],
)
def test_a_place_of_its_own_kind_passes_and_nothing_is_left(
    name: str, content: bytes | None, kind: Kind, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    check_place(tmp_path / name, kind=kind)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_input_is_refused_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="is the input"):
        check_place(tmp_path / "link", [tmp_path / "a.json"])
    with pytest.raises(ConfigError, match=r"^that place is the input"):
        check_place(tmp_path / "x" / ".." / "a.json", [tmp_path / "a.json"], told="that place")


def fill(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "half").write_text("x")
    message = "no"
    raise ValueError(message)


def test_a_failure_leaves_neither_what_it_made_nor_the_way_there(tmp_path: Path) -> None:
    place = tmp_path / "new" / "deep" / "place"
    with pytest.raises(ValueError, match="no"), leaving_nothing(place):
        fill(place)
    assert not [*tmp_path.iterdir()]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(ValueError, match="no"), leaving_nothing(place):
        fill(place / "below")
    assert (place / "below" / "half").is_file()
    shutil.rmtree(place / "below")
