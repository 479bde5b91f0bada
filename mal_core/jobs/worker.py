"""The child process of phase 1: `python -m mal_core.jobs.worker train|label|shard JOB.json`."""

import sys
from pathlib import Path

from mal_core.processes.collector import end_uncollected, uncollected_imports


def main() -> int:
    """Run the job of the command line; returns the exit status."""
    end_uncollected()
    with uncollected_imports():
        from mal_core.jobs import duties
    return duties.perform(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())
