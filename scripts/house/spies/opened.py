"""Notes each time that Hydra opens the root of the settings: once for every composing."""

import os
import sys
from pathlib import Path

ROOT_FILE = os.path.join("conf", "config.yaml")  # noqa: PTH118


def watch() -> None:
    """From now on, in this process."""
    notes = Path(os.environ["HOUSE_NOTES"]) / f"{os.getpid()}.opened"

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(ROOT_FILE):
            descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, b"composed\n")
            os.close(descriptor)

    sys.addaudithook(note)
