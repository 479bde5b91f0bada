"""A run on several machines: node 0 does everything, the others join in its trainings."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.store.code_version import code_version
from mal_core.config.roles import Role, keys_with
from mal_core.processes import nodes
from mal_core.processes.nodes import Nodes

_leading = threading.Event()


@contextlib.contextmanager
def leading(config: RunConfig) -> Iterator[None]:
    """Wait for the other machines, if there are any; trainings inside run on all of them.

    Inside itself it does nothing: a flow is one whoever started it.

    Raises:
        NodeError: A machine did not come in time.
        ConfigError: A machine was started with other settings or runs other code.
    """
    if config.num_nodes == 1 or _leading.is_set():
        yield
        return
    _leading.set()
    try:
        with nodes.leading(_nodes(config)):
            yield
    finally:
        _leading.clear()


def follow(config: RunConfig) -> None:
    """Join the trainings of node 0 until its run has ended; leaves node_RANK.log.

    Raises:
        NodeError: Node 0 failed, has ended, or did not come in time.
    """
    nodes.follow(_nodes(config), config.workdir / f"node_{config.node_rank}.log")


def _nodes(config: RunConfig) -> Nodes:
    host, _, port = str(config.rendezvous).rpartition(":")
    return Nodes(
        count=config.num_nodes,
        rank=config.node_rank,
        host=host,
        port=int(port),
        patience_s=60 * config.node_wait_minutes,
        settings=_common_settings(config),
    )


def _common_settings(config: RunConfig) -> dict[str, Any]:
    own = keys_with(RunConfig, Role.PER_MACHINE)
    common = {key: value for key, value in composing.plain(config).items() if key not in own}
    common["version of the code"] = code_version(
        ["mal_core.jobs.worker", "phase2_configs.runner.train"]
    )
    return common
