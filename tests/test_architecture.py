"""The shape of the project, checked by machine."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mal_core", "flows", "phase2_configs", "scenes", "scripts", "tests")
LINE_WALL = 400


def python_files(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots.add(str(node.module).split(".")[0])
    return roots


def test_imports_point_down() -> None:
    # The command, not the library: it is what `make check` runs and it reads pyproject.toml.
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_the_wall(package: str) -> None:
    files = python_files(package)
    assert files, f"{package} holds no Python file"
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LINE_WALL} == {}


def test_hydra_omegaconf_and_pydantic_enter_through_the_settings_only() -> None:
    foreign = {"hydra", "omegaconf", "pydantic"}
    users = {
        str(path.relative_to(ROOT))
        for path in python_files("mal_core", "flows", "phase2_configs", "scenes")
        if imported_roots(path) & foreign
    }
    assert users == {
        "flows/settings/form.py",
        "flows/settings/recipes.py",
        "flows/settings/composing.py",
    }


def test_the_library_knows_nothing_of_the_embedded_scenes() -> None:
    users = [str(path) for path in python_files("mal_core") if "scenes" in imported_roots(path)]
    assert users == []


def test_every_segmenter_has_its_mmdet_config() -> None:
    choices = sorted(path.stem for path in (ROOT / "conf" / "segmenter").glob("*.yaml"))
    assert choices
    absent = [name for name in choices if not (ROOT / "phase2_configs" / f"{name}.py").is_file()]
    assert absent == []


@pytest.mark.parametrize("package", ["mal_core", "flows"])
def test_every_module_of_a_library_has_a_docstring_of_its_duty(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files(package)
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_file_is_called_utils() -> None:
    names = {path.stem for path in python_files(*PACKAGES)}
    assert names & {"utils", "util", "helpers", "common", "misc"} == set()
