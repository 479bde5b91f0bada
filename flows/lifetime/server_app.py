"""Prefect's server as an application for uvicorn: the process that a temporary server runs in."""

from typing import Any

from mal_core.processes.collector import end_uncollected, uncollected_imports


def create_app() -> Any:
    """Prefect's own application (FastAPI)."""
    end_uncollected()
    with uncollected_imports():
        from prefect.server.api.server import create_app as prefects
    return prefects()
