"""The child process that lets a trained segmenter predict images.

python -m phase2_configs.runner.predict JOB.json
"""

import sys

from mal_core.processes.collector import end_uncollected, uncollected_imports


def main(arguments: list[str]) -> int:
    """Run the job file named on the command line; returns the exit status."""
    end_uncollected()
    with uncollected_imports():
        from phase2_configs.runner import prediction
    return prediction.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
