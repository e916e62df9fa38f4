"""What the machine can do at best: how fast it multiplies, how fast it copies."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly
from cropland.lab.roofline import TYPES, Roofline, roofline

__all__ = ["convolution_ceilings"]


def convolution_ceilings(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Rates of multiplication by number type and library, rates of copying by size."""
    roof = roofline(device, budget.rounds)
    yield _library(roof)
    yield _memory(roof)


def _library(roof: Roofline) -> Finding:
    rates = {f"{lib}, {name}": n.times(1e-9) for name in TYPES for lib, n in roof.flops[name].items()}
    ranked = sorted(roof.flops["float32"].values(), key=lambda number: number.value)
    best, worst = ranked[-1], ranked[0]
    numbers = {
        "apart": Number(best.value / worst.value, best.low / worst.high, best.high / worst.low),
        "float32": best.times(1e-9),
        "bfloat16": max(roof.flops["bfloat16"].values(), key=lambda number: number.value).times(1e-9),
        "float16": max(roof.flops["float16"].values(), key=lambda number: number.value).times(1e-9),
    }
    picture = Bars("The best rate of multiplying matrices", "GFLOP per second", rates)
    return Finding("convolution_ceilings.library", numbers, [picture])


def _memory(roof: Roofline) -> Finding:
    sizes = sorted(roof.copies)
    fastest, main = max(roof.copies.values(), key=lambda number: number.value), roof.copies[sizes[-1]]
    numbers = {
        "apart": Number(fastest.value / main.value, fastest.low / main.high, fastest.high / main.low),
        "fastest": fastest.times(1e-9),
        "main": main.times(1e-9),
        "ridge": exactly(roof.peak() / roof.bandwidth),
    }
    picture = Lines(
        "Copying, by the size of what is copied",
        "megabytes",
        "gigabytes per second, read and written",
        [size / 1e6 for size in sizes],
        {"copy, all threads": [roof.copies[size].times(1e-9) for size in sizes]},
        log_x=True,
        log_y=True,
    )
    return Finding("convolution_ceilings.memory", numbers, [picture])
