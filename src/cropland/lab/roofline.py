"""What the machine can do at best: matrix rate per number type, copy bandwidth per level of the memory.

Source: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from cropland.lab.measure import Run, interleave
from cropland.lab.number import Number

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BYTES = (
    2**16,
    2**19,
    2**22,
    2**28,
)  # copied from one half to the other: in the first cache, the second, the last, none
EDGE = 1024


@dataclass(frozen=True)
class Roofline:
    """Best rates: `flops` per second of each (type, library), `copies` in bytes read and written per second by size."""

    flops: dict[str, dict[str, Number]]
    copies: dict[int, Number]

    def peak(self, dtype: str = "float32") -> float:
        """The best matrix rate of a number type over the libraries at hand, in operations per second."""
        return max(number.value for number in self.flops[dtype].values())

    @property
    def bandwidth(self) -> float:
        """Bytes per second to and from the main memory."""
        return self.copies[max(self.copies)].value

    def seconds(self, flops: float, moved: float, dtype: str = "float32") -> float:
        """The least time for so many operations and so many bytes, if both go on at once."""
        return max(flops / self.peak(dtype), moved / self.bandwidth)


@lru_cache(1)
def roofline(device: torch.device, rounds: int) -> Roofline:
    """Measure the machine; a number type that the device multiplies slower than float32 is still shown."""
    flops = {name: _rates(device, dtype, rounds) for name, dtype in TYPES.items()}
    return Roofline(flops, _copies(device, rounds))


def _rates(device: torch.device, dtype: torch.dtype, rounds: int) -> dict[str, Number]:
    edge = EDGE * (8 if device.type == "cuda" else 1)
    times = interleave(_multiplications(device, dtype, edge), device, rounds=rounds)
    work = 2.0 * edge**3
    return {name: Number(work / t.number.value, work / t.number.high, work / t.number.low) for name, t in times.items()}


def _multiplications(device: torch.device, dtype: torch.dtype, edge: int) -> dict[str, Run]:
    a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    image = a.reshape(1, edge, 1, edge).contiguous(memory_format=torch.channels_last)
    weight = b.reshape(edge, edge, 1, 1)
    runs: dict[str, Run] = {
        "torch.mm": lambda: torch.mm(a, b),
        "torch 1 x 1 convolution": lambda: torch.nn.functional.conv2d(image, weight),
    }
    if device.type == "cpu" and dtype == torch.float32:
        x, y, z = a.numpy(), b.numpy(), np.empty((edge, edge), np.float32)
        runs["numpy.matmul"] = lambda: np.matmul(x, y, out=z)
    return runs


def _copies(device: torch.device, rounds: int) -> dict[int, Number]:
    # Half is read and half is written: both count. On a GPU a cache is not visible below some MB.
    halves = {size: torch.zeros(2, size // 8, device=device) for size in BYTES}
    runs: dict[str, Run] = {str(size): lambda pair=pair: pair[1].copy_(pair[0]) for size, pair in halves.items()}  # type: ignore[misc]
    times = interleave(runs, device, rounds=rounds)
    return {
        size: Number(size / t.number.value, size / t.number.high, size / t.number.low)
        for size, t in zip(BYTES, times.values(), strict=True)
    }
