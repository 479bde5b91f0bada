"""Install the wheel into fresh environments of other Pythons and run it from an empty folder.

    python scripts/wheel_check.py [--smoke] [--minutes 20] [VERSION ...]

For each version (3.11, 3.12 and 3.13 unless named): `pip install WHEEL` without the lock, then
`mal --version`, `mal check` on drawn scenes and an import of everything that a segmenter needs;
with --smoke all of `mal run experiment=smoke`. Versions that this machine lacks, or that
cannot be installed in time, are named and left out. Exit status 1 when one of the others fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
SEGMENTERS = "import phase2_configs.runner.training, mmcv.ops, mmdet.models"
KEPT_LINES = 15
NOT_OURS = ("ReadTimeout", "ConnectionError", "NewConnectionError", "No space left on device")
"""What pip says when the registry or the disk is to blame."""
DROPPED = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PREFECT_API_URL", "MAL_SHARED_STORE"}


class CheckError(Exception):
    """An interpreter for which the wheel does not work; the message is for a person."""


class LateError(Exception):
    """The check cannot be made here: the time is over, the registry or the disk failed."""


class Clock:
    """Runs commands until the time is over."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def run(self, command: Sequence[str | Path], folder: Path) -> str:
        """Run one command in a folder, with nothing of this checkout in its environment.

        Raises:
            CheckError: It failed; the message has the end of its output.
            LateError: It did not end in time, or nothing could be fetched.
        """
        kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
        own = {name: str(folder / name.lower()) for name in ("MAL_STORE", "PREFECT_HOME")}
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env={**kept, **own, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=max(1.0, self.end - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LateError(f"the time is over, in {' '.join(words[:4])}") from error
        said = done.stdout + done.stderr
        if done.returncode and any(word in said for word in NOT_OURS):
            raise LateError(said.strip().splitlines()[-1])
        if done.returncode:
            tail = "\n".join(said.splitlines()[-KEPT_LINES:])
            raise CheckError(f"{' '.join(words[:5])} ended with {done.returncode}:\n{tail}")
        return done.stdout


def interpreter(version: str) -> Path | None:
    """A Python of that version that runs, of this machine or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}*/bin/python{version}"))
    candidates = [shutil.which(f"python{version}"), *reversed(installed)]
    for path in filter(None, candidates):
        probe = [str(path), "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return Path(path)
    return None


def build_wheel(python: Path, folder: Path, clock: Clock) -> Path:
    """The wheel of this checkout, built from a copy: setuptools leaves a folder of its own."""
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    clock.run([python, "-m", "pip", "wheel", "--no-deps", "-w", folder / "wheel", source], folder)
    (wheel,) = (folder / "wheel").glob("*.whl")
    return wheel


def check(version: str, folder: Path, clock: Clock, *, smoke: bool) -> str:
    """Install and run the wheel; returns what was seen.

    Raises:
        CheckError: Something does not work.
        LateError: The time is over.
    """
    python = interpreter(version)
    if python is None:
        return "not on this machine, left out"
    begun = time.monotonic()
    clock.run([python, "-m", "venv", folder / "venv"], folder)
    inside = folder / "venv" / "bin"
    wheel = build_wheel(inside / "python", folder, clock)
    clock.run([inside / "pip", "install", "--progress-bar=off", wheel], folder)
    installed = time.monotonic() - begun
    empty = folder / "empty"
    empty.mkdir()
    told = clock.run([inside / "mal", "--version"], empty).strip()
    clock.run([inside / "mal", "check", "experiment=smoke"], empty)
    clock.run([inside / "python", "-c", SEGMENTERS], empty)
    if not (folder / "venv" / "share" / "mal-pipeline" / "prefect.yaml").is_file():
        raise CheckError("the wheel brought no prefect.yaml")
    if smoke:
        clock.run([inside / "mal", "run", "experiment=smoke"], empty)
    ran = "mal run experiment=smoke" if smoke else "mal check, imports of mmdet"
    return f"{told}; installed in {installed:.0f} s; {ran}"


def main(arguments: Sequence[str]) -> int:
    """Check each version; 1 when one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run experiment=smoke in each, too")
    parser.add_argument("--minutes", type=float, default=60.0, help="leave out what takes longer")
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    options = parser.parse_args(arguments)
    clock, failed = Clock(options.minutes), False
    for version in options.versions:
        with tempfile.TemporaryDirectory(prefix="mal-wheel-") as folder:
            try:
                outcome = check(version, Path(folder), clock, smoke=options.smoke)
            except CheckError as error:
                outcome, failed = f"FAILED: {error}", True
            except LateError as error:
                outcome = f"left out: {error}"
        print(f"Python {version}: {outcome}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
