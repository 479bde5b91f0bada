"""Files are whole or absent, whatever ends the writer."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mal_core.processes.files import (
    CHUNK_BYTES,
    append_jsonl,
    atomic_path,
    permission_problem,
    sha256_file,
    sha256_json,
    write_json,
)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_digest_of_json_ignores_the_order_of_keys_and_nothing_else() -> None:
    value = {"a": [1, 2.5, None], "b": {"c": "x", "d": True}}
    turned = {"b": {"d": True, "c": "x"}, "a": [1, 2.5, None]}
    assert sha256_json(value) == sha256_json(turned)
    assert sha256_json(value) != sha256_json({**value, "a": [2.5, 1, None]})
    assert sha256_json({"a": "1"}) != sha256_json({"a": 1})


def test_a_digest_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        sha256_json({"a": float("nan")})


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_written_file_can_be_read_by_whom_the_umask_says(
    umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode


def test_a_written_file_replaces_the_old(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    for value in ({"old": 1}, {"new": [1, "\u00e9"]}):
        write_json(target, value)
        assert json.loads(target.read_bytes()) == value
    assert list(target.parent.iterdir()) == [target]


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileExistsError), atomic_path(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        tmp_path.mkdir()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nan_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, 1)
    with pytest.raises(ValueError, match="Out of range"):
        write_json(target, [float("inf")])
    assert json.loads(target.read_text()) == 1


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, "old")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mal_core.processes.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert json.loads(target.read_text()) == "old"


def test_no_pipe_is_replaced_whoever_asks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is no file"):
        write_json(tmp_path / "pipe", 1)
    assert (tmp_path / "pipe").is_fifo()
    assert len([*tmp_path.iterdir()]) == 1


def test_json_lines_are_appended_in_order(tmp_path: Path) -> None:
    for step in range(3):
        append_jsonl(tmp_path / "a.jsonl", {"step": step})
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]


def test_what_may_not_be_read_is_named_with_the_place_that_is_why(tmp_path: Path) -> None:
    inner = tmp_path / "locked" / "inner" / "file.json"
    inner.parent.mkdir(parents=True)
    inner.write_text("{}")
    assert permission_problem(inner) is None
    assert permission_problem(tmp_path / "absent" / "file.json") is None
    locked = tmp_path / "locked"
    code = (
        "import sys; from pathlib import Path;"
        "from mal_core.processes.files import permission_problem;"
        "print(permission_problem(Path(sys.argv[1])))"
    )
    # Root reads everything unless it gives that up.
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-c"]
    if os.getuid() != 0:
        command = command[2:]
    elif shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and there is no setpriv to give that up")
    for place, words in ((inner, "file may not be read"), (locked, "folder may not be entered")):
        place.chmod(0)
        run = subprocess.run(
            [*command, code, str(inner)], capture_output=True, text=True, check=False
        )
        place.chmod(0o755)
        assert f"{words}" in run.stdout, run.stderr
        assert str(place) in run.stdout
