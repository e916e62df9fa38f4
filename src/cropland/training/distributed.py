"""A training in several processes: each computes its share of every batch, and the gradients are averaged.

`torchrun --nproc-per-node=2 -m cropland train ...` starts them, on one machine or on several. All have the same weights
before and after every step. The first process alone writes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch import distributed as dist

from cropland.errors import ChipError, RecipeError

__all__ = ["Processes", "processes"]

PATIENCE = timedelta(hours=2)  # the others wait that long while the first one plans, writes or scores


@dataclass(frozen=True)
class Processes:
    """The processes of one training: how many there are, and which one this is, counted from 0."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes, shows and plans."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """The items of a batch that this process computes. Raises `RecipeError` if they cannot be shared evenly."""
        if batch % self.count:
            raise RecipeError(
                "training.batch = {batch} cannot be shared evenly by {count} processes; start a number of processes "
                "that divides it",
                batch=batch,
                count=self.count,
            )
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message for each type of number."""
        if self.count == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for same in kinds.values():
            flat = torch.cat([tensor.flatten() for tensor in same])
            dist.all_reduce(flat)
            means = torch.split(flat / self.count, [tensor.numel() for tensor in same])
            for tensor, mean in zip(same, means, strict=True):
                tensor.copy_(mean.view_as(tensor))

    def total(self, counts: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
        """The sum of counts over the processes."""
        if self.count == 1:
            return counts
        summed = torch.from_numpy(counts).to(_device())
        dist.all_reduce(summed)
        added: np.ndarray = summed.cpu().numpy()
        return added

    def most(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        if self.count == 1:
            return number
        largest = torch.tensor([number], device=_device())
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest)

    def wait(self) -> None:
        """Go on once every process has come here."""
        if self.count > 1:
            dist.barrier()

    def require_same(self, text: str) -> None:
        """Raise `ChipError` in every process, unless all give the same text, which describes chips and recipe."""
        if self.count == 1:
            return
        digest = hashlib.sha256(text.encode()).digest()[:8]
        mine = torch.tensor([int.from_bytes(digest, "big", signed=True)], device=_device())
        theirs = [torch.empty_like(mine) for _rank in range(self.count)]
        dist.all_gather(theirs, mine)
        if other := [rank for rank, each in enumerate(theirs) if int(each) != int(theirs[0])]:
            raise ChipError(
                "process {other} of this training has other chips or another recipe than process 0; give all processes "
                "the same recipe and a copy of the same chip folder",
                other=other[0],
            )


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, with this one's GPU chosen; one process where there is no torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    """Where messages are: nccl sends what is on a GPU only."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
