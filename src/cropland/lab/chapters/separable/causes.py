"""Why a separable layer is slower than its multiply-adds promise: causes that add up to the whole gap, the algorithms
that the library chose, and the memory that the system hands out anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import psutil
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from cropland.lab.chapters.separable.layer import LAYERS, convolutions, layers
from cropland.lab.charts import Bars, Lines, Panel, Panels, Stack, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import (
    Budget,
    Number,
    Run,
    Times,
    exactly,
    interleave,
    multiply_adds,
    quartiles,
    quotient,
    ratio,
    synchronise,
)
from cropland.lab.roofline import Roofline, roofline

__all__ = ["separable_algorithm", "separable_allocation", "separable_causes"]

ORDINARY, SEPARABLE = LAYERS
PARTS = {ORDINARY: ("ordinary",), SEPARABLE: ("depthwise", "pointwise")}
MUCH = 2**26  # bytes, more than the GNU C library ever keeps
OLD, NEW = "old memory", "new memory"
TINY = 4  # edge of an image that leaves nothing but the call
ARITHMETIC, ENDS, BETWEEN, LIBRARY = "arithmetic", "input and output", "intermediate activation", "library"
CALLS, PAGES, NORM = "dispatch", "new pages of memory", "normalisation and activation"
CAUSES = ARITHMETIC, ENDS, BETWEEN, LIBRARY, CALLS, PAGES, NORM
KEYS = {"arithmetic": ARITHMETIC, "library": LIBRARY, "dispatch": CALLS, "pages": PAGES, "norm": NORM}
Seconds = Mapping[str, float]

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

TITLE = "How many times as fast the separable layer is (dashed: the ratio of multiply-adds)"
HANDED_OUT, KEPT = "memory handed out anew", "memory kept"
MEGABYTES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
# What is freed stays with the process; by default the GNU C library gives it back above 32 MiB, page by page.
KEEP = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"}
COMPARE = """
import json, sys, torch
from cropland.lab.chapters.separable.causes import pages_of
from cropland.lab.chapters.separable.layer import layers
from cropland.lab.measure import Budget, interleave
channels, size, rounds = map(int, sys.argv[1:])
device = torch.device("cpu")
image, ready = layers(device, Budget("child", rounds=rounds, size=size, channels=channels, seeds=0, steps=0, every=1))
with torch.no_grad():
    runs = {name: lambda name=name: ready[name](image) for name in ready}
    times = interleave(runs, device, rounds=rounds)
    print(json.dumps({name: (times[name].samples, pages_of(runs[name])) for name in runs}))
"""


def separable_causes(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The gap taken apart; then how near each convolution comes to what the machine allows."""
    roof = roofline(device, budget.rounds)
    image, ready = layers(device, budget)
    parts = convolutions(ready)
    work = {name: 2 * multiply_adds(part, image) for name, part in parts.items()}
    least = {name: roof.seconds(work[name], moved(part, image)) for name, part in parts.items()}
    limits = {layer: bounds(roof, work, least, PARTS[layer], 2.0 * image.nbytes) for layer in LAYERS}
    expected = work["ordinary"] / (work["depthwise"] + work["pointwise"])
    with torch.no_grad():
        runs = _runs(ready, image)
        times = interleave(runs, device, rounds=budget.rounds)
        pages = {name: pages_of(run) for name, run in runs.items()}
    each = [{**seconds, **paging(seconds, pages)} for seconds in rounds(times)]
    yield _gap(each, limits, ratio(times[f"{ORDINARY} layer"], times[f"{SEPARABLE} layer"]), expected)
    yield _library(each, least)


def moved(part: nn.Conv2d, image: Tensor) -> int:
    """Bytes of input, weights and output, each counted once; the size is kept."""
    return 2 * image.nbytes + part.weight.nbytes


def _runs(ready: Mapping[str, nn.Module], image: Tensor) -> dict[str, Run]:
    """The layers, their convolutions, the same on a tiny image, and much memory written that is old and new."""
    tiny = image[..., :TINY, :TINY].contiguous(memory_format=torch.channels_last)
    old = torch.empty(MUCH, dtype=torch.uint8, device=image.device)
    runs: dict[str, Run] = {f"{layer} layer": lambda layer=layer: ready[layer](image) for layer in LAYERS}  # type: ignore[misc]
    for name, part in convolutions(ready).items():
        runs[name] = lambda part=part: part(image)  # type: ignore[misc]
        runs[f"{name} call"] = lambda part=part: part(tiny)  # type: ignore[misc]
    return {**runs, OLD: lambda: old.fill_(1), NEW: lambda: torch.empty_like(old).fill_(1)}


