"""Create, update or repair the virtual environment; needs nothing but Python.

Safe to kill at any moment and to run again: the stamp is written last, and a run that finds no
stamp checks every installed file before it trusts it. Two runs at once wait for each other.
"""

import argparse
import contextlib
import csv
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
BUILD_TOOLS = ("setuptools", "wheel", "packaging", "ninja", "psutil")
GIGABYTE = 10**9
NEEDED_BYTES = 9 * GIGABYTE
STAMP_NAME = "mal-setup.stamp"
FINDER_PTH = "mal_pipeline_mmcv_ops.pth"
# One line, because only lines that start with "import" run. Silent where the project is gone:
# an interpreter must start, and then mmcv itself says that its ops are missing.
FINDER_LINE = (
    "import sys, importlib.machinery as m; "
    "m.PathFinder.find_spec('phase2_configs') and "
    "__import__('phase2_configs.mmcv_compat.mmcv_finder', fromlist=['install']).install()\n"
)
SILENT_PTH = "mal_pipeline_no_telemetry.pth"
# `prefect server start` by hand would report to its maker, and say so when it cannot: both of
# Prefect's switches are off for every command of this environment, unless its user sets them.
SILENT_LINE = (
    "import os; os.environ.setdefault('PREFECT_SERVER_ANALYTICS_ENABLED', 'false'); "
    "os.environ.setdefault('DO_NOT_TRACK', '1')\n"
)
KEPT_LINES = 20


class SetupError(Exception):
    """The environment cannot be made; the message is one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What to build and where."""

    venv: Path
    mmcv_ops: str
    cuda: bool

    @property
    def python(self) -> Path:
        """The interpreter inside the environment."""
        return self.venv / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its distributions live."""
        return self.venv / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"

    @property
    def stamp(self) -> Path:
        """The file that says the environment is complete, and made from what."""
        return self.venv / STAMP_NAME

    @property
    def log(self) -> Path:
        """Where pip's output goes."""
        return self.venv / "mal-setup.log"

    def key(self) -> str:
        """Digest of everything that decides what the environment holds."""
        digest = hashlib.sha256()
        for path in (LOCK, ROOT / "pyproject.toml", *sorted(Path(__file__).parent.glob("*.py"))):
            digest.update(path.read_bytes())
        facts = (sys.version_info[:3], str(ROOT), str(self.venv), self.mmcv_ops, self.cuda)
        digest.update(repr(facts).encode())
        return digest.hexdigest()


def say(message: str) -> None:
    """Print one line at once."""
    print(f"setup: {message}", flush=True)


def pinned(name: str) -> str:
    """The `name==version` of one distribution in the lock.

    Raises:
        SetupError: The lock does not name it.
    """
    match = re.search(rf"^{re.escape(name)}==[^\s;]+", LOCK.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f"{LOCK.name} pins no version of {name}; add a line {name}==VERSION.")
    return match.group()


def is_complete(environment: Environment) -> bool:
    """Whether the last setup finished and nothing it depends on has changed."""
    return (
        environment.stamp.is_file()
        and environment.python.exists()
        and (environment.venv / "bin" / "mal").exists()
        and environment.stamp.read_text().strip() == environment.key()
    )


def check_disk(environment: Environment) -> None:
    """Refuse to start an installation that cannot fit.

    Raises:
        SetupError: Too little room beside the environment or in the temporary folder.
    """
    if (environment.site_packages / "torch" / "version.py").exists():
        return
    places = {environment.venv.parent, Path(tempfile.gettempdir())}
    for place in sorted(places):
        free = shutil.disk_usage(place).free
        if free < NEEDED_BYTES:
            raise SetupError(
                f"{place} has {free / GIGABYTE:.1f} GB free, but about "
                f"{NEEDED_BYTES / GIGABYTE:.0f} GB are needed to install torch and its "
                "libraries; free some space (TMPDIR moves the temporary files)."
            )


