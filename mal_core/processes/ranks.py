"""The processes that train together: one, or as many as torchrun started."""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mal_core.errors import ConfigError
from mal_core.processes.children import die_with_parent
from mal_core.processes.files import write_json

_T = TypeVar("_T")
SECONDS_TO_LET_GO = 0.2
HARDWARE_FILE = "hardware.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """This process among those that train together.

    Attributes:
        rank: Number of this process, 0 to world_size - 1; 0 writes all files.
        world_size: Processes on all machines.
        device: Where this process computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over the processes, where there are several."""
        if self.world_size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        # Some encoders own layers that their feature map does not use.
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        return DistributedDataParallel(
            network, device_ids=devices, broadcast_buffers=False, find_unused_parameters=True
        )

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes of a tensor that each of them has.

        Args:
            values: Float, any shape, the same in all processes. Receives the mean.

        Returns:
            `values`, same shape.
        """
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def agrees_on(self, number: int) -> bool:
        """Whether every process has the same number."""
        mine = torch.tensor(float(number), device=self.device, dtype=torch.float64)
        # Differences from the mean vanish only together.
        return not bool(self.mean((self.mean(mine.clone()) - mine).abs()) > 0)

    def require_same(self, number: int, what: str) -> None:
        """Refuse to go on where processes find different files.

        Raises:
            ConfigError: The processes do not have the same number; `what` names its source.
        """
        if not self.agrees_on(number):
            message = (
                f"the processes do not find the same {what}: all machines of one training "
                "need a common folder, or none of them a saved state."
            )
            raise ConfigError(message)

    def gather(self, part: Mapping[int, _T]) -> dict[int, _T]:
        """The parts of all processes in one mapping, in every process, by rising key."""
        parts: list[Any] = [part]
        if self.world_size > 1:
            parts = [None] * self.world_size
            dist.all_gather_object(parts, part)
        return dict(sorted(item for some in parts for item in some.items()))

    def share(self, value: _T) -> _T:
        """What the main process has, in every process."""
        values: list[Any] = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(values, device=self.device)
        return cast("_T", values[0])

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world_size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined_group() -> Iterator[Group]:
    """Join the processes that torchrun started with us; alone without torchrun.

    The variables RANK, WORLD_SIZE and LOCAL_RANK decide. Processes that torchrun started
    die with it, however it ends.

    Raises:
        ConfigError: Fewer GPUs than processes on this machine.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if world_size == 1:
        yield Group(rank=0, world_size=1, device=device)
        return
    die_with_parent(os.getppid())
    if cuda and local_rank >= torch.cuda.device_count():
        message = (
            f"process {local_rank} of this machine finds {torch.cuda.device_count()} GPUs: "
            "each process needs one, lower num_processes."
        )
        raise ConfigError(message)
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        group = Group(rank=dist.get_rank(), world_size=world_size, device=device)
        yield group
        group.wait()
    finally:
        # gloo's threads free our last tensors under Python's lock. Whoever frees the group
        # holds that lock while it waits for those threads: they need a moment before.
        time.sleep(SECONDS_TO_LET_GO)
        dist.destroy_process_group()


def record_hardware(folder: Path, side_by_side: int = 1) -> None:
    """Leave hardware.json: `device`, the name of what computes here, and `devices`, how many.

    Args:
        folder: Receives the file.
        side_by_side: Independent processes that do this work together; they share the GPUs.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    device, devices = "CPU", int(os.environ.get("WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
        side_by_side = min(side_by_side, torch.cuda.device_count())
    devices *= side_by_side
    write_json(folder / HARDWARE_FILE, {"device": device, "devices": devices})


def without_exchange(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """No gradient exchange in the backward passes inside; for all but the last of a step."""
    if isinstance(network, DistributedDataParallel):
        return cast("contextlib.AbstractContextManager[None]", network.no_sync())
    return contextlib.nullcontext()
