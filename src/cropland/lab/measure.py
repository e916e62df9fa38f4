"""Numbers with an interval, timing that can be believed (warmed up, synchronised, contenders interleaved), and how much
an experiment may do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TypeVar

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LEAST_S = 2e-3  # a sample shorter than this is made of several calls
Run = Callable[[], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Number:
    """A value with an interval: the quartiles of repeats, or the 95 % interval of a mean over seeds.

    As text `f"{number}"` has three digits and the interval, `f"{number:value}"` no interval, `f"{number:%}"` is in
    percent, `f"{number:d}"` a whole count with separators.
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        write = _percent if spec == "%" else _count if spec == "d" else _three_digits
        if spec in ("d", "value") or math.isclose(self.low, self.high, rel_tol=1e-9):
            return write(self.value)
        return f"{write(self.value)} ({write(self.low)} – {write(self.high)})"

    def times(self, factor: float) -> Number:
        """The same in another unit."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Number(self.value * factor, low, high)


def quotient(a: Number, b: Number) -> Number:
    """a / b of positive numbers, as wide as both intervals allow."""
    return Number(a.value / b.value, a.low / b.high, a.high / b.low)


def exactly(value: float) -> Number:
    """A number without spread: a count, or the outcome of exact arithmetic."""
    return Number(float(value), float(value), float(value))


def quartiles(samples: Iterable[float]) -> Number:
    """The median of repeats, and their quartiles."""
    low, middle, high = np.quantile(np.fromiter(samples, float), (0.25, 0.5, 0.75))
    return Number(float(middle), float(low), float(high))


def mean_of_seeds(samples: Sequence[float]) -> Number:
    """The mean over seeds with its 95 % interval (Student 1908, doi:10.1093/biomet/6.1.1); one seed has no bound."""
    if len(samples) < 2:
        return Number(samples[0], -math.inf, math.inf)
    half = float(student.ppf(0.975, len(samples) - 1)) * stdev(samples) / math.sqrt(len(samples))
    return Number(fmean(samples), fmean(samples) - half, fmean(samples) + half)


def paired(better: Sequence[float], than: Sequence[float]) -> Number:
    """The difference seed by seed: mean and 95 % interval."""
    return mean_of_seeds([a - b for a, b in zip(better, than, strict=True)])


def _three_digits(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "–")
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:,.{digits}f}".replace("-", "−")
    return f"{value:.1e}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{_three_digits(100 * value)} %"


def _count(value: float) -> str:
    return f"{round(value):,}"


@dataclass(frozen=True)
class Times:
    """Seconds per call: the first ever (which may compile), and one per round after the warm-up."""

    first: float
    samples: tuple[float, ...]

    @property
    def number(self) -> Number:
        """Median and quartiles, in seconds."""
        return quartiles(self.samples)

    @property
    def ms(self) -> Number:
        """Median and quartiles, in milliseconds."""
        return self.number.times(1e3)


def interleave(
    runs: Mapping[str, Run], device: torch.device, *, rounds: int, warm: int = 2, settle_s: float = 0.0
) -> dict[str, Times]:
    """Time contenders in turn, round after round, so that what disturbs the machine disturbs all of them.

    Every call is waited for. A call that is too short for the clock is repeated within its sample. Where contenders
    have threads of their own, which wait in a loop for more work, `settle_s` lets them go to sleep before the next.
    """
    first = {name: _seconds(run, device, 1) for name, run in runs.items()}
    settled = {name: min(_seconds(run, device, 1) for _ in range(warm)) for name, run in runs.items()}
    calls = {name: max(1, round(LEAST_S / max(seconds, 1e-7))) for name, seconds in settled.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(settle_s)
            samples[name].append(_seconds(run, device, calls[name]))
    return {name: Times(first[name], tuple(values)) for name, values in samples.items()}


def ratio(slow: Times, fast: Times) -> Number:
    """How many times as long `slow` takes, round by round: median and quartiles."""
    return quartiles(a / b for a, b in zip(slow.samples, fast.samples, strict=True))


@torch.no_grad()
def multiply_adds(network: nn.Module, image: Tensor) -> float:
    """Multiplications with an addition in one forward pass; PyTorch counts them as two operations."""
    with FlopCounterMode(display=False) as counter:
        network(image)
    return float(counter.get_total_flops()) / 2


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(run: Run, device: torch.device, calls: int) -> float:
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(calls):
        run()
    synchronise(device)
    return (time.perf_counter() - begun) / calls


@dataclass(frozen=True)
class Budget:
    """What is measured around, and how often: one factor is varied at a time about this middle, never a grid.

    `rounds` are timed repeats of each contender, `size` the edge of the middle image in pixels, `channels` those of
    the middle layer, `steps` those of a short training; with no `seeds` nothing is trained. `every` thins the sweeps:
    1 keeps all of their values. `chips` is a chip folder of the user's own, None the sample that ships; `network` is
    what the experiment of that name takes apart.
    """

    name: str
    rounds: int
    size: int
    channels: int
    seeds: int
    steps: int
    every: int
    chips: Path | None = None
    network: str | None = None

    def sweep(self, values: Sequence[T]) -> Sequence[T]:
        """The values of a sweep that this budget can afford; the last one always."""
        return values[(len(values) - 1) % self.every :: self.every]


QUICK = Budget("quick", rounds=5, size=128, channels=64, seeds=0, steps=0, every=2)
FULL = Budget("full", rounds=11, size=256, channels=128, seeds=5, steps=240, every=1)
