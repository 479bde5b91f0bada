"""A lock ends with its holder and the children that inherited it, and not before."""

import subprocess
import sys
from pathlib import Path

from mal_core.processes.locks import held, held_if_free, is_held

HOLDER = """
import subprocess, sys
from pathlib import Path
from mal_core.processes.locks import held
with held(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def test_a_lock_outlives_a_killed_holder_as_long_as_its_child(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    holder, child = start_holder(path)
    with holder:
        assert is_held(path)
        holder.kill()
        holder.wait()
        assert is_held(path)
        subprocess.run(["kill", "-KILL", str(child)], check=True)
        with held(path):  # the child ends when the kernel gets to it
            assert is_held(path)
    assert not is_held(path)


def test_a_holder_that_leaves_frees_the_lock_whatever_its_child_does(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder, child = start_holder(path)
    waited: list[str] = []

    def let_go() -> None:
        waited.append("waited")
        holder.communicate()

    with held(path, on_wait=let_go):
        assert waited == ["waited"]
    subprocess.run(["kill", "-KILL", str(child)], check=True)


def test_a_lock_is_taken_if_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not is_held(path)
    assert not path.exists()
    with held(path), held_if_free(path) as free:
        assert not free
    with held_if_free(path) as free:
        assert free
        assert is_held(path)
