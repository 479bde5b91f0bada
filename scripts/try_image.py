"""Build the image and try all that is promised of it; minutes, and 20 GB of disk.

    python scripts/try_image.py [--image NAME] [--no-build] [--build-arg KEY=VALUE ...]
                                [--demo] [--compose one|scaled|none] [--report FILE]

Needs Docker with Compose 2.24.4 and Python, nothing of this project. Tried are, as the image's
own user, without a network and with a root file system that cannot be written: an import of every
module, `mal run experiment=smoke`, and with --demo the demo. Then the services of the Compose
files, under a name, a port and volumes of their own that are removed at the end: a run through
server, worker and deployment. What was seen is printed as a table (and written to --report).
"""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "mal-try-image"
USER_ID = 1000
PORT = 4290
KEPT_LINES = 25
COMPOSE_FILES = {
    "one": ["docker-compose.yml"],
    "scaled": ["docker-compose.yml", "docker-compose.scale.yml"],
    "none": [],
}
# BuildKit pads numbers (`[final  3/11]`), and the export, which writes the layers, has none.
BUILD_STEP = re.compile(r"^#(\d+) (?:\[(?:(\S+) )? *\d+/\d+\] (.*)|(exporting to .*))")
BUILD_DONE = re.compile(r"^#(\d+) DONE ([\d.]+)s")
IMPORT_ALL = """
import importlib, pkgutil
rooms = [importlib.import_module(name) for name in ("mal_core", "flows", "scenes")]
found = [one.name for room in rooms
         for one in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
for name in found:
    if not name.endswith("__main__"):
        importlib.import_module(name)
import cv2, mmcv.ops, mmdet.apis, torchvision
print(len(found), "modules")
"""


class TrialError(Exception):
    """Something that the image should do and does not; the message is for a person."""


@dataclass
class Trial:
    """What is tried on which image, and what was seen so far."""

    image: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def step(self, title: str, work: Callable[[], str]) -> None:
        """Do one thing and note how long it took and what it came to."""
        print(f"try_image: {title} ...", flush=True)
        started = time.monotonic()
        seen = work()
        self.rows.append((title, f"{time.monotonic() - started:.0f} s", seen))
        print(f"try_image: {title}: {' | '.join(self.rows[-1][1:])}", flush=True)

    def table(self) -> str:
        """What was seen, as Markdown."""
        lines = ["| tried | time | seen |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)]) + "\n"


def docker(*words: str, variables: dict[str, str] | None = None) -> str:
    """Run one docker command and return what it printed.

    Raises:
        TrialError: It failed; the message has the end of its output.
    """
    done = subprocess.run(
        ["docker", *words],
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-KEPT_LINES:])
        raise TrialError(f"docker {' '.join(words)} ended with {done.returncode}:\n{end}")
    return done.stdout


def build(image: str, arguments: Sequence[str]) -> list[tuple[str, float]]:
    """Build the image; returns each step that took a second, with its seconds."""
    options = [word for one in arguments for word in ("--build-arg", one)]
    printed = docker(
        *("build", "--progress=plain", "--tag", image, *options, "."),
        variables={"DOCKER_BUILDKIT": "1"},
    )
    titles: dict[str, str] = {}
    steps = []
    for line in printed.splitlines():
        if match := BUILD_STEP.match(line):
            titles[match[1]] = f"{match[2] or ''} {match[3] or match[4]}".strip()
        elif (match := BUILD_DONE.match(line)) and match[1] in titles and float(match[2]) >= 1:
            steps.append((titles[match[1]], float(match[2])))
    return steps


def layers(image: str) -> list[tuple[str, str]]:
    """Size and instruction of every layer that holds something, the first one first."""
    listed = docker("history", "--no-trunc", "--format", "{{json .}}", image)
    rows = [json.loads(line) for line in reversed(listed.splitlines())]
    return [
        (row["Size"], " ".join(row["CreatedBy"].split())[:60])
        for row in rows
        if row["Size"] != "0B"
    ]


