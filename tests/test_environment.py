"""The environment is what the lock says, and setup behaves when something is wrong."""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.script_files import load_script

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
OPENCV_DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def locked() -> list[Requirement]:
    lines = (line.strip() for line in LOCK.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def wanted_here() -> list[Requirement]:
    return [one for one in locked() if one.marker is None or one.marker.evaluate()]


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    return load_script("setup")


# --- the lock ---------------------------------------------------------------------------------


def test_every_locked_distribution_is_installed_in_its_locked_version() -> None:
    wrong = {}
    for requirement in wanted_here():
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = "absent"
        if not requirement.specifier.contains(version.split("+")[0], prereleases=True):
            wrong[requirement.name] = (version, str(requirement.specifier))
    assert wrong == {}


def test_the_lock_pins_each_distribution_once_and_names_no_host() -> None:
    names = [canonicalize_name(requirement.name) for requirement in locked()]
    assert len(names) == len(set(names))
    for requirement in locked():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert requirement.url is None
    assert not re.search(r"https?:|file:|--index|--find-links|--hash", LOCK.read_text())


def test_the_lock_satisfies_what_the_project_declares() -> None:
    versions = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in locked()}
    declared = [Requirement(line) for line in metadata.requires("mal-pipeline") or ()]
    runtime = [one for one in declared if one.marker is None]
    assert len(runtime) > 15
    unmet = [
        str(one)
        for one in runtime
        if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))
    ]
    assert unmet == []


# Some distributions need more on the first releases of 3.11; Debian 12 has 3.11.2.
@pytest.mark.parametrize(
    "release", ["3.11.0", "3.11.2", platform.python_version(), "3.11.99", "3.12.1", "3.13.0"]
)
def test_the_lock_is_complete_but_for_the_second_opencv_and_image_corruptions(release: str) -> None:
    version = release.rpartition(".")[0]
    python = {"extra": "", "python_version": version, "python_full_version": release}
    chosen = [one for one in locked() if one.marker is None or one.marker.evaluate(python)]
    names = {canonicalize_name(requirement.name) for requirement in chosen}
    absent = set()
    for requirement in wanted_here():
        for line in metadata.requires(requirement.name) or ():
            needed = Requirement(line)
            applies = needed.marker is None or needed.marker.evaluate(python)
            if applies and canonicalize_name(needed.name) not in names:
                absent.add(canonicalize_name(needed.name))
    assert absent == {"opencv-python", "imagecorruptions-imaug"}


def test_exactly_one_distribution_owns_cv2_and_it_is_the_headless_one() -> None:
    installed = []
    for name in OPENCV_DISTRIBUTIONS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        installed.append(name)
    assert installed == ["opencv-python-headless"]
    assert set(metadata.packages_distributions()["cv2"]) == {"opencv-python-headless"}


SWITCHES = ("PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK")


@pytest.mark.parametrize(("given", "expected"), [(None, "false 1"), ("true", "true true")])
def test_prefect_by_hand_sends_no_telemetry_unless_its_user_wants_it(
    given: str | None, expected: str
) -> None:
    environment = {name: text for name, text in os.environ.items() if name not in SWITCHES}
    environment |= dict.fromkeys(SWITCHES, given) if given is not None else {}
    printed = "from prefect.settings import get_current_settings as s; import os; print(str("
    printed += "s().server.analytics_enabled).lower(), os.environ['DO_NOT_TRACK'])"
    done = subprocess.run(
        [sys.executable, "-c", printed],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected.split()


# --- setup ------------------------------------------------------------------------------------


def find_python(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "find_python.sh")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def other_interpreter(folder: Path, version: str, *, has_venv: bool) -> Path:
    """An executable that answers the script's questions as another Python would."""
    path = folder / "otherpython"
    answer = "exit 0" if has_venv else "exit 1"
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *version_info*) echo {version} ;; *) {answer} ;; esac\n'
    )
    path.chmod(0o755)
    return path


def test_a_named_python_of_the_right_version_is_used() -> None:
    result = find_python(PYTHON=sys.executable)
    assert result.returncode == 0
    assert Path(result.stdout.strip()).samefile(sys.executable)


def test_a_wrong_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    python = other_interpreter(tmp_path, "3.9", has_venv=True)
    result = find_python(PYTHON=str(python))
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "is 3.9, but Python 3.11, 3.12 or 3.13 is needed" in result.stderr


def test_a_python_that_does_not_exist_is_refused_in_one_sentence() -> None:
    result = find_python(PYTHON="/nowhere/python3.11")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "PYTHON=/nowhere/python3.11 is not a command" in result.stderr


def test_no_python_at_all_is_reported_in_one_sentence(tmp_path: Path) -> None:
    result = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "find_python.sh")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "no Python 3.11, 3.12 or 3.13 found" in result.stderr


def test_a_python_without_venv_is_refused_in_one_sentence(tmp_path: Path) -> None:
    python = other_interpreter(tmp_path, "3.11", has_venv=False)
    result = find_python(PYTHON=str(python))
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot make virtual environments" in result.stderr


