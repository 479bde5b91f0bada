"""An S3 server in a process of its own, on the loopback interface."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

BUCKET = "machines"
PATIENCE_S = 120
ADDRESS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


class S3Server:
    """Starts at once; `environment` is what a client needs, `url` a place that exists.

    Args:
        folder: For the server's log.
        strict: Refuse keys that nobody issued, that is all of them.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        log = folder / "s3_server.log"
        # Port 0: the kernel picks a free one. A pipe that nobody reads would fill up.
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        variables = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if strict else {}
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **variables}
            )
        self.environment = {
            "AWS_ENDPOINT_URL": self._address(log),
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "a secret of nobody",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self.url = f"s3://{BUCKET}"

    def _address(self, log: Path) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := ADDRESS.search(log.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(log.read_text())
            time.sleep(0.05)
        return found[1]

    def make_bucket(self) -> None:
        """Make the bucket that `url` names; the environment must be set."""
        import fsspec

        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)

    def stop(self) -> None:
        """End the server and forget what it stored."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
