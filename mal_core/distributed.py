"""The processes that train together: one, or as many as torchrun started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mal_core.process import die_with_parent


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
        return DistributedDataParallel(network, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes of a tensor that each of them has."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values


@contextlib.contextmanager
def joined_group() -> Iterator[Group]:
    """Join the processes that torchrun started with us; alone without torchrun.

    The variables RANK, WORLD_SIZE and LOCAL_RANK decide. Processes that torchrun started
    die with it, however it ends.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if world_size == 1:
        yield Group(rank=0, world_size=1, device=device)
        return
    die_with_parent(os.getppid())
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Group(rank=dist.get_rank(), world_size=world_size, device=device)
    finally:
        dist.destroy_process_group()


def without_exchange(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """No gradient exchange in the backward passes inside; for all but the last of a step."""
    if isinstance(network, DistributedDataParallel):
        return cast("contextlib.AbstractContextManager[None]", network.no_sync())
    return contextlib.nullcontext()
