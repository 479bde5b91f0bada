"""Labeling as the settings say: in one child process, or in shards side by side."""

import importlib.util
import shutil
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from flows.settings.run_config import RunConfig
from flows.stages.run import Run, ShardRunner
from flows.workers.side_by_side import side_by_side
from mal_core.errors import ConfigError
from mal_core.jobs import phase1, shards
from mal_core.types import PseudoLabelSet

ANSWER_S = 10.0
EXTRAS = {"dask": ("prefect_dask", "distributed"), "ray": ("prefect_ray", "ray")}


def check_label_runner(config: RunConfig) -> None:
    """Refuse a runner whose packages are not installed, or whose cluster does not answer.

    Raises:
        ConfigError: The message says what to install or to start.
    """
    runner = config.label_runner
    absent = [name for name in EXTRAS.get(runner, ()) if importlib.util.find_spec(name) is None]
    if absent:
        message = (
            f"label_runner={runner} needs the package {absent[0]}: "
            f"pip install 'mal-pipeline[{runner}]', or choose label_runner=threads."
        )
        raise ConfigError(message)
    for key in ("dask_address", "ray_address"):
        address = getattr(config, key)
        if address not in (None, "auto"):
            _require_reachable(key, address)


def _require_reachable(key: str, address: str) -> None:
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        with socket.create_connection((place.hostname or "", place.port or 0), ANSWER_S):
            return
    except (OSError, ValueError) as error:
        message = (
            f"{key}={address} does not answer: {error}. Start that cluster, or leave {key} out "
            "for workers on this machine."
        )
        raise ConfigError(message) from error


def label(run: Run, job: phase1.LabelJob) -> PseudoLabelSet:
    """Label every box of a job, in as many shards as the settings say.

    Shards only fill the journal. The file is written by the one child that writes it
    without shards too, and which labels whatever no shard has: same code, same bytes.

    Raises:
        MalCoreError: A shard or the last child failed. What is labeled stays in the journal.
    """
    config, folder = run.config, job.output.parent
    if config.label_shards > 1 or config.label_runner != "threads":
        paths = shards.write_shard_jobs(job, config.label_shards)
        with shards.owned(folder), shards.shown_together(paths):
            _runner(run)(config, paths)
    labels = phase1.label_in_child(job)
    if (folder / shards.SHARDS).exists():
        shutil.rmtree(folder / shards.SHARDS)
    return labels


def _runner(run: Run) -> ShardRunner:
    if run.shard_runner is not None:
        return run.shard_runner
    if run.config.label_runner != "threads":
        message = (
            f"label_runner={run.config.label_runner} works through Prefect: use `mal` or the "
            "flow, or give Run(shard_runner=flows.workers.shards.run_shards)."
        )
        raise ConfigError(message)
    return in_threads


def in_threads(config: RunConfig, paths: Sequence[Path]) -> None:
    """Label shards in children of this process; the first that fails ends all."""
    calls = [partial(shards.label_shard_in_child, path) for path in paths]
    side_by_side(calls, config.labelers_side_by_side)
