"""Take out of an image's environment what nothing in the image can use.

    .venv/bin/python -I scripts/slim_image.py [--cuda]

Versions stay those of the lock. What goes: distributions that only the extras `dev` and `docs`
ask for, and, unless the image is for CUDA, the compiler of GPU kernels (triton), CUDA libraries
that the loader does not map when torch is imported, and files for compiling against torch. The
CUDA libraries that torch's ordinary wheel is linked with have to stay: without them it cannot be
imported, even on a CPU. Byte code stays: a read-only image could never write it again. Folders
of tests stay: numpy.testing, which scipy and torch import, imports from numpy's.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "mal-pipeline"
LEFT_OUT = {"dev", "docs"}
KEPT = {"pip"}
"""What no metadata asks for and a person in a container does."""
GPU_ONLY = {"triton", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit"}
"""Distributions of torch's ordinary wheel that nothing loads where there is no GPU."""
FOR_COMPILING = (
    "torch/include",
    "torch/share",
    "torch/bin/p*",
    "nvidia/*/include",
    "nvidia/**/*.a",
)
NO_GPU_PTH = "mal_pipeline_no_gpu.pth"
# On a host with GPUs that lends them to the container torch would find them, and then not find
# its libraries.
NO_GPU_LINE = "import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''\n"
SMALL_BUT_ASKED = "libcudnn_graph.so*"
"""torch.backends.cudnn.version() opens it; mmengine and others print that."""
MEGABYTE = 10**6


def requirements(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    """What one installed distribution with these extras needs on this machine."""
    for line in metadata.requires(name) or ():
        one = Requirement(line)
        chosen = [{"extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(one.marker.evaluate(extra) for extra in chosen):
            yield one


def used_distributions(project: str, without: set[str]) -> set[str]:
    """Installed distributions that the project needs, with all of its extras but some."""
    declared = metadata.metadata(project).get_all("Provides-Extra") or []
    waiting = [(project, frozenset(declared) - without)]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        for one in requirements(name, extras):
            needed = (str(canonicalize_name(one.name)), frozenset(one.extras))
            if needed not in seen and is_installed(needed[0]):
                seen.add(needed)
                waiting.append(needed)
    return {name for name, _ in seen}


def is_installed(name: str) -> bool:
    """Whether a distribution is there."""
    return next(iter(metadata.distributions(name=name)), None) is not None


def uninstall(names: Iterable[str]) -> None:
    """Let pip remove distributions.

    Raises:
        subprocess.CalledProcessError: It could not.
    """
    command = [sys.executable, "-I", "-m", "pip", "uninstall", "--yes", "--quiet"]
    options = ["--root-user-action=ignore", "--disable-pip-version-check"]
    subprocess.run([*command, *options, *sorted(names)], check=True)


def linked_libraries(site_packages: Path) -> set[Path]:
    """Every file that the loader maps when torch and torchvision are imported.

    Raises:
        subprocess.CalledProcessError: ldd refused a file.
    """
    roots = [*site_packages.glob("torch/lib/*.so"), *site_packages.glob("torchvision/*.so")]
    found = set()
    for root in roots:
        if root.name == "libtorch_cuda_linalg.so":
            continue  # opened for linear algebra on a GPU only
        listed = subprocess.run(["ldd", str(root)], check=True, capture_output=True, text=True)
        found |= {Path(path).resolve() for path in re.findall(r"=> (/\S+)", listed.stdout)}
    return found


def unlinked_cuda_files(site_packages: Path) -> list[Path]:
    """CUDA libraries and device code that an import of torch leaves alone."""
    linked = linked_libraries(site_packages)
    files = [*site_packages.glob("nvidia/**/*.so*"), *site_packages.glob("nvidia/**/*.bc")]
    files += site_packages.glob("torch/lib/libtorch_cuda_linalg.so")
    return [
        file for file in files if file.resolve() not in linked and not file.match(SMALL_BUT_ASKED)
    ]


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def size_mb(folder: Path) -> int:
    """What the files of a folder hold, in megabytes."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) // MEGABYTE


def slim(site_packages: Path, *, cuda: bool) -> None:
    """Take out what cannot be used, and say how much that was."""
    before = size_mb(site_packages)
    installed = {canonicalize_name(one.name) for one in metadata.distributions()}
    unused = installed - used_distributions(PROJECT, LEFT_OUT) - KEPT
    if not cuda:
        unused |= GPU_ONLY & installed
    uninstall(unused)
    after = size_mb(site_packages)
    print(f"slim: {len(unused)} distributions, {before - after} MB: {' '.join(sorted(unused))}")
    if cuda:
        return
    files = [*unlinked_cuda_files(site_packages)]
    for pattern in FOR_COMPILING:
        files += site_packages.glob(pattern)
    for file in files:
        remove(file)
    (site_packages / NO_GPU_PTH).write_text(NO_GPU_LINE)
    end = size_mb(site_packages)
    print(f"slim: {len(files)} files and folders of CUDA and for compiling, {after - end} MB")
    print(f"slim: {before} MB before, {end} MB after")


def main(arguments: Sequence[str]) -> int:
    """Slim the environment of this interpreter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuda", action="store_true", help="keep what a GPU needs")
    options = parser.parse_args(arguments)
    slim(Path(sysconfig.get_paths()["platlib"]), cuda=options.cuda)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
