"""What it costs that every output of a layer is written to memory which the system hands out anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil
import torch

from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.experiments.separable_layer import LAYERS
from cropland.lab.measure import Budget, Number, Run, exactly, interleave, quartiles, ratio

__all__ = ["separable_allocation"]

ORDINARY, SEPARABLE = LAYERS
TITLE = "How many times as fast the separable layer is (dashed: the ratio of multiply-adds)"
HANDED_OUT, KEPT = "memory handed out anew", "memory kept"
MEGABYTES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
# What is freed stays with the process; by default the GNU C library gives it back above 32 MiB, page by page.
KEEP = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"}
COMPARE = """
import json, sys, torch
from cropland.lab.measure import Budget
from cropland.lab.experiments.separable_allocation import pages_of
from cropland.lab.experiments.separable_layer import layers
from cropland.lab.measure import interleave
channels, size, rounds = map(int, sys.argv[1:])
device = torch.device("cpu")
image, ready = layers(device, Budget("child", rounds=rounds, size=size, channels=channels, seeds=0, steps=0, every=1))
with torch.no_grad():
    runs = {name: lambda name=name: ready[name](image) for name in ready}
    times = interleave(runs, device, rounds=rounds)
    print(json.dumps({name: (times[name].samples, pages_of(runs[name])) for name in runs}))
"""


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
        "change": Number(after.value / before.value, after.low / before.high, after.high / before.low),
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
