"""What a call costs before it works on anything."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Run, interleave, quartiles

__all__ = ["convolution_machines_call"]

NUMBERS = tuple(10**power for power in range(2, 8))


@torch.no_grad()
def convolution_machines_call(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """One operation over more and more numbers."""
    yield _call(device, budget)


def elementwise(count: int, device: torch.device) -> Run:
    """One sum for each of `count` numbers, in one call."""
    x, y = torch.randn(count, device=device), torch.empty(count, device=device)
    return lambda: torch.add(x, 1.0, out=y)


def _call(device: torch.device, budget: Budget) -> Finding:
    """What a call costs before it works on anything."""
    sizes = (1, *NUMBERS, *((NUMBERS[-1] * 4, NUMBERS[-1] * 16) if device.type == "cuda" else ()))
    times = interleave({f"{n}": elementwise(n, device) for n in sizes}, device, rounds=budget.rounds)
    calls, longest = times["1"].samples, times[f"{sizes[-1]}"].samples
    numbers = {
        "call": quartiles(call * 1e6 for call in calls),
        "numbers": quartiles(free(call, long, sizes[-1]) for call, long in zip(calls, longest, strict=True)),
    }
    each = [its.number.times(1e9 / n) for n, its in zip(sizes, times.values(), strict=True)]
    axes = "numbers", "nanoseconds for each number"
    picture = Lines("One sum for each number, in one call", *axes, sizes, {"one call": each}, log_x=True, log_y=True)
    return Finding("convolution_machines_call.call", numbers, [picture])


def free(call: float, long: float, count: int) -> float:
    """How many numbers could be worked on in the time of a call, where a call with `count` of them takes `long`."""
    return count * call / max(long - call, 1e-12)