def test_too_little_disk_is_refused_in_one_sentence_before_anything_is_made(
    tmp_path: Path,
    setup_script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    beyond = shutil.disk_usage(tmp_path).total + 1
    monkeypatch.setattr(setup_script, "NEEDED_BYTES", beyond)
    code = setup_script.main(["--venv", str(tmp_path / "venv")])
    captured = capsys.readouterr()
    assert code == 1
    assert len(captured.err.splitlines()) == 1
    assert re.search(r"has \d+\.\d GB free, but about \d+ GB are needed", captured.err)
    assert not (tmp_path / "venv").exists()


def make_distribution(site_packages: Path) -> Path:
    """A tiny distribution, recorded the way pip records one."""
    dist_info = site_packages / "small-1.0.dist-info"
    dist_info.mkdir(parents=True)
    (site_packages / "small.py").write_text("x = 1\n")
    (dist_info / "INSTALLER").write_text("pip\n")
    (dist_info / "RECORD").write_text("small.py,sha256=abc,6\nsmall-1.0.dist-info/RECORD,,\n")
    return dist_info


def test_a_whole_distribution_is_left_alone(tmp_path: Path, setup_script: ModuleType) -> None:
    assert setup_script.is_whole(make_distribution(tmp_path))


@pytest.mark.parametrize("damage", ["small.py", "small-1.0.dist-info/RECORD", "truncated"])
def test_what_a_killed_installation_leaves_is_noticed_and_forgotten(
    damage: str, tmp_path: Path, setup_script: ModuleType
) -> None:
    environment = setup_script.parse(["--venv", str(tmp_path)])
    dist_info = make_distribution(environment.site_packages)
    (environment.site_packages / "~mall").mkdir()
    if damage == "truncated":
        (environment.site_packages / "small.py").write_text("x")
    else:
        (environment.site_packages / damage).unlink()
    assert not setup_script.is_whole(dist_info)
    setup_script.drop_broken(environment)
    assert not dist_info.exists()
    assert not (environment.site_packages / "~mall").exists()


def test_the_stamp_depends_on_the_ops_and_on_the_place(
    tmp_path: Path, setup_script: ModuleType
) -> None:
    arguments = (
        ["--venv", str(tmp_path / "a")],
        ["--venv", str(tmp_path / "b")],
        ["--venv", str(tmp_path / "a"), "--mmcv-ops", "compiled"],
        ["--venv", str(tmp_path / "a"), "--mmcv-ops", "compiled", "--cuda"],
    )
    keys = {setup_script.parse(one).key() for one in arguments}
    assert len(keys) == len(arguments)
    assert setup_script.parse(arguments[0]).key() == setup_script.parse(arguments[0]).key()


def test_builds_under_setup_do_not_find_torch(setup_script: ModuleType) -> None:
    code = "import torch"
    with setup_script.torch_hidden() as variables:
        environment = {**setup_script.child_environment(), **variables}
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert "hidden from builds" in result.stderr


def test_mmcv_wheels_are_cached_per_python_torch_and_mmcv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = load_script("build_mmcv_ops")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = builder.cache_folder("onedl-mmcv==2.3.6", cuda=False)
    assert folder.parent == tmp_path / "mal-pipeline" / "wheels"
    for part in (
        "onedl-mmcv-2.3.6",
        f"py{sys.version_info[0]}{sys.version_info[1]}",
        f"torch{metadata.version('torch')}",
        "cpu",
    ):
        assert part in folder.name


TARGETS = ("setup", "demo", "test", "quick", "check", "fix")
CONVENIENCES = ("bench", "server", "worker", "deploy", "clean")


@pytest.mark.parametrize("target", TARGETS + CONVENIENCES)
def test_every_make_target_expands_to_commands(target: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", target]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize(("given", "seen"), [(None, "1"), ("3", "3")])
def test_make_gives_one_openmp_thread_unless_the_user_says_otherwise(
    given: str | None, seen: str, tmp_path: Path
) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if given is not None:
        inherited["OMP_NUM_THREADS"] = given
    probe = tmp_path / "probe.mk"
    probe.write_text(f'include {ROOT / "Makefile"}\nprobe:\n\t@echo "$$OMP_NUM_THREADS"\n')
    result = subprocess.run(
        ["make", "--no-print-directory", "-f", str(probe), "probe"],
        cwd=tmp_path,
        env=inherited,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == seen


# --- containers follow the same steps ---------------------------------------------------------


def test_the_container_is_built_by_the_script_and_the_lock_that_make_setup_uses() -> None:
    dockerfile, makefile = (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    for shared in ("scripts/setup.py", "--mmcv-ops"):
        assert shared in dockerfile
        assert shared in makefile
    assert "requirements.lock" in dockerfile
    assert "pip install" not in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)


def test_everything_the_container_copies_exists_and_passes_the_ignore_file() -> None:
    admitted = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            sources = [word for word in line.split()[1:-1] if not word.startswith("--")]
            copied.update(sources)
    assert {name.split("/")[0] for name in copied} == admitted
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []


def test_every_variable_that_compose_expects_is_explained_in_the_example() -> None:
    expected = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    explained = set(re.findall(r"^#?\s*(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert expected
    assert expected <= explained