def rounds(times: Mapping[str, Times]) -> list[dict[str, float]]:
    """Seconds by name, round by round."""
    return [dict(zip(times, each, strict=True)) for each in zip(*(its.samples for its in times.values()), strict=True)]


def paging(seconds: Seconds, pages: Mapping[str, float]) -> dict[str, float]:
    """What of each run's seconds the system took to hand out its pages, at the price of those of much new memory."""
    price = max(0.0, seconds[NEW] - seconds[OLD]) / max(1.0, pages[NEW])
    return {f"{name} pages": price * number for name, number in pages.items()}


def bounds(roof: Roofline, work: Seconds, least: Seconds, parts: tuple[str, ...], ends: float) -> dict[str, float]:
    """Least seconds: of the arithmetic; of the input and output beyond it; of an intermediate beyond both.

    `work` are the operations and `least` the roofline's seconds of each part; `ends` the bytes of input and output.
    """
    arithmetic, apart = sum(work[name] for name in parts) / roof.peak(), sum(least[name] for name in parts)
    joined = min(apart, roof.seconds(sum(work[name] for name in parts), ends))
    return {ARITHMETIC: arithmetic, ENDS: joined - arithmetic, BETWEEN: apart - joined}


def causes(layer: str, seconds: Seconds, limits: Seconds) -> dict[str, float]:
    """The seconds of a layer, split: what was measured apart, then the limits, then the library's for the rest."""
    parts, whole = PARTS[layer], f"{layer} layer"
    apart = seconds[whole] - sum(seconds[name] for name in parts)
    apart_pages = seconds[f"{whole} pages"] - sum(seconds[f"{name} pages"] for name in parts)
    costs = {
        CALLS: sum(seconds[f"{name} call"] for name in parts),
        PAGES: seconds[f"{whole} pages"],
        NORM: apart - apart_pages,
        **limits,
    }
    found = shares(seconds[whole], costs)
    return {name: found[name] for name in CAUSES}


def shares(seconds: float, costs: Seconds) -> dict[str, float]:
    """Seconds split among costs in their order, each as far as time is left for it; the library has the rest."""
    found: dict[str, float] = {}
    for name, cost in costs.items():
        found[name] = min(max(0.0, cost), seconds - sum(found.values()))
    return {**found, LIBRARY: seconds - sum(found.values())}


def gap(layers: Sequence[Seconds], expected: float) -> dict[str, float]:
    """What each cause takes beyond 1/`expected` of the ordinary layer's; together the separable layer's whole gap."""
    ordinary, separable = layers
    return {name: separable[name] - ordinary[name] / expected for name in separable}


def _gap(each: Sequence[Seconds], limits: Mapping[str, Seconds], found: Number, expected: float) -> Finding:
    def split(seconds: Seconds) -> list[dict[str, float]]:
        return [causes(layer, seconds, limits[layer]) for layer in LAYERS]

    gaps = [gap(split(seconds), expected) for seconds in each]
    whole = quartiles(sum(its.values()) for its in gaps).times(1e3)
    numbers = {"expected": exactly(expected), "found": found, "gap_ms": whole}
    bars = {name: quartiles(its[name] for its in gaps).times(1e3) for name in CAUSES}
    numbers |= {f"{key}_ms": bars[name] for key, name in KEYS.items()}
    numbers["traffic_ms"] = quartiles(its[ENDS] + its[BETWEEN] for its in gaps).times(1e3)
    numbers["memory"] = quartiles((its[ENDS] + its[BETWEEN]) / sum(its.values()) for its in gaps)
    ordinary, separable = split({name: quartiles(seconds[name] for seconds in each).value for name in each[0]})
    stack = {
        "ordinary layer / ratio of multiply-adds": {name: 1e3 * s / expected for name, s in ordinary.items()},
        "separable layer": {name: 1e3 * s for name, s in separable.items()},
    }
    pictures = (
        Stack("Expected and measured time of the separable layer", "milliseconds", stack),
        Bars("What each cause adds to the expected time", "milliseconds", bars),
    )
    return Finding("separable_causes.memory", numbers, pictures)


