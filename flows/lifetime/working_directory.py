"""The pull step of all deployments: where a run finds the code and its relative paths."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def enter_project() -> dict[str, str]:
    """Work in the checkout of this project, or where the worker was started.

    That is the checkout for a worker on this machine and /app in our image, whoever deployed
    and from wherever. A wheel lies among other packages, where no run may leave its folders: its
    runs work where their worker was started, which Prefect's temporary folder for a run is not.

    Returns:
        The step's output in the form that Prefect expects.
    """
    folder = PROJECT if (PROJECT / "pyproject.toml").is_file() else _where_the_worker_started()
    os.chdir(folder)
    return {"directory": str(folder)}


def _where_the_worker_started() -> Path:
    """The folder of the shell that started the worker, which children inherit as PWD."""
    return Path(os.environ.get("PWD") or Path.cwd())
