"""Timing that can be believed: warmed up, synchronised, contenders interleaved, medians with quartiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from cropland.lab.number import Number, quartiles

LEAST_S = 2e-3  # a sample shorter than this is made of several calls
Run = Callable[[], object]


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
