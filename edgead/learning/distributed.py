"""Several processes as one training, started by torchrun; a single process needs none of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started; yields (rank, number of processes)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter], world: int) -> None:
    """Replace every gradient by its mean over the processes; nothing to do for one."""
    if world == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world


def take_from_first(module: nn.Module, world: int) -> None:
    """Give every process the tensors of the first: batch statistics differ where batches do."""
    if world > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def same_for_all(value: int, world: int, device: torch.device) -> int:
    """The first process's value, in every process."""
    if world == 1:
        return value
    held = torch.tensor([value], dtype=torch.int64, device=device)
    dist.broadcast(held, src=0)
    return int(held)


def device_for_rank(rank: int) -> torch.device:
    """A GPU where there is one, by the rank on this machine."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", str(rank)))
    return torch.device("cuda", local % torch.cuda.device_count())


def share_batch(batch: int, world: int) -> int:
    """Images for each process; even, so that half of them can be good."""
    return max(2, batch // world // 2 * 2)
