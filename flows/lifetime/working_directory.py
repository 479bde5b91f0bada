"""The pull step of all deployments: where a run finds the code and its relative paths."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def enter_project() -> dict[str, str]:
    """Work in the folder that this project is installed from.

    That is the checkout for a worker on this machine and /app in our image, whoever deployed
    and from wherever.

    Returns:
        The step's output in the form that Prefect expects.
    """
    os.chdir(PROJECT)
    return {"directory": str(PROJECT)}
