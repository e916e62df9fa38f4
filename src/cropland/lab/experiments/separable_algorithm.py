"""Which algorithm the library chose for each convolution of a layer, and how fast its multiply-adds go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from cropland.lab.charts import Bars, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.experiments.separable_layer import convolutions, layers, multiply_adds
from cropland.lab.measure import Budget, Number, Times, exactly, interleave, ratio, synchronise

__all__ = ["separable_algorithm"]

SHOWN = 16  # channels in the picture of the weights
LONGEST = 60  # characters of a kernel's name
TELL = """
import sys, torch
from torch import nn
c, size = map(int, sys.argv[1:])
image = torch.randn(1, c, size, size).contiguous(memory_format=torch.channels_last)
ordinary, depthwise = (nn.Conv2d(c, c, 3, 1, 1, groups=groups, bias=False) for groups in (1, c))
with torch.no_grad():
    for part in (ordinary, depthwise, nn.Conv2d(c, c, 1, bias=False)):
        part.to(memory_format=torch.channels_last)(image)
"""
TOLD = re.compile(r"\bexec,.*?\bconvolution,([^,]+),.*,(g\d+)?mb\d+_.*kh(\d+)")


def separable_algorithm(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The rate of each convolution, with the name of what ran."""
    yield _rates(device, budget)


@torch.no_grad()
def _rates(device: torch.device, budget: Budget) -> Finding:
    image, ready = layers(device, budget)
    parts = convolutions(ready)
    times = interleave({n: lambda n=n: parts[n](image) for n in parts}, device, rounds=budget.rounds)  # type: ignore[misc]
    work = {name: multiply_adds(part, image) for name, part in parts.items()}
    rates = {name: rate(work[name], times[name]) for name in parts}
    dearer = {
        name: ratio(times[name], times["ordinary"]).times(work["ordinary"] / work[name])
        for name in ("depthwise", "pointwise")
    }
    names = _kernels(device, parts, image) if device.type == "cuda" else _primitives(budget)
    numbers = {**rates, **{f"{name}_dearer": number for name, number in dearer.items()}}
    numbers["told"] = exactly(len(names))
    pictures = (
        Bars("Multiply-adds per second of each convolution", "billions per second", rates),
        Panels(
            "Which input channel (column) reaches which output channel (row), and what computes it",
            [_panel(name, part, names, times[name]) for name, part in parts.items()],
        ),
    )
    notes = () if len(names) == len(parts) else ("the library did not name every algorithm",)
    return Finding("separable_algorithm.same", numbers, pictures, notes)


def rate(work: float, times: Times) -> Number:
    """Billions of multiply-adds per second, from a count and seconds."""
    seconds = times.number
    return Number(work / seconds.value, work / seconds.high, work / seconds.low).times(1e-9)


def _panel(name: str, part: nn.Conv2d, names: Mapping[str, str], times: Times) -> Panel:
    picture = heat(reached(part)[:SHOWN, :SHOWN].numpy(), low=0, high=9)
    return Panel(name, picture, code=names.get(name, ""), shape=f"{times.ms:value} ms")


def reached(part: nn.Conv2d) -> Float[Tensor, "out channel"]:
    """The number of weights from each input channel to each output channel."""
    taps = (part.weight != 0).sum((2, 3)).float().cpu()
    if part.groups == 1:
        return taps
    within: Tensor = torch.block_diag(*taps.split(len(taps) // part.groups))  # type: ignore[no-untyped-call]
    return within


def _primitives(budget: Budget) -> dict[str, str]:
    """What oneDNN says that it runs, in a process of its own, for it says so on standard output."""
    told = subprocess.run(
        (sys.executable, "-c", TELL, str(budget.channels), str(budget.size)),
        env={**os.environ, "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return algorithms(told.stdout)


def algorithms(verbose: str) -> dict[str, str]:
    """The implementation of each convolution among the lines of ONEDNN_VERBOSE=1; one that is not told is left out."""
    found = {}
    for implementation, groups, kernel in TOLD.findall(verbose):
        found["pointwise" if kernel == "1" else "depthwise" if groups else "ordinary"] = implementation
    return found


def _kernels(device: torch.device, parts: Mapping[str, nn.Conv2d], image: Tensor) -> dict[str, str]:
    """The kernel of each convolution that took longest on the GPU."""
    found = {}
    for name, part in parts.items():
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
            part(image)
            synchronise(device)
        ran = [event for event in record.key_averages() if event.device_type == DeviceType.CUDA]
        if ran:
            found[name] = max(ran, key=lambda event: event.self_device_time_total).key[:LONGEST]
    return found
