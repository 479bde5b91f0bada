"""A terminal of another encoding gets one sentence, and no garbled names."""

import os
import subprocess
import sys

import pytest

PYTHON = [
    sys.executable,
    "-c",
    "from flows.commands.cli import main; raise SystemExit(main(['history']))",
]


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    return subprocess.run(
        PYTHON, env={**kept, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("encoding", ["C", "POSIX"])
def test_a_locale_without_utf8_is_refused_in_one_sentence(encoding: str) -> None:
    result = run(LC_ALL=encoding, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert result.returncode == 2
    assert result.stderr == (
        "mal: the locale's encoding is ANSI_X3.4-1968, and names and files are UTF-8 here. Set "
        "PYTHONUTF8=1, or LC_ALL=C.UTF-8.\n"
    )


@pytest.mark.parametrize(
    "variables",
    [{"LC_ALL": "C", "PYTHONUTF8": "1"}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}],
    ids=["told", "named", "coerced by Python"],
)
def test_what_it_advises_helps(variables: dict[str, str], tmp_path) -> None:
    result = run(**variables, MAL_STORE=str(tmp_path))
    assert "remembers no evaluation yet" in result.stderr
