"""`make gpu-check`: does everything run on this GPU, and how fast?

Runs the tests marked `gpu`, phase 1 at the paper's size in three precisions, labeling,
two full-size segmenters, and the whole pipeline with an interruption. Leaves
gpu_check.json and gpu_check.md in --out, also of the parts that passed when one fails.
Each part is a process of its own. Needs no network; where packages are missing, --wheels
names a folder of wheels that are put beside the machine's own.

With --toy it does the same at toy size on whatever is there, a CPU too: its numbers mean nothing.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = ("tests", "phase1", "labeling", "phase2", "pipeline")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "onedl-mmdetection", "onedl-mmcv")
TAIL = 3000


def main() -> int:
    """Run the parts; 1 when one of them failed."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    _environment(options)
    if options.part:  # the child
        return _measure(options.part, options)
    started, results = time.perf_counter(), {}
    for part in options.parts:
        results[part] = _run_part(part, options, started)
        print(f"{part}: {results[part]['status']} in {results[part]['seconds']:.0f} s", flush=True)
        _write(options, results)
    print((options.out / "gpu_check.md").read_text())
    return int(any(result["status"] != "passed" for result in results.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_check")
    parser.add_argument("--wheels", type=Path, help="folder of wheels for what is missing here")
    parser.add_argument("--toy", action="store_true", help="toy sizes, on a CPU too")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--limit", type=float, default=480, help="seconds for everything")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _environment(options: argparse.Namespace) -> None:
    """What children inherit: our packages, carried ones, one OpenMP thread, no telemetry."""
    path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    if options.wheels is not None:
        site = options.out.resolve() / "site"
        if not site.exists():
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
            flags = ["--no-deps", "--no-compile", "--no-cache-dir", "--target", str(site)]
            subprocess.run([*install, *flags, *map(str, options.wheels.glob("*.whl"))], check=True)
        # What `make setup` writes into an environment: torchvision's kernels for mmcv.
        hook = "from phase2_configs.mmcv_compat.mmcv_finder import install\n\ninstall()\n"
        (site / "sitecustomize.py").write_text(hook)
        path.insert(1, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(part for part in path if part))
    sys.path[:0] = [part for part in path if part]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PREFECT_HOME", str(options.out.resolve() / "prefect"))
    os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")


def _run_part(part: str, options: argparse.Namespace, started: float) -> dict[str, Any]:
    """One part as a child process: its numbers, or the end of what it said."""
    before = time.perf_counter()
    left = options.limit - (before - started)
    target = options.out / f"{part}.json"
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--part", part]
    command += ["--out", str(options.out), *(["--toy"] if options.toy else [])]
    log = options.out / f"{part}.log"
    try:
        with log.open("w") as stream:
            done = subprocess.run(
                command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, timeout=max(left, 1)
            )
        status = "passed" if done.returncode == 0 else f"failed ({done.returncode})"
    except subprocess.TimeoutExpired:
        status = "out of time"
    numbers = json.loads(target.read_text()) if target.exists() else None
    result = {"status": status, "seconds": time.perf_counter() - before, "numbers": numbers}
    return result if status == "passed" else {**result, "said": log.read_text()[-TAIL:]}


def _measure(part: str, options: argparse.Namespace) -> int:
    if part == "tests":
        return _tests(options)
    from benchmarks.gpu_check.sizes import FULL, TOY
    from mal_core.processes.files import write_json

    sizes = TOY if options.toy else FULL
    module = import_module(f"benchmarks.gpu_check.{part}")
    arguments = [options.out.resolve() / "runs"] if part == "pipeline" else []
    numbers: dict[str, Any] = {}
    try:
        for name, value in module.measure(sizes, *arguments):
            numbers[name] = value
            # After each: what is known when the time is over is worth having.
            write_json(options.out / f"{part}.json", numbers, indent=1)
    except Exception:  # whatever it is, the other parts go on
        traceback.print_exc()
        return 1
    return int(any("error" in one for one in numbers.values() if isinstance(one, dict)))


def _tests(options: argparse.Namespace) -> int:
    """The tests marked `gpu`; without a GPU all of them skip, which is all that a toy can show."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    files = [
        str(path)
        for path in sorted(ROOT.glob("tests/**/test_*.py"))
        if "pytest.mark.gpu" in path.read_text()
    ]
    done = subprocess.run(
        [*command, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    print(done.stdout[-TAIL:], done.stderr[-TAIL:])
    lines = done.stdout.strip().splitlines()
    summary = {"summary": lines[-1] if lines else ""}
    (options.out / "tests.json").write_text(json.dumps(summary))
    return done.returncode


def _write(options: argparse.Namespace, results: dict[str, Any]) -> None:
    from benchmarks.gpu_check import device
    from benchmarks.gpu_check.table import markdown

    record = {
        "device": device.name(),
        "toy": options.toy,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "parts": results,
    }
    (options.out / "gpu_check.json").write_text(json.dumps(record, indent=1))
    (options.out / "gpu_check.md").write_text(markdown(record))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main())