def in_image(image: str, volume: str, *command: str) -> str:
    """Run a command in the image: its own user, read-only root, no network; /data is a volume."""
    return docker(
        *("run", "--rm", "--init", "--read-only", "--network=none", "--shm-size=2g"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp:exec"),
        *(f"--tmpfs=/home/mal:uid={USER_ID},gid={USER_ID}", f"--volume={volume}:/data"),
        *(f"--entrypoint={command[0]}", image, *command[1:]),
    )


def last_line(text: str) -> str:
    """The last line that says something."""
    return next(line.strip() for line in reversed(text.splitlines()) if line.strip())


def modules(text: str) -> str:
    """The count that the import of everything prints; a warning may come after it."""
    return next(line for line in text.splitlines() if line.endswith(" modules"))


def outcome(text: str) -> str:
    """What a run says at its end: its verdict, its accounting, its cost and its report."""
    _, _, end = text.rstrip().rpartition("\n\n")
    return "<br>".join(end.replace("|", "/").splitlines())


def try_alone(trial: Trial, *, demo: bool) -> None:
    """What needs no server."""
    volume = f"{PROJECT}-data"

    def run(experiment: str) -> Callable[[], str]:
        words = ("mal", "run", f"experiment={experiment}", f"workdir=/data/{experiment}")
        return lambda: outcome(in_image(trial.image, volume, *words))

    def who() -> str:
        user, write = "id -u", "touch /app/x 2>&1 || true"
        return " ".join(in_image(trial.image, volume, "sh", "-c", f"{user}; {write}").split())

    try:
        trial.step("user, and writing to /app", who)
        imports = ("python", "-c", IMPORT_ALL)
        trial.step("import of everything", lambda: modules(in_image(trial.image, volume, *imports)))
        trial.step("`mal run experiment=smoke`", run("smoke"))
        trial.step("the same again", run("smoke"))
        if demo:
            trial.step("`mal run experiment=demo`", run("demo"))
    finally:
        docker("volume", "rm", "--force", volume)


class Services:
    """The services of the Compose files, under a name of their own."""

    def __init__(self, image: str, files: Sequence[str], runs: Path) -> None:
        name, _, tag = image.rpartition(":")
        if name != "mal-pipeline":
            raise TrialError(f"Compose starts mal-pipeline:TAG; {image} is another image.")
        self._files = [word for file in files for word in ("--file", file)]
        self._variables = {
            # What stands in an address would break there.
            "POSTGRES_PASSWORD": f"@:/%$ {secrets.token_hex(8)}",
            "PREFECT_BIND": f"127.0.0.1:{PORT}",
            "PREFECT_SCALE_BIND": f"127.0.0.1:{PORT}-{PORT + 1}",
            "MAL_TAG": tag,
            "MAL_RUNS": str(runs),
            "MAL_DATA": str(runs),
        }

    def compose(self, *words: str) -> str:
        """One command of docker compose."""
        before = ("compose", "--project-name", PROJECT, "--profile", "deploy")
        return docker(*before, *self._files, *words, variables=self._variables)

    def start(self) -> str:
        """Start all and wait until they are healthy."""
        before = ("compose", "--project-name", PROJECT)
        docker(*before, *self._files, "up", "--detach", "--no-build", variables=self._variables)
        self.wait("worker")
        rows = [json.loads(line) for line in self.compose("ps", "--format", "json").splitlines()]
        return ", ".join(f"{row['Service']} {row['Health'] or row['State']}" for row in rows)

    def wait(self, service: str) -> None:
        """Wait until a service is healthy.

        Raises:
            TrialError: It is not after three minutes.
        """
        end = time.monotonic() + 180
        while '"Health":"healthy"' not in self.compose("ps", "--format", "json", service):
            if time.monotonic() > end:
                raise TrialError(f"{service} is not healthy:\n{self.compose('logs', '--tail=40')}")
            time.sleep(2)

    def prefect(self, *words: str) -> str:
        """One prefect command in a container of the service `deploy`."""
        return last_line(self.compose("run", "--rm", "deploy", *words))

    def smoke(self, workdir: str) -> str:
        """A run of the smallest experiment through server and worker."""
        overrides = json.dumps(["experiment=smoke", f"workdir={workdir}"])
        words = ("--no-prompt", "deployment", "run", "mal-pipeline/full", "--watch")
        return self.prefect(*words, "--param", f"overrides={overrides}")

    def stop(self) -> str:
        """Stop in order, as `docker compose stop` does."""
        self.compose("stop")
        listed = self.compose("ps", "--all", "--format", "json")
        rows = [json.loads(line) for line in listed.splitlines()]
        return ", ".join(f"{row['Service']} {row['ExitCode']}" for row in rows)


def try_services(trial: Trial, files: Sequence[str]) -> None:
    """Server, worker, database and a run, as the Compose files start them."""
    with tempfile.TemporaryDirectory(prefix="mal-try-image-") as name:
        runs = Path(name)
        os.chown(runs, USER_ID, USER_ID)
        services = Services(trial.image, files, runs)
        try:
            trial.step(f"`docker compose up` ({len(files)} files)", services.start)
            trial.step(
                "`docker compose run --rm deploy`",
                lambda: last_line(services.compose("run", "--rm", "deploy")),
            )
            automation = ("automation", "create", "--from-file", "automations.yaml")
            trial.step("the automation", lambda: services.prefect(*automation))
            trial.step("a run on the worker", lambda: services.smoke("runs/smoke"))
            trial.step("its files", lambda: owners(runs / "smoke"))
            trial.step("`docker compose stop`, exit codes", services.stop)
        finally:
            services.compose("down", "--volumes", "--timeout", "30")


def owners(folder: Path) -> str:
    """How many files a run left, and whose they are.

    Raises:
        TrialError: It left none.
    """
    files = [file for file in folder.rglob("*") if file.is_file()]
    if not files:
        raise TrialError(f"The run left nothing in {folder}.")
    return f"{len(files)} files of user {', '.join({str(file.stat().st_uid) for file in files})}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", default="mal-pipeline:latest")
    parser.add_argument("--no-build", action="store_true", help="the image is there already")
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--demo", action="store_true", help="the demo too; 6 CPU minutes")
    parser.add_argument("--compose", choices=COMPOSE_FILES, default="one")
    parser.add_argument("--report", type=Path)
    return parser.parse_args(arguments)


def try_image(trial: Trial, options: argparse.Namespace) -> None:
    """Build, measure, run."""
    if not options.no_build:
        trial.step("build", lambda: steps_text(build(trial.image, options.build_arg)))
    trial.step("layers", lambda: "<br>".join(" ".join(one) for one in layers(trial.image)))
    try_alone(trial, demo=options.demo)
    if options.compose != "none":
        try_services(trial, COMPOSE_FILES[options.compose])


def steps_text(steps: Sequence[tuple[str, float]]) -> str:
    """The steps of a build in a cell of the table."""
    return "<br>".join(f"{seconds:.0f} s {title[:60]}" for title, seconds in steps)


def main(arguments: Sequence[str]) -> int:
    """Try the image; 0 when it does all that it should, 1 with the reason when not."""
    options = parse(arguments)
    trial = Trial(options.image)
    code = 0
    try:
        try_image(trial, options)
    except (TrialError, OSError) as error:
        print(f"try_image: {error}", file=sys.stderr)
        code = 1
    print(trial.table())
    if options.report is not None:
        options.report.write_text(trial.table())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