def child_environment() -> dict[str, str]:
    """Our environment without what would lead pip away from the virtual environment."""
    dropped = {"PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@contextlib.contextmanager
def torch_hidden() -> Iterator[dict[str, str]]:
    """Variables under which builds do not find torch.

    mmcv's build compiles its ops, for many minutes, wherever it can import torch and has no
    switch against that; our compiled ops have a build of their own.
    """
    with tempfile.TemporaryDirectory(prefix="mal-setup-") as folder:
        reason = "torch is hidden from builds by the setup script"
        Path(folder, "torch.py").write_text(f"raise ModuleNotFoundError({reason!r})\n")
        yield {"PYTHONPATH": folder}


class Installer:
    """Runs pip inside the environment; logs everything, shows little."""

    def __init__(self, environment: Environment, held_fd: int) -> None:
        self._environment = environment
        self._held_fd = held_fd

    def pip(self, *arguments: str, total: int = 0) -> None:
        """Run one pip command; what it builds does not find torch.

        Args:
            arguments: pip's own.
            total: How many packages it will name, for the progress line; 0 shows none.

        Raises:
            SetupError: pip failed; the message carries the end of its output.
        """
        command = [str(self._environment.python), "-I", "-m", "pip", *arguments]
        with torch_hidden() as variables:
            self.run(command, total=total, variables=variables)

    def run(
        self,
        command: Sequence[str],
        *,
        total: int = 0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run one command, its output into the log.

        Raises:
            SetupError: It failed; the message carries the end of its output.
        """
        tail: deque[str] = deque(maxlen=KEPT_LINES)
        with (
            self._environment.log.open("a", buffering=1) as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**child_environment(), **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # A child that outlives a killed setup keeps the lock, so a second setup waits.
                pass_fds=(self._held_fd,),
            ) as process,
        ):
            log.write("$ " + " ".join(command) + "\n")
            counter = ProgressLine(total)
            for line in process.stdout or ():
                log.write(line)
                tail.append(line)
                counter.see(line)
            counter.close()
        if process.returncode != 0:
            raise SetupError(
                f"{' '.join(command[:6])} ... ended with code {process.returncode}; "
                f"the last lines of {self._environment.log}:\n{''.join(tail)}"
            )


class ProgressLine:
    """One line that grows at a terminal, a line now and then in a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0
        self._terminal = sys.stdout.isatty()

    def see(self, line: str) -> None:
        """Count pip's line if it begins a package."""
        if not self._total:
            return
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            self._seen += 1
            self._show(line.split(": ")[-1].removeprefix("Collecting ").split()[0])
        elif line.startswith("Installing collected packages"):
            self._seen = self._total
            self._show("(unpacking, a minute or two)")

    def _show(self, name: str) -> None:
        text = f"setup: package {self._seen}/{self._total} {name}"
        if self._terminal:
            print(f"\r{text:<79.79}", end="", flush=True)
        elif self._seen % 50 == 0 or self._seen == self._total:
            print(text, flush=True)

    def close(self) -> None:
        """End the growing line."""
        if self._terminal and self._seen:
            print()


def create_venv(environment: Environment) -> None:
    """Make the virtual environment, or keep one whose interpreter and pip work."""
    probe = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if environment.python.exists():
        command = [str(environment.python), "-I", "-c", probe]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
    say(f"creating {environment.venv}")
    command = [sys.executable, "-m", "venv", "--clear", str(environment.venv)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SetupError(f"{' '.join(command)} failed: {result.stdout}{result.stderr}".strip())


def is_whole(dist_info: Path) -> bool:
    """Whether every file of an installed distribution is there in its recorded size."""
    record = dist_info / "RECORD"
    if not record.is_file() or not (dist_info / "INSTALLER").is_file():
        return False
    with record.open(newline="") as stream:
        for row in csv.reader(stream):
            # Byte code is rewritten at will, even the little that wheels bring along.
            if len(row) != 3 or not row[2] or row[0].endswith(".pyc"):
                continue
            try:
                size = os.stat(dist_info.parent / row[0]).st_size  # noqa: PTH116 -- 60,000 files
            except OSError:
                return False
            if size != int(row[2]):
                return False
    return True


def drop_broken(environment: Environment) -> None:
    """Forget half-installed distributions, so that pip installs them again.

    pip refuses to replace a distribution whose record is missing, which is what a kill leaves
    behind; without its metadata it is simply installed over.
    """
    if not environment.site_packages.is_dir():
        return
    for leftover in environment.site_packages.glob("~*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for dist_info in sorted(environment.site_packages.glob("*.dist-info")):
        if not is_whole(dist_info):
            say(f"repairing {dist_info.name.removesuffix('.dist-info')}")
            shutil.rmtree(dist_info)


def install_lock(installer: Installer) -> None:
    """Install every pinned distribution that is not there yet."""
    # The build tools first and no build isolation: the few source distributions are then built
    # by the pinned setuptools, not by whichever is newest today.
    installer.pip("install", "--no-deps", *map(pinned, BUILD_TOOLS))
    total = sum(1 for line in LOCK.read_text().splitlines() if "==" in line)
    installer.pip(
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--progress-bar=off",
        "-r",
        str(LOCK),
        total=total,
    )


def has_compiled_ops(environment: Environment) -> bool:
    """Whether mmcv's own extension is installed."""
    return any((environment.site_packages / "mmcv").glob("_ext*.so"))


def install_mmcv_ops(environment: Environment, installer: Installer) -> None:
    """Bring mmcv into the wanted state: with its compiled ops, or without them."""
    requirement = pinned("onedl-mmcv")
    reinstall = ("install", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    if environment.mmcv_ops == "compiled":
        say("mmcv's compiled ops: from the wheel cache, or built now (5-15 minutes)")
        wheel_note = environment.venv / "mal-mmcv-wheel"
        builder = [str(environment.python), str(ROOT / "scripts" / "build_mmcv_ops.py")]
        cuda = ["--cuda"] if environment.cuda else []
        installer.run([*builder, requirement, "--note", str(wheel_note), *cuda])
        installer.pip(*reinstall, "--force-reinstall", wheel_note.read_text().strip())
    elif has_compiled_ops(environment):
        say("replacing mmcv's compiled ops by torchvision's kernels")
        installer.pip(*reinstall, "--force-reinstall", requirement)


def install_project(environment: Environment, installer: Installer) -> None:
    """Make `mal` and the mmcv ops available from any directory, and Prefect send nothing."""
    installer.pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    (environment.site_packages / FINDER_PTH).write_text(FINDER_LINE)
    (environment.site_packages / SILENT_PTH).write_text(SILENT_LINE)
    check = "import cv2, mmcv.ops, prefect, timm, torchvision; import mal_core, flows"
    installer.run([str(environment.python), "-c", check])


def build(environment: Environment, held_fd: int) -> None:
    """Do whatever is missing, then write the stamp."""
    started = time.monotonic()
    environment.stamp.unlink(missing_ok=True)
    check_disk(environment)
    create_venv(environment)
    environment.log.write_text("")
    installer = Installer(environment, held_fd)
    drop_broken(environment)
    say(f"installing {LOCK.name} (a fresh environment downloads about 3 GB)")
    install_lock(installer)
    install_mmcv_ops(environment, installer)
    install_project(environment, installer)
    unfinished = environment.stamp.with_suffix(".tmp")
    unfinished.write_text(environment.key() + "\n")
    unfinished.replace(environment.stamp)
    say(f"{environment.venv} is ready ({time.monotonic() - started:.0f} s)")


def parse(arguments: Sequence[str]) -> Environment:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--mmcv-ops", choices=("torchvision", "compiled"), default="torchvision")
    parser.add_argument("--cuda", action="store_true", help="compile mmcv's ops for CUDA too")
    options = parser.parse_args(arguments)
    return Environment(venv=options.venv.absolute(), mmcv_ops=options.mmcv_ops, cuda=options.cuda)


def main(arguments: Sequence[str]) -> int:
    """Make the environment complete; 0 when it is, 1 with one sentence when it cannot be."""
    environment = parse(arguments)
    if is_complete(environment):
        return 0
    environment.venv.parent.mkdir(parents=True, exist_ok=True)
    held_fd = os.open(environment.venv.parent, os.O_RDONLY)
    try:
        fcntl.flock(held_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another setup is at work here; waiting for it")
        fcntl.flock(held_fd, fcntl.LOCK_EX)
    try:
        if not is_complete(environment):
            build(environment, held_fd)
    except (SetupError, OSError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    finally:
        os.close(held_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
