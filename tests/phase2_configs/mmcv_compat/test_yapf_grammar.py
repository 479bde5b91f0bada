"""Trainings that start side by side on a machine without yapf's cache."""

import os
import subprocess
import sys
from pathlib import Path

FORMAT = "from mmengine.config import Config; Config({'a': 1}).pretty_text; "
OURS = f"from phase2_configs.mmcv_compat import yapf_grammar; {FORMAT}import os; "


def run_python(code: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def half_written_grammars(cache: Path) -> list[Path]:
    """What a process killed while yapf wrote its cache leaves behind."""
    assert run_python("import yapf", cache).returncode == 0
    found = list(cache.rglob("*.pickle"))
    for path in found:
        path.write_bytes(b"")
    return found


def test_half_a_grammar_in_the_cache_is_not_read(tmp_path: Path) -> None:
    assert half_written_grammars(tmp_path)
    without = run_python(FORMAT, tmp_path)
    assert "EOFError" in without.stderr, "yapf reads its cache safely now: this module can go"
    assert run_python(OURS, tmp_path).stderr == ""


def test_the_users_cache_folder_is_left_as_it_was(tmp_path: Path) -> None:
    result = run_python(f"{OURS}print(os.environ['XDG_CACHE_HOME'])", tmp_path)
    assert result.stdout.strip() == str(tmp_path), result.stderr
    assert list(tmp_path.rglob("*.pickle")) == []
    code = f"import os; del os.environ['XDG_CACHE_HOME']; {OURS}"
    result = run_python(f"{code}print('XDG_CACHE_HOME' in os.environ)", tmp_path)
    assert result.stdout.strip() == "False", result.stderr
