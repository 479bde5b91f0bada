"""Build mmcv with its own compiled ops, once per python, torch and mmcv version.

Runs inside the virtual environment, because the build needs its torch. The wheel is kept under
`${XDG_CACHE_HOME:-$HOME/.cache}/mal-pipeline/wheels` and reused by every checkout.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

COMMON_HEADER = Path("mmcv/ops/csrc/common/pytorch_cpp_helper.hpp")
# -g0 and a precompiled torch header bring fourteen minutes of compilation down to three.
COMPILER_FLAGS = ("-O2", "-g0", "-fwrapv", "-DNDEBUG", "-fPIC", "-std=c++17")
EXTENSION_DEFINES = ("-DTORCH_API_INCLUDE_EXTENSION_H", "-DTORCH_EXTENSION_NAME=_ext")
BYTES_PER_JOB = 1_500_000_000


def cache_folder(requirement: str, *, cuda: bool) -> Path:
    """Where the wheel of exactly this combination is kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    torch_version = metadata.version("torch")
    flavour = f"cuda{cuda_version()}" if cuda else "cpu"
    name = requirement.replace("==", "-")
    key = f"{name}-{python}-torch{torch_version}-{flavour}-{sys.platform}-{platform.machine()}"
    return base / "mal-pipeline" / "wheels" / key


def cuda_version() -> str:
    """The CUDA that torch was built for."""
    import torch

    return str(torch.version.cuda)


def run(command: Sequence[str], *, cwd: Path, extra: dict[str, str] | None = None) -> None:
    """Run one command and show it; a failure ends the build."""
    print("$", shlex.join(command), flush=True)
    subprocess.run(command, cwd=cwd, env={**os.environ, **(extra or {})}, check=True)


def pip(*arguments: str) -> list[str]:
    """A pip command of this interpreter, deaf to the newest build tools."""
    return [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-build-isolation"]


def fetch_source(requirement: str, folder: Path) -> Path:
    """Download and unpack the source distribution; returns its folder."""
    name = requirement.split("==")[0]
    run([*pip("download", requirement), "--no-binary", name, "--dest", str(folder)], cwd=folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def precompile_header(source: Path) -> list[str]:
    """Compile the header that every op includes; returns the flags that use it."""
    from torch.utils import cpp_extension

    header = source / COMMON_HEADER
    includes = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
    flags = [
        *COMPILER_FLAGS,
        *EXTENSION_DEFINES,
        *(f"-I{folder}" for folder in (source / "mmcv/ops/csrc", header.parent)),
        *(f"-isystem{folder}" for folder in includes),
    ]
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    run([*compiler, "-x", "c++-header", *flags, str(header), "-o", f"{header}.gch"], cwd=source)
    return [*flags, "-include", str(header)]


def jobs() -> int:
    """As many compilers as processors and memory allow."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // BYTES_PER_JOB))


def build_wheel(requirement: str, target: Path, *, cuda: bool) -> None:
    """Compile into a scratch folder and move the finished wheel into the cache."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mmcv-ops-") as scratch:
        source = fetch_source(requirement, Path(scratch))
        # nvcc does not take a host compiler's precompiled header.
        flags = COMPILER_FLAGS if cuda else precompile_header(source)
        finished = Path(scratch) / "wheel"
        settings = {
            "FORCE_CUDA": "1" if cuda else "0",
            "MAX_JOBS": os.environ.get("MAX_JOBS", str(jobs())),
            "CFLAGS": " ".join(flags),
        }
        wheel = pip("wheel", "--no-cache-dir", "--wheel-dir", str(finished), str(source))
        run(wheel, cwd=source, extra=settings)
        # The cache may be on another disk: copy beside the target, then rename.
        staged = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target.parent))
        for path in finished.glob("*.whl"):
            shutil.copy2(path, staged)
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)


def main(arguments: Sequence[str]) -> int:
    """Write the path of the wheel into --note, building it first where the cache has none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirement", help="onedl-mmcv==VERSION")
    parser.add_argument("--note", type=Path, required=True)
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args(arguments)
    target = cache_folder(options.requirement, cuda=options.cuda)
    if not list(target.glob("*.whl")):
        started = time.monotonic()
        build_wheel(options.requirement, target, cuda=options.cuda)
        print(f"built in {(time.monotonic() - started) / 60:.1f} minutes: {target}")
    (wheel,) = target.glob("*.whl")
    options.note.write_text(f"{wheel}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
