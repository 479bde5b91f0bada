"""A Ray cluster on this machine, for as long as one process needs it.

Ray's own helpers outlive a driver that is killed by a minute and more, and listen on all
interfaces. So the cluster is the child of a keeper, `python -m flows.workers.local_ray WORKERS`,
which ends it in order when its standard input closes, as it does however we end.
"""

import contextlib
import ctypes
import functools
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mal_core.errors import MalCoreError

PR_SET_CHILD_SUBREAPER = 36
READY = "ray is ready at "
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's name for: a cluster of one machine, which binds to loopback and nothing else.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray would hide all GPUs from tasks that reserve none; shards choose theirs by number.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
}


@functools.cache
def environment() -> dict[str, str]:
    """Variables of a local cluster and of all that connect to it, to be set before Ray is imported.

    Loopback is open to every user of the machine, so the cluster asks for a token. It is
    drawn once per process, because Ray remembers the first one, and is in no file.
    """
    return {**ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextlib.contextmanager
def local_ray(workers: int) -> Iterator[str]:
    """Start a cluster; yields its address.

    Raises:
        MalCoreError: It does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.workers.local_ray", str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment()},
        start_new_session=True,  # Ctrl-C is for us; we tell the keeper
    )
    try:
        yield _address(process)
    finally:
        process.communicate()  # closes its input, then waits


def _address(process: "subprocess.Popen[str]") -> str:
    seen = []
    for line in process.stdout or ():
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        seen.append(line)
    message = f"the local Ray cluster did not start:\n{''.join(seen[-20:])}"
    raise MalCoreError(message)


def main() -> None:
    """Keep a cluster until standard input closes."""
    _adopt_orphans()
    import ray

    context = ray.init(
        "local",
        num_cpus=int(sys.argv[1]),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    sys.stdout.write(f"{READY}{context.address_info['gcs_address']}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # there is one way to end
    sys.stdin.read()
    ray.shutdown()
    _kill_children()


def _adopt_orphans() -> None:
    # What Ray's processes leave behind becomes our child, not init's.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _kill_children() -> None:
    """Kill what still runs, and what that leaves to us."""
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _children() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # "pid (name) state parent ...", where the name may hold anything.
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main()
