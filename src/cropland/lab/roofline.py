"""What the machine can do at best: matrix rate per number type and library, copy bandwidth per level of the memory.

Source: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cropland.lab.measure import Number, Run, interleave, quartiles

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BYTES = tuple(2**power for power in range(15, 29))  # both halves together: from the first cache to none
LEAST_EDGE, MOST_EDGE = 128, {"cpu": 4096, "cuda": 8192}
LONGEST_S = 0.05  # one product; a type that the device multiplies slowly gets smaller matrices
MOVED = 2**24  # bytes that one call copies at least, so that calling it does not count
STEP = 16  # numbers, one cache line
SETTLE_S = 0.2  # until threads that wait for work have gone to sleep


@dataclass(frozen=True)
class Roofline:
    """Best rates: `flops` per second of each (type, library), `copies` in bytes read and written per second by size.

    A ceiling is the upper quartile of the repeats: what disturbs the machine only ever lowers a rate. For the same
    reason a rate is measured before and after the copies, and the better time counts. On CUDA the convolutions of
    float32 are those that PyTorch runs by default, in TF32.
    """

    flops: dict[str, dict[str, Number]]
    copies: dict[int, Number]

    def peak(self, dtype: str = "float32") -> float:
        """The best matrix rate of a number type over the libraries at hand, in operations per second."""
        return max(number.high for number in self.flops[dtype].values())

    @property
    def bandwidth(self) -> float:
        """Bytes per second to and from the main memory."""
        return self.copies[max(self.copies)].high

    def bandwidth_of(self, moved: float) -> float:
        """Bytes per second in the fastest memory that holds so many bytes: repeated work stays in a cache if it can."""
        return max((n.high for size, n in self.copies.items() if size >= moved), default=self.bandwidth)

    def seconds(self, flops: float, moved: float, dtype: str = "float32") -> float:
        """The least time for so many operations and so many different bytes, if both go on at once."""
        return max(flops / self.peak(dtype), moved / self.bandwidth_of(moved))


@lru_cache(1)
def roofline(device: torch.device, rounds: int) -> Roofline:
    """Measure the machine; a number type that the device multiplies slower than float32 is still shown."""
    before = {name: _rates(device, dtype, rounds) for name, dtype in TYPES.items()}
    copies = _copies(device, rounds)
    after = {name: _rates(device, dtype, rounds) for name, dtype in TYPES.items()}
    return Roofline({name: _better(before[name], after[name]) for name in TYPES}, copies)


def _better(before: dict[str, Number], after: dict[str, Number]) -> dict[str, Number]:
    return {name: max(before[name], after[name], key=lambda number: number.value) for name in before}


def _rates(device: torch.device, dtype: torch.dtype, rounds: int) -> dict[str, Number]:
    """One library after the other, not in turn: the threads of one wait in a loop for more work, and while they do
    the next one has half of the machine."""
    found = {}
    for name, (run, work) in _multiplications(device, dtype, _edge(device, dtype)).items():
        time.sleep(SETTLE_S)
        found[name] = quartiles(work / s for s in interleave({name: run}, device, rounds=rounds)[name].samples)
    return found


def _edge(device: torch.device, dtype: torch.dtype) -> int:
    """The largest matrices whose product is not longer than `LONGEST_S`."""
    edge = LEAST_EDGE
    while edge < MOST_EDGE[device.type] and 8 * _product_s(device, dtype, edge) < LONGEST_S:
        edge *= 2
    return edge


def _product_s(device: torch.device, dtype: torch.dtype, edge: int) -> float:
    a = torch.ones(edge, edge, device=device, dtype=dtype)
    return interleave({"": lambda: torch.mm(a, a)}, device, rounds=1, warm=1)[""].number.value


def _multiplications(device: torch.device, dtype: torch.dtype, edge: int) -> dict[str, tuple[Run, float]]:
    """The ways to multiply at hand, each with its operations."""
    a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    runs: dict[str, tuple[Run, float]] = {"torch.mm": (lambda: torch.mm(a, b), 2.0 * edge**3)}
    if device.type == "cpu" and dtype == torch.float32:
        x, y, z = a.numpy(), b.numpy(), np.empty((edge, edge), np.float32)
        runs["numpy.matmul"] = lambda: np.matmul(x, y, out=z), 2.0 * edge**3
    runs["1 x 1 convolution"] = _convolution(device, dtype, edge // 2, 4 * edge, kernel=1)
    if device.type == "cpu":  # on a GPU the 3 x 3 may be Winograd's, with fewer operations than are counted
        runs["3 x 3 convolution"] = _convolution(device, dtype, edge // 8, 4 * edge, kernel=3)
    return runs


def _convolution(
    device: torch.device, dtype: torch.dtype, channels: int, pixels: int, *, kernel: int
) -> tuple[Run, float]:
    rows = 2 ** ((pixels.bit_length() - 1) // 2)
    shapes = (1, channels, rows, pixels // rows), (channels, channels, kernel, kernel)
    image, weight = (
        torch.randn(*shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last) for shape in shapes
    )
    work = 2.0 * pixels * weight.numel()  # the few taps beyond the edge are counted too
    return lambda: F.conv2d(image, weight, padding=kernel // 2), work


def _copies(device: torch.device, rounds: int) -> dict[int, Number]:
    return {size: _copy(device, size, rounds) for size in BYTES}


def _copy(device: torch.device, size: int, rounds: int) -> Number:
    """Copy one half to the other, `again` squared times in one call; what is read and what is written both count.

    A cache line that is written may be read first: the bus then carries half as much again, here as in any layer.
    """
    again = isqrt(MOVED // size) if device.type == "cpu" and size < MOVED else 1
    source, target = (_rows(device, size // 2, again) for _ in range(2))
    moved = 2 * 4 * source.numel()
    times = interleave({"": lambda: target.copy_(source)}, device, rounds=rounds)[""]
    return quartiles(moved / s for s in times.samples)


def _rows(device: torch.device, size: int, again: int) -> Tensor:
    """`size` bytes, a share for every thread, seen as (thread, again, again, share) over the same memory.

    A view may not write one address twice along a stride of zero, so each repeat begins one cache line later.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    share = size // 4 // threads
    apart = share + 2 * STEP * again
    memory = torch.zeros(threads * apart, device=device)
    return memory.as_strided((threads, again, again, share), (apart, STEP, STEP, 1))
