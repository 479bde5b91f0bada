"""The child process that trains segmenters; `phase2_configs.runner.training` says what it leaves.

python -m phase2_configs.runner.train JOB.json [JOB.json ...]
torchrun --nproc-per-node=N -m phase2_configs.runner.train JOB.json
"""

import sys

from mal_core.processes.collector import end_uncollected, uncollected_imports


def main(arguments: list[str]) -> int:
    """Run the job files named on the command line; returns the exit status."""
    end_uncollected()
    with uncollected_imports():
        from phase2_configs.runner import training
    return training.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
