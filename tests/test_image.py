"""The image holds what the pipeline uses: what is taken out, and what CPU wheels save."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.script_files import load_script

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def slim_script() -> ModuleType:
    return load_script("slim_image")


def test_what_only_the_tests_need_is_not_used_and_what_runs_need_is(
    slim_script: ModuleType,
) -> None:
    used = slim_script.used_distributions("mal-pipeline", slim_script.LEFT_OUT)
    assert {"pytest", "mypy", "playwright", "sphinx", "moto"}.isdisjoint(used)
    assert {"torch", "prefect", "ray", "prefect-redis", "transformers", "asyncpg"} <= used


def test_without_leaving_anything_out_nothing_declared_is_missing(slim_script: ModuleType) -> None:
    everything = slim_script.used_distributions("mal-pipeline", set())
    assert {"pytest", "sphinx", "ray", "torch"} <= everything


def test_nothing_that_a_kept_distribution_must_have_is_gpu_only(slim_script: ModuleType) -> None:
    # Only torch asks for them, for CUDA.
    askers = set()
    for name in slim_script.used_distributions("mal-pipeline", slim_script.LEFT_OUT):
        needed = {canonicalize_name(one.name) for one in slim_script.requirements(name, ())}
        if needed & slim_script.GPU_ONLY:
            askers.add(name)
    assert askers - slim_script.GPU_ONLY == {"torch"}


def library(path: Path, name: str, *linked: Path) -> Path:
    """A shared library that is linked with others beside it, found by where it lies."""
    path.mkdir(parents=True, exist_ok=True)
    target = path / name
    words = [word for other in linked for word in (f"-L{other.parent}", f"-l:{other.name}")]
    places = [f"-Wl,-rpath,{other.parent}" for other in linked]
    command = ["cc", "-shared", "-x", "c", "/dev/null", "-o", str(target), f"-Wl,-soname,{name}"]
    subprocess.run(
        [*command, "-x", "none", "-Wl,--no-as-needed", *words, *places],
        check=True,
        capture_output=True,
    )
    return target


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_linked_cuda_libraries_stay_and_the_others_go(
    tmp_path: Path, slim_script: ModuleType
) -> None:
    cuda = tmp_path / "nvidia" / "cu13" / "lib"
    solver = library(cuda, "libcusolver.so.12")
    deeper = library(cuda, "libnvJitLink.so.13")
    sparse = library(cuda, "libcusparse.so.12", deeper)
    graph = library(tmp_path / "nvidia" / "cudnn" / "lib", "libcudnn_graph.so.9")
    inside = tmp_path / "torch" / "lib"
    library(inside, "libtorch.so", sparse)
    algebra = library(inside, "libtorch_cuda_linalg.so", solver)
    gone = set(slim_script.unlinked_cuda_files(tmp_path))
    assert gone == {solver, algebra}
    assert {deeper, sparse, graph}.isdisjoint(gone)


def test_the_image_for_cpus_sees_no_gpu(slim_script: ModuleType) -> None:
    seen = "; import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    done = subprocess.run(
        [sys.executable, "-c", slim_script.NO_GPU_LINE.strip() + seen],
        env={"CUDA_VISIBLE_DEVICES": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "''"


def test_with_cpu_wheels_exactly_the_cuda_lines_of_the_lock_are_left_out(
    slim_script: ModuleType,
) -> None:
    pattern = re.search(r"sed -i -E '/(.*)/d' requirements.lock", (ROOT / "Dockerfile").read_text())
    assert pattern is not None
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    left_out = {Requirement(line).name for line in lock if re.search(pattern[1], line)}
    asked = {canonicalize_name(one.name) for one in slim_script.requirements("torch", ())}
    assert {str(name) for name in asked if re.match("nvidia|cuda|triton", name)} <= left_out
    others = slim_script.used_distributions("mal-pipeline", set()) - left_out - {"torch"}
    needed = {
        canonicalize_name(one.name) for name in others for one in slim_script.requirements(name, ())
    }
    assert needed.isdisjoint(left_out)