def _library(each: Sequence[Seconds], least: Seconds) -> Finding:
    """The roofline's seconds as a share of the kernel's: those of the call without dispatch and new pages."""

    def reached(name: str, seconds: Seconds) -> float:
        kernel = seconds[name] - seconds[f"{name} call"] - seconds[f"{name} pages"]
        return least[name] / max(kernel, 0.1 * seconds[name])  # where noise leaves next to nothing

    numbers = {name: quartiles(reached(name, seconds) for seconds in each) for name in least}
    picture = Bars("Share of what the machine allows that each kernel reaches", "share", dict(numbers), level=1.0)
    numbers["even"] = quartiles(reached("depthwise", seconds) / reached("ordinary", seconds) for seconds in each)
    return Finding("separable_causes.library", numbers, [picture])


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


def separable_allocation(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Old memory against new by size; then both layers with memory that is kept."""
    yield _sizes(device, budget)
    yield _kept(device, budget)


def pages_of(run: Run, *, calls: int = 3) -> float:
    """Pages of memory that the system hands out anew during a call, when the same has been called before."""
    run()
    before = _pages()
    for _ in range(calls):
        run()
    return (_pages() - before) / calls


def _pages() -> int:
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().num_page_faults)
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _sizes(device: torch.device, budget: Budget) -> Finding:
    """A tensor of each size filled where it lies, and filled after it was allocated."""
    sizes = budget.sweep(MEGABYTES)
    rates: dict[str, list[Number | None]] = {"memory used again": [], HANDED_OUT: []}
    dearer = []
    for megabytes in sizes:
        old = torch.empty(megabytes * 2**18, device=device)
        runs = {"old": lambda old=old: old.fill_(1.0), "new": lambda old=old: torch.empty_like(old).fill_(1.0)}
        times = interleave(runs, device, rounds=budget.rounds)
        for curve, its in zip(rates.values(), times.values(), strict=True):
            curve.append(quartiles(megabytes * 2**20 / 1e9 / s for s in its.samples))
        dearer.append(ratio(times["new"], times["old"]))
    numbers = {"largest": dearer[-1], "smallest": dearer[0], "worst": max(dearer, key=lambda number: number.value)}
    picture = Lines("Writing a tensor", "size in MiB", "GB per second", sizes, rates, log_x=True, log_y=True)
    return Finding("separable_allocation.free", numbers, [picture])


def _kept(device: torch.device, budget: Budget) -> Finding:
    """Both layers in a process as it comes, and in one that keeps what it has freed."""
    if device.type != "cpu" or sys.platform != "linux":
        return Finding(
            "separable_allocation.kept", missing="only the GNU C library on Linux can be told to keep memory"
        )
    told = {HANDED_OUT: _compare(budget, {}), KEPT: _compare(budget, KEEP)}
    factors = {
        how: [a / b for a, b in zip(its[ORDINARY][0], its[SEPARABLE][0], strict=True)] for how, its in told.items()
    }
    faster = {how: quartiles(its) for how, its in factors.items()}
    before, after = faster.values()
    numbers = {
        "before": before,
        "after": after,
        "change": quotient(after, before),
        **{f"pages_{layer}": exactly(told[HANDED_OUT][layer][1]) for layer in LAYERS},
        **{f"pages_kept_{layer}": exactly(told[KEPT][layer][1]) for layer in LAYERS},
    }
    expected = 9 * budget.channels / (9 + budget.channels)
    shown = {f"{layer} layer, {how}": quartiles(told[how][layer][0]).times(1e3) for layer in LAYERS for how in told}
    pictures = (
        Bars(TITLE, "times", faster, level=expected),
        Bars("Time of each layer", "milliseconds", shown),
    )
    return Finding("separable_allocation.kept", numbers, pictures)


def _compare(budget: Budget, settings: Mapping[str, str]) -> dict[str, tuple[list[float], float]]:
    """Seconds and new pages per call of each layer, in a process of its own with these settings."""
    sizes = (str(number) for number in (budget.channels, budget.size, budget.rounds))
    command = (sys.executable, "-c", COMPARE, *sizes)
    told = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, encoding="utf-8", check=True)
    found: dict[str, tuple[list[float], float]] = json.loads(told.stdout)
    return found
